"""The line protocol of the torch process, for both sides.

The process reads its order as one line of JSON on standard input and writes lines of JSON to standard output:
`{"event": "progress", "fraction", "message"}`, and last `{"event": "done", ...}` or `{"event": "error", "code",
"message"}`; the caller handles other events. Its log is standard error. Standard input stays open while the order is
valid; when it closes, the process ends itself.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

# untyped: orders and events are parsed JSON, with fields of their own for each work

Event = dict[str, Any]
"""An event as it was read: JSON whose fields depend on its name, the field `event`."""

Work = Callable[[dict[str, Any]], None]
"""Carries out an order, which is JSON with fields of its own for each work, and sends events."""

_events = 1
"""The stream for events: standard output, until `reserve_stdout` redirects that to the log."""


class OrderFailed(Exception):
    """The process reported that it could not carry out its order; `code` is for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def send_order(process_input: IO[str], order: Mapping[str, object]) -> None:
    """Write the order to the process's standard input, and leave that open."""
    process_input.write(json.dumps(order) + "\n")
    process_input.flush()


def read_event(line: str) -> Event | None:
    """Return the event of a line of the process's output; None for a line that is none, such as one cut off by a kill.

    Raises OrderFailed for the event `error`.
    """
    try:
        event: Event = json.loads(line)
    except json.JSONDecodeError:
        return None
    if event["event"] == "error":
        raise OrderFailed(str(event["code"]), str(event["message"]))
    return event


def run(work: Mapping[str, Work], missing_torch: str) -> None:
    """Read the order, carry it out, and end early if the caller disappears.

    work: functions by the order's `do`. missing_torch: the error message where torch is not installed.
    """
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    if order.get("processes", 1) == 1:  # with several, each process reserves its own
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
    """Reserve standard output for events: everything else printed there, even by native code, goes to the log."""
    global _events  # noqa: PLW0603 - a process has one standard output
    _events = os.dup(1)
    os.dup2(2, 1)


def send_event(event: str, **fields: Any) -> None:
    """Send one event."""
    rest = json.dumps({"event": event, **fields}).encode() + b"\n"
    while rest:
        rest = rest[os.write(_events, rest) :]


def start_log() -> None:
    """Log to standard error; libraries log only warnings."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("nnmass").setLevel(logging.INFO)


def carry_out(work: Work, order: dict[str, Any]) -> bool:
    """Carry out the work. If it fails, send an error event and return False."""
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

    # on the CPU torch reports this only in the message
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in ("not enough memory", "can't allocate memory")
    )
