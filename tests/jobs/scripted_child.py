"""A replacement for the process that has torch: `python -m tests.jobs.scripted_child` does what its order says."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def report(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main() -> None:
    order = json.loads(sys.stdin.readline())
    Path(order.get("mark", os.devnull)).write_text(str(os.getpid()))
    if order["do"] == "kill itself":
        os.kill(os.getpid(), signal.SIGKILL)
    if order["do"] == "exit":
        sys.exit(7)
    if order["do"] == "hang":
        time.sleep(600)
    if order["do"] == "take its time":
        for step in range(6):
            time.sleep(0.5)
            report({"event": "progress", "fraction": step / 6, "message": "on and on"})
    if order["do"] == "be cut off":
        sys.stdout.write('{"event": "seed", "confus')
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    if order["do"] == "print":
        sys.stdout.write("a library's greeting\n")
    if order["do"] == "refuse":
        report({"event": "error", "code": "no_torch", "message": "there is none"})
        return
    report({"event": "progress", "fraction": 0.5, "message": "half"})
    report({"event": "done", "result": os.getppid() if order["do"] == "name its parent" else order["value"]})


if __name__ == "__main__":
    main()
