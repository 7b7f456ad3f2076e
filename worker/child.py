"""Work that needs torch runs in a child process: a crash, a lack of memory or a cancel never ends the worker.

Its protocol is in nnmass/torch_process/protocol.py.
"""

from __future__ import annotations

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

from app.processes import parent_watch
from nnmass.torch_process.protocol import Event, OrderFailed, read_event, send_order
from worker.heartbeat import Heartbeat
from worker.job_runner import Died, Failed

MODULE = "worker.trainer"
LOOK_EVERY_SECONDS = 0.2
WITHHELD = (parent_watch.VARIABLE, "NNMASS_DATABASE_URL", "NNMASS_BROKER_URL", "NNMASS_SECRET_KEY", "PGPASSWORD")

log = logging.getLogger("nnmass.trainer")


class Listener:
    """Receives a process's events and log; this class only forwards the log to the worker's."""

    def on_event(self, event: Event) -> None:
        """Handle an event, including progress. Raises Lost when the job no longer belongs to this worker."""

    def log(self, line: str) -> None:
        """Handle a line of the log, called from a separate thread."""
        log.info("%s", line.rstrip("\n"))


def run_child(
    module: str, order: Mapping[str, object], heartbeat: Heartbeat, listener: Listener | None = None
) -> Event:
    """Run `python -m module` on an order and return its last event.

    Raises Failed; Died when the process ended without a result or fell silent; Lost or Stopping from the heartbeat.
    """
    command = [sys.executable, "-m", module]
    pipe = subprocess.PIPE
    listener = listener or Listener()
    with subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        errors="replace",
        start_new_session=True,
        env=_environment(),
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        within = contextvars.copy_context()  # so that log lines carry the job's fields
        hearing = threading.Thread(target=within.run, args=(_hear, child.stderr, listener), daemon=True)
        hearing.start()
        try:
            send_order(child.stdin, order)
            return _follow(child, child.stdout, heartbeat, listener)
        finally:
            _kill(child)
            hearing.join()


def _environment() -> dict[str, str]:
    """Return the environment without the database's address and password: the process reads untrusted images."""
    return {name: value for name, value in os.environ.items() if name not in WITHHELD}


def _hear(output: IO[str], listener: Listener) -> None:
    for line in output:
        listener.log(line)


def _follow(child: subprocess.Popen[str], output: IO[str], heartbeat: Heartbeat, listener: Listener) -> Event:
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


def _died(child: subprocess.Popen[str]) -> Died:
    code = child.wait()
    if code == -signal.SIGKILL:
        return Died("out_of_memory", "the process was killed, most likely because memory ran out")
    return Died("process_died", f"the process exited with {code} without a result; see the worker's log")


def _kill(child: subprocess.Popen[str]) -> None:
    """End the process and its whole process group."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has ended
