"""The processes of embedded mode, forked from a parent that has imported all that they need (ADR 38)."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import IO

LONGEST_PAUSE_SECONDS = 3.0
HEALTHY_SECONDS = 5.0
"""Seconds after which a child counts as healthy: if it dies later than this, it is restarted immediately."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end the parent."""

IMPORTED = (
    "app.main",
    "app.processes.uvicorn_server",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.solo",
    "celery.fixups.django",
    "worker.consumer",
    "worker.files_tasks",
    "worker.search_tasks",
    "worker.train_tasks",
)
"""What the children import. `worker.celery_app` is not among them: its import starts a thread and reads settings."""

log = logging.getLogger("nnmass.embedded")


def import_for_children() -> None:
    """Import what the children need: once, before they are forked. Their memory is shared until one changes it."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or each child would copy what the garbage collector looks at


@dataclass
class Child:
    """One process of the service, restarted with growing pauses when it dies."""

    name: str
    main: Callable[[], object]
    log_path: Path
    closes: tuple[IO[str] | socket.socket, ...] = ()
    """Open files of the parent that this process must not keep open: the lock on the data folder, the listener."""

    process: ForkProcess | None = None
    pause_seconds: float = 0.5
    start_at: float = field(default=0.0)

    def start(self, environment: Mapping[str, str]) -> None:
        """Fork the process, in its own process group, so that Ctrl-C reaches only the parent."""
        # a daemon: should an error end the parent, it ends its children and does not wait for them
        self.process = multiprocessing.get_context("fork").Process(target=self._run, args=(environment,), daemon=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the child must not treat one as its parent would
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self.start_at = time.monotonic()

    def _run(self, environment: Mapping[str, str]) -> None:
        """Leave what belongs to the parent, then be this process."""
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        for unused in self.closes:
            unused.close()
        with self.log_path.open("ab") as output, Path(os.devnull).open("rb") as nothing:
            for file, standard in ((nothing, 0), (output, 1), (output, 2)):
                os.dup2(file.fileno(), standard)
        os.environ.update(environment)
        _show_name(self.name)
        self.main()

    def look(self, environment: Mapping[str, str]) -> None:
        """Restart the process if it has died and its pause is over."""
        if self.process is not None and self.process.exitcode is not None:
            log.warning("%s exited with %d; restarting it", self.name, self.process.exitcode)
            lived = time.monotonic() - self.start_at
            self.pause_seconds = 0.5 if lived > HEALTHY_SECONDS else min(self.pause_seconds * 2, LONGEST_PAUSE_SECONDS)
            self.process.close()
            self.process, self.start_at = None, time.monotonic() + self.pause_seconds
        if self.process is None and time.monotonic() >= self.start_at:
            self.start(environment)

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the process, or to its whole process group."""
        if self.process is None or self.process.pid is None:
            return
        with contextlib.suppress(ProcessLookupError):  # it may have ended meanwhile
            (os.killpg if group else os.kill)(self.process.pid, number)

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self.process is not None and self.process.exitcode is None


def _show_name(name: str) -> None:
    """Show the name in `ps -e`, `top` and `pstree`: a forked process has its parent's command line."""
    shown = Path("/proc/self/comm")
    if shown.exists():
        shown.write_text("nnmass " + name.removesuffix("-worker"))  # the kernel keeps 15 letters


def run_celery(arguments: list[str]) -> None:
    """Run Celery's command line in this process."""
    from celery import __main__ as celery

    sys.argv = [celery.__file__, *arguments]  # as `python -m celery` does
    celery.main()
