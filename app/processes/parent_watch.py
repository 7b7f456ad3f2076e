"""End a child process when its parent ends, even when the parent was killed without a chance to signal it."""

from __future__ import annotations

import os
import threading
import time

VARIABLE = "NNMASS_PARENT_PID"
LOOK_EVERY_SECONDS = 0.2


def watch_parent(parent_pid: int | None = None) -> None:
    """Start a thread that ends this process once its parent has ended. Without a parent to watch, do nothing.

    The parent is the given one, else the one that the environment names. Ending immediately is safe: the database holds
    everything that matters, and leases show other processes that this one is gone.
    """
    named = os.environ.get(VARIABLE)
    expected = parent_pid if parent_pid is not None else int(named) if named else None
    if expected is not None:
        threading.Thread(target=_watch, args=(expected,), name="parent-watch", daemon=True).start()


def _watch(expected: int) -> None:
    while os.getppid() == expected:
        time.sleep(LOOK_EVERY_SECONDS)
    os._exit(1)
