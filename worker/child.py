"""Work that needs torch runs in a child process: a crash, a lack of memory or a cancel never ends the worker.

Its protocol is in nnmass/torch_process/protocol.py.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO

from app.jobs.requirements import torch_installed
from app.processes import parent_watch
from nnmass.torch_process import forks
from nnmass.torch_process.forks import Forked, ForkServer
from nnmass.torch_process.protocol import Event, OrderFailed, read_event, send_order
from worker.heartbeat import Heartbeat
from worker.job_runner import Died, Failed

MODULE = "worker.trainer"
PREPARING = "worker.training"
"""The module that a fork server imports and whose `prepare` it calls."""

LOOK_EVERY_SECONDS = 0.2
WITHHELD = (parent_watch.VARIABLE, "NNMASS_DATABASE_URL", "NNMASS_BROKER_URL", "NNMASS_SECRET_KEY", "PGPASSWORD")

log = logging.getLogger("nnmass.trainer")

_free: list[ForkServer] = []
"""The fork servers of this worker that have no process now; any of them may have ended meanwhile."""


class Listener:
    """Receives a process's events and log; this class only forwards the log to the worker's."""

    def on_event(self, event: Event) -> None:
        """Handle an event, including progress. Raises Lost when the job no longer belongs to this worker."""

    def log(self, line: str) -> None:
        """Handle a line of the log, called from a separate thread."""
        log.info("%s", line.rstrip("\n"))


class Child(subprocess.Popen[str]):
    """A process of its own, which imports what it needs."""

    def __init__(self, module: str) -> None:
        pipe = subprocess.PIPE
        super().__init__(
            [sys.executable, "-m", module],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            errors="replace",
            start_new_session=True,
            env=_environment(),
        )

    def kill(self) -> None:
        """Kill the process and its whole process group."""
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.killpg(self.pid, signal.SIGKILL)


def run_child(
    module: str,
    order: Mapping[str, object],
    heartbeat: Heartbeat,
    listener: Listener | None = None,
    idle_seconds: float = 0.0,
) -> Event:
    """Run `python -m module` on an order and return its last event.

    idle_seconds: fork the process from one that has imported torch, and that waits for so long for the next call; 0:
    start a process that imports what it needs. Raises Failed; Died when the process ended without a result or fell
    silent; Lost or Stopping from the heartbeat.
    """
    listener = listener or Listener()
    forked = idle_seconds > 0 and forks.supported() and torch_installed()
    with _fork(module, idle_seconds) if forked else Child(module) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        within = contextvars.copy_context()  # so that log lines carry the job's fields
        hearing = threading.Thread(target=within.run, args=(_hear, child.stderr, listener), daemon=True)
        hearing.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it has died already, which its output shows
                send_order(child.stdin, order)
            return _follow(child, child.stdout, heartbeat, listener)
        finally:
            child.kill()
            hearing.join()
            if isinstance(child, Forked) and child.server.alive:
                _free.append(child.server)


def _fork(module: str, idle_seconds: float) -> Forked:
    """Fork a process from a free server, or from a new one where none is left."""
    while _free:
        with contextlib.suppress(ConnectionError):  # it was idle for too long, or was killed
            return _free.pop().fork(module)
    server = ForkServer(PREPARING, idle_seconds, _environment())
    threading.Thread(target=_hear_server, args=(server,), name="fork-server", daemon=True).start()
    return server.fork(module)


def _hear_server(server: ForkServer) -> None:
    with server.output as output:
        _hear(output, Listener())
    server.wait()


def _environment() -> dict[str, str]:
    """Return the environment without the database's address and password: the process reads untrusted images."""
    return {name: value for name, value in os.environ.items() if name not in WITHHELD}


def _hear(output: IO[str], listener: Listener) -> None:
    for line in output:
        listener.log(line)


def _follow(child: Child | Forked, output: IO[str], heartbeat: Heartbeat, listener: Listener) -> Event:
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(output, lines), daemon=True).start()
    progress = (0.0, "starting")
    heard = time.monotonic()
    while True:
        try:
            line = lines.get(timeout=LOOK_EVERY_SECONDS)
        except queue.Empty:
            heartbeat.report(*progress)
            if time.monotonic() - heard > heartbeat.silence_seconds:
                said = f"the process sent no output for {heartbeat.silence_seconds:g} seconds and was stopped"
                raise Died("process_silent", said) from None
            continue
        heard = time.monotonic()
        if line is None:
            raise _died(child)
        try:
            event = read_event(line)
        except OrderFailed as failure:
            raise Failed(failure.code, str(failure)) from failure
        if event is None:
            listener.log(line)
            continue
        if event["event"] == "done":
            return event
        listener.on_event(event)
        if event["event"] == "progress":
            progress = (float(event["fraction"]), str(event["message"]))
        heartbeat.report(*progress)


def _read(output: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in output:
        lines.put(line)
    lines.put(None)


def _died(child: Child | Forked) -> Died:
    code = child.wait()
    if code == -signal.SIGKILL:
        return Died("out_of_memory", "the process was killed, most likely because memory ran out")
    return Died("process_died", f"the process exited with {code} without a result; see the worker's log")
