"""Work that needs torch runs in a process of its own: a fault, a lack of memory or a cancel ends it, never the worker.

The process gets its order as one line of JSON on standard input and answers in lines of JSON on standard output:
`{"event": "progress", "fraction", "message"}`, and last `{"event": "done", ...}` or `{"event": "error", "code",
"message"}`. Standard input stays open for as long as the order stands; when it closes, the process ends itself.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from typing import IO, Any

from app import parent
from worker.pulse import Pulse
from worker.running import Failed

LOOK_EVERY_SECONDS = 0.2
LAST_WORDS = 2000
"""Characters of what a process that died wrote last, for the worker's log."""


def run_child(module: str, order: dict[str, Any], pulse: Pulse) -> dict[str, Any]:
    """Run `python -m module` on an order and return its last event. Raises Failed, and Lost or Ending of the pulse."""
    command = [sys.executable, "-m", module]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, start_new_session=True, env=_environment()
    ) as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps(order) + "\n")
            child.stdin.flush()
            return _follow(child, child.stdout, pulse)
        finally:
            _kill(child)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != parent.VARIABLE}


def _follow(child: subprocess.Popen[str], output: IO[str], pulse: Pulse) -> dict[str, Any]:
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(output, lines), daemon=True).start()
    progress = (0.0, "starting")
    while True:
        try:
            line = lines.get(timeout=LOOK_EVERY_SECONDS)
        except queue.Empty:
            pulse.report(*progress)
            continue
        if line is None:
            raise _died(child)
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "progress":
            progress = (float(event["fraction"]), str(event["message"]))
            pulse.report(*progress)
        elif event["event"] == "error":
            raise Failed(str(event["code"]), str(event["message"]))
        else:
            return event


def _read(output: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in output:
        lines.put(line)
    lines.put(None)


def _died(child: subprocess.Popen[str]) -> Failed:
    code = child.wait()
    if code == -signal.SIGKILL:
        return Failed("out_of_memory", "the process was killed, most likely because the memory was not enough")
    return Failed("process_died", f"the process ended with {code} and no answer; the worker's log has more")


def _kill(child: subprocess.Popen[str]) -> None:
    """End the process and all that it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has ended
