"""A stand-in for the process that has torch: `python -m tests.jobs.obedient` does what its order says."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    order = json.loads(sys.stdin.readline())
    Path(order.get("mark", os.devnull)).write_text(str(os.getpid()))
    if order["do"] == "kill itself":
        os.kill(os.getpid(), signal.SIGKILL)
    if order["do"] == "exit":
        sys.exit(7)
    if order["do"] == "hang":
        time.sleep(600)
    if order["do"] == "refuse":
        print(json.dumps({"event": "error", "code": "no_torch", "message": "there is none"}), flush=True)
        return
    print(json.dumps({"event": "progress", "fraction": 0.5, "message": "half"}), flush=True)
    print(json.dumps({"event": "done", "result": order["value"]}), flush=True)


if __name__ == "__main__":
    main()
