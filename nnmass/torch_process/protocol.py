"""The process's side: one order on standard input, events on standard output, a log on standard error."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

Work = Callable[[dict[str, Any]], None]
"""Does what an order says, and writes events."""

_events = 1
"""Where events go: standard output, until `take_events` has given it to the log."""


def run(work: Mapping[str, Work], missing_torch: str) -> None:
    """Read the order, do it, and end early if whoever gave it goes away.

    work: by the order's `do`. missing_torch: the message of the error where torch is not installed.
    """
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    if order.get("processes", 1) == 1:  # of several, each takes its own, which it has from this one
        reserve_stdout()
    start_log()
    try:
        import torch  # noqa: F401 - to know whether it is there
    except ModuleNotFoundError as missing:
        if missing.name != "torch":
            raise
        send_event("error", code="torch_missing", message=missing_torch)
        return
    carry_out(work[order["do"]], order)


def _end_with_standard_input() -> None:
    sys.stdin.read()
    os._exit(1)


def reserve_stdout() -> None:
    """Keep standard output for events alone: whatever else is printed there, by native code too, goes to the log."""
    global _events  # noqa: PLW0603 - a process has one standard output
    _events = os.dup(1)
    os.dup2(2, 1)


def send_event(event: str, **fields: Any) -> None:
    """Write one event."""
    rest = json.dumps({"event": event, **fields}).encode() + b"\n"
    while rest:
        rest = rest[os.write(_events, rest) :]


def start_log() -> None:
    """Log on standard error, libraries their warnings alone."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("nnmass").setLevel(logging.INFO)


def carry_out(work: Work, order: dict[str, Any]) -> bool:
    """Do the work; what keeps it from being done is told, and then the answer is False."""
    import torch

    from nnmass_core.errors import NotPossible

    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    try:
        work(order)
    except NotPossible as refusal:
        send_event("error", code=refusal.code, message=str(refusal))
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        logging.getLogger("nnmass.training").exception("not enough memory")
        send_event(
            "error", code="out_of_memory", message="the device does not have enough memory for this network and batch"
        )
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        send_event("error", code="disk_full", message="the worker's disk is full; the last checkpoint is intact")
    else:
        return True
    return False


def _is_lack_of_memory(error: Exception) -> bool:
    import torch

    # on the CPU torch says so in words alone
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in ("not enough memory", "can't allocate memory")
    )
