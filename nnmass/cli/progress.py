"""Progress on standard error, only for people at a terminal, and only for operations that take a while."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from nnmass.results import Progress

SOON_SECONDS = 0.4
"""Seconds before a bar is shown: shorter operations neither show nor load one."""


class Bar:
    """Progress bars for one or several operations.

    An interrupt is raised again by the next call of `show`: if it is raised in a callback that Python runs itself, as
    while modules are loaded, Python only prints it, or not even that.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown = sys.stderr.isatty()
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._interrupted = False

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is signal.default_int_handler:  # and not ignored, as under nohup
            signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._before is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._before)
        if self._bars is not None:
            self._bars.stop()
        if self._interrupted and kind is None:
            raise KeyboardInterrupt

    def __call__(self, progress: Progress) -> None:
        """Show the progress of the single operation."""
        self.show("", progress.fraction, progress.message)

    def waiting(self, message: str) -> None:
        """Show what a file waits for, without a known progress."""
        self.show("", None, message)

    def show(self, name: str, fraction: float | None, message: str) -> None:
        """Show the progress of a named operation."""
        if self._interrupted:
            raise KeyboardInterrupt
        if not self._shown or time.monotonic() - self._began < SOON_SECONDS:
            return
        bars = self._loaded()
        if name not in self._tasks:
            self._tasks[name] = bars.add_task("", total=None if fraction is None else 1.0)
        described = f"{name}: {message}" if name else message
        bars.update(self._tasks[name], completed=fraction or 0.0, description=described)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        raise KeyboardInterrupt

    def _loaded(self) -> Bars:
        if self._bars is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

            columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}", markup=False))
            self._bars = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
            self._bars.start()
        return self._bars
