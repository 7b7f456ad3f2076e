"""The trainer's side of its protocol: events on standard output, a log on standard error (see worker/child.py)."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

_events = 1
"""Where events go: standard output, until `take_events` has given it to the log."""


def take_events() -> None:
    """Keep standard output for events alone: whatever else is printed there, by native code too, goes to the log."""
    global _events  # noqa: PLW0603 - a process has one standard output
    _events = os.dup(1)
    os.dup2(2, 1)


def tell(event: str, **fields: Any) -> None:
    """Write one event."""
    rest = json.dumps({"event": event, **fields}).encode() + b"\n"
    while rest:
        rest = rest[os.write(_events, rest) :]


def start_log() -> None:
    """Log on standard error, libraries their warnings alone."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("nnmass").setLevel(logging.INFO)


def carry_out(work: Callable[[dict[str, Any]], None], order: dict[str, Any]) -> bool:
    """Do the work; what keeps it from being done is told, and then the answer is False."""
    import torch

    from nnmass_core.errors import NotPossible

    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    try:
        work(order)
    except NotPossible as refusal:
        tell("error", code=refusal.code, message=str(refusal))
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        logging.getLogger("nnmass.training").exception("not enough memory")
        tell("error", code="out_of_memory", message="the device has not enough memory for this network and batch")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        tell("error", code="disk_full", message="the worker's disk is full; the last checkpoint is kept")
    else:
        return True
    return False


def _is_lack_of_memory(error: Exception) -> bool:
    import torch

    # on the CPU torch says so in words alone
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in ("not enough memory", "can't allocate memory")
    )
