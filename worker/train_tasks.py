"""The queue `train`: verifications, each done by a process with torch."""

from __future__ import annotations

from app.verifications import repository as verifications
from worker import files_tasks, job_runner
from worker.process import Context
from worker.verification_tasks import verify

QUEUE = "train"


def run_next(context: Context) -> bool:
    """Claim the oldest job of the queue and run it. Return False when there is none.

    Releases before the queue `files` put exports and measurements here, and during an upgrade their API still does.
    """
    return job_runner.run_next(context, QUEUE, {verifications.KIND: verify, **files_tasks.KINDS})
