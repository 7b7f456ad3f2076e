"""One process of the service and all that it starts: started, frozen, killed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from tests.processes.service import kill

ROOT = Path(__file__).parents[2]


class Process:
    """`python -m ...` in a separate session, restarted any number of times, with one log for all runs."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.arguments = arguments
        self.log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, without waiting for anything."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env=self._environment,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether it runs (frozen or not)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of the process itself."""
        assert self._process is not None, "it was never started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What it ended with; None while it runs."""
        return None if self._process is None else self._process.poll()

    def family(self) -> list[psutil.Process]:
        """Return the process and all below it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def freeze(self) -> None:
        """Stop the whole tree where it is."""
        self._each(psutil.Process.suspend)

    def thaw(self) -> None:
        """Resume the whole process tree."""
        self._each(psutil.Process.resume)

    def _each(self, act: Callable[[psutil.Process], None]) -> None:
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                act(process)

    def kill(self) -> None:
        """Kill the whole tree without a chance to say anything."""
        if self._process is None or not self.running:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(self.pid).suspend()  # lest it starts a child between our listing and our killing
        family = self.family()
        self._process.kill()
        self._process.wait()
        kill(family)

    def end(self, seconds: float) -> None:
        """Interrupt it as Ctrl-C does, and kill what has not ended within some seconds."""
        if self._process is None or not self.running:
            return
        self._process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()


def planted(plant: str | None) -> dict[str, str]:
    """Return the environment that puts a bug into every process started with it; see plants/sitecustomize.py."""
    if plant is None:
        return {}
    return {"CHAOS_PLANT": plant, "PYTHONPATH": str(Path(__file__).parent / "plants")}
