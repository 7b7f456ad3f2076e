"""A worker whose process hangs: `python -m tests.jobs.forking_worker MARK`; the test kills this worker."""

from __future__ import annotations

import sys
from typing import cast

from worker import child
from worker.heartbeat import Heartbeat


class Alive:
    """A heartbeat that never stops the work."""

    silence_seconds = 600.0

    def report(self, fraction: float, message: str) -> None:
        """Ignore progress."""


child.PREPARING = "tests.jobs.prepared"
order = {"do": "hang", "mark": sys.argv[1]}
child.run_child("tests.jobs.scripted_child", order, cast("Heartbeat", Alive()), idle_seconds=600.0)
