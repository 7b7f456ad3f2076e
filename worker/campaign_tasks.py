"""Take the next step of a campaign: choose without an open session, then store it in one fenced transaction."""

from __future__ import annotations

import logging
import time

from app.campaigns import planning, steps
from app.campaigns.planning import NothingToTrain
from app.jobs.lifecycle import Claim
from nnmass_core.engine.control import Control
from nnmass_core.errors import DefinitionError, UnknownVersion
from worker.heartbeat import Heartbeat
from worker.job_runner import Failed
from worker.process import Context

log = logging.getLogger("nnmass.campaign")


def advance(context: Context, claim: Claim) -> None:
    """Begin the next round of a campaign, or end it with its answer."""
    try:
        with context.database.read() as session:
            standing = steps.standing_of(session, claim.job_id)
    except UnknownVersion as error:
        raise Failed("unknown_version", f"the stored question cannot be read: {error}") from error
    if standing.waits:
        with context.database.write() as session:
            steps.wait(session, claim)
        return
    started = time.monotonic()
    with Heartbeat(context, claim) as heartbeat:
        limit = standing.request.time_limit_seconds
        control = Control.timed(lambda: (time.monotonic() - started) / limit, heartbeat.report)
        try:
            step = planning.next_trainings(standing, control)
        except NothingToTrain as error:
            raise Failed(error.code, str(error)) from error
        except DefinitionError as error:  # a space may turn out too large for a rule of a structure
            raise Failed(error.problems[0].code, str(error)) from error
    with context.database.write() as session:
        stored = steps.begin_round(session, claim, standing, step) if step.chosen else steps.succeed(session, claim)
    if not stored:
        log.info(
            "campaign %s had ended or been claimed again before attempt %d could save", claim.job_id, claim.attempt
        )
