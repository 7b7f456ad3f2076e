"""A child process ends when its parent does, even when the parent was killed without a chance to say so."""

from __future__ import annotations

import os
import threading
import time

VARIABLE = "NNMASS_PARENT_PID"
LOOK_EVERY_SECONDS = 0.2


def watch_parent(parent_pid: int | None = None) -> None:
    """Start a thread that ends this process once its parent is gone; without a parent to watch, do nothing.

    The parent is the given one, else the one that the environment names. Ending at once is safe: the database holds all
    that matters, and leases tell others that this process is gone.
    """
    named = os.environ.get(VARIABLE)
    expected = parent_pid if parent_pid is not None else int(named) if named else None
    if expected is not None:
        threading.Thread(target=_watch, args=(expected,), name="parent-watch", daemon=True).start()


def _watch(expected: int) -> None:
    while os.getppid() == expected:
        time.sleep(LOOK_EVERY_SECONDS)
    os._exit(1)
