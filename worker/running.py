"""Running claimed jobs: whatever happens inside, the job ends in a state that says so and the worker goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from sqlalchemy.exc import DBAPIError

from app import jobs
from app.db import is_away
from app.jobs import Claim
from app.models import Job
from worker.lifecycle import Context
from worker.pulse import Ending, Lost

log = logging.getLogger("nnmass.worker")

Work = Callable[[Context, Claim], None]


class Failed(Exception):
    """The work cannot be done; code and message are shown to the user."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Died(Failed):
    """The process that did the work died: this attempt is over, and the next may do better."""


def run_next(context: Context, queue: str, kinds: Mapping[str, Work]) -> bool:
    """Claim the oldest job of a queue and do its kind of work; False when there is none."""
    with context.database.write() as session:
        held = jobs.claim(session, queue, context.worker, context.settings.lease_seconds)
        kind = session.get_one(Job, held.job_id).kind if held else ""
    if held is None:
        return False
    try:
        kinds[kind](context, held)
    except Lost:
        log.info("%s %s was taken away from attempt %d", kind, held.job_id, held.attempt)
    except Ending:
        with context.database.write() as session:
            jobs.release(session, held)
    except Died as death:
        log.warning("%s %s: attempt %d died: %s", kind, held.job_id, held.attempt, death)
        with context.database.write() as session:
            jobs.give_up_attempt(session, held, death.code, str(death), context.settings.most_attempts)
    except Failed as failure:
        _fail(context, held, failure.code, str(failure))
    except DBAPIError as error:
        if not is_away(error):
            log.exception("%s %s failed", kind, held.job_id)
            _fail(context, held, "internal_error", f"{type(error).__name__}; the worker's log has more")
            return True
        # nothing can be written now; the lease ends, the sweeper puts the job back, and the attempt has been counted
        log.warning(
            "%s %s lost the database (%s) in attempt %d", kind, held.job_id, type(error.orig).__name__, held.attempt
        )
    except MemoryError:
        _fail(context, held, "out_of_memory", f"the {kind} needed more memory than the worker has")
    except Exception as error:  # whatever went wrong, the job must say so and the worker go on
        log.exception("%s %s failed", kind, held.job_id)
        _fail(context, held, "internal_error", f"{type(error).__name__}; the worker's log has more")
    return True


def _fail(context: Context, held: Claim, code: str, message: str) -> None:
    with context.database.write() as session:
        jobs.fail(session, held, code, message)
