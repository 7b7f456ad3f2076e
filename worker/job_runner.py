"""Run claimed jobs: whatever fails, the job ends in a state that reports it, and the worker continues."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from sqlalchemy.exc import DBAPIError

from app.jobs import lifecycle
from app.jobs.lifecycle import Claim
from app.observability import logs, tracing
from app.storage.db import is_unavailable
from app.storage.models import Job
from worker.heartbeat import Lost, Stopping
from worker.process import Context

log = logging.getLogger("nnmass.worker")

Work = Callable[[Context, Claim], None]


class Failed(Exception):
    """The work cannot be done; code and message are shown to the user."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Died(Failed):
    """The process that did the work died: this attempt is over, and the next may succeed."""


def run_next(context: Context, queue: str, kinds: Mapping[str, Work]) -> bool:
    """Claim the oldest job of a queue and run it according to its kind. Return False when there is none."""
    with context.database.write() as session:
        claim = lifecycle.claim(session, queue, context.worker, context.settings.lease_seconds)
        job = session.get_one(Job, claim.job_id) if claim else None
    if claim is None or job is None:
        return False
    name = str(claim.job_id)
    with (
        logs.about(job_id=name, kind=job.kind, attempt=claim.attempt, fence=claim.fence, owner=job.owner),
        tracing.of_job(claim.job_id, job.kind, claim.attempt, claim.fence),
    ):
        log.info("%s %s starts", job.kind, name)
        started = time.monotonic()
        outcome = _run(context, claim, job.kind, kinds)
        log.info("%s %s: %s", job.kind, name, outcome, extra={"seconds": round(time.monotonic() - started, 3)})
    return True


def _run(context: Context, claim: Claim, kind: str, kinds: Mapping[str, Work]) -> str:
    """Do a job's work; return the outcome of the attempt, which is also stored in the job if possible."""
    outcome = "done"
    try:
        kinds[kind](context, claim)
    except Lost:
        log.info("%s %s is no longer owned by attempt %d", kind, claim.job_id, claim.attempt)
        outcome = "stopped, claimed by another attempt"
    except Stopping:
        with context.database.write() as session:
            lifecycle.release(session, claim)
        outcome = "requeued because this worker is stopping"
    except Died as death:
        log.warning("%s %s: attempt %d died: %s", kind, claim.job_id, claim.attempt, death)
        tracing.failed(death.code)
        with context.database.write() as session:
            lifecycle.give_up_attempt(session, claim, death.code, str(death), context.settings.most_attempts)
        outcome = "its process died"
    except Failed as failure:
        outcome = _fail(context, claim, failure.code, str(failure))
    except DBAPIError as error:
        if is_unavailable(error):
            # nothing can be stored now; the lease ends, the sweeper puts the job back, and the attempt is counted
            lost = type(error.orig).__name__
            log.warning("%s %s lost the database (%s) in attempt %d", kind, claim.job_id, lost, claim.attempt)
            outcome = "left to the sweeper"
        else:
            outcome = _break(context, claim, kind, error)
    except MemoryError:
        outcome = _fail(context, claim, "out_of_memory", f"the {kind} needed more memory than the worker has")
    except Exception as error:  # on any error the job must report it and the worker must continue
        outcome = _break(context, claim, kind, error)
    return outcome


def _break(context: Context, claim: Claim, kind: str, error: Exception) -> str:
    """Fail a job because of an unexpected error."""
    log.error("%s %s failed", kind, claim.job_id, exc_info=error)
    return _fail(context, claim, "internal_error", f"{type(error).__name__}; the worker's log has more")


def _fail(context: Context, claim: Claim, code: str, message: str) -> str:
    tracing.failed(code)
    with context.database.write() as session:
        lifecycle.fail(session, claim, code, message)
    return f"failed with {code}"
