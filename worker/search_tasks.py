"""The queue `search`: steps of campaigns, and searches: load, compute without an open session, save under the fence."""

from __future__ import annotations

import logging
import time

from sqlalchemy import update
from sqlalchemy.orm import Session, joinedload

from app.campaigns import repository as campaigns
from app.jobs import lifecycle
from app.jobs.lifecycle import Claim
from app.searches import repository, service
from app.searches.answers import stored_result
from app.searches.repository import KIND
from app.searches.service import QUEUE
from app.storage.models import Job, Search
from nnmass import formatting
from nnmass_core import __version__
from nnmass_core.certificate import SearchResult
from nnmass_core.engine.control import Control
from nnmass_core.errors import DefinitionError, UnknownVersion
from nnmass_core.request import SearchRequest
from nnmass_core.search import search
from worker import campaign_tasks
from worker.heartbeat import Heartbeat
from worker.job_runner import Failed
from worker.job_runner import run_next as run_next_of
from worker.process import Context

log = logging.getLogger("nnmass.search")


def run_next(context: Context) -> bool:
    """Claim the oldest job of the queue and run it. Return False when there is none."""
    return run_next_of(context, QUEUE, {KIND: _run, campaigns.KIND: campaign_tasks.advance})


def _run(context: Context, claim: Claim) -> None:
    with context.database.read() as session:
        row = session.get_one(Search, claim.job_id, options=[joinedload(Search.job)])
        has_source = row.job.source_id is not None
    request = _request_of(row)
    if has_source and _ends_with_source(context, claim, request):
        return
    started = time.monotonic()
    with Heartbeat(context, claim) as heartbeat:
        control = Control.timed(lambda: (time.monotonic() - started) / request.time_limit_seconds, heartbeat.report)
        try:
            found = search(request, control)
        except DefinitionError as error:  # a space may turn out too large for a rule of a structure
            raise Failed(error.problems[0].code, str(error)) from error
    with context.database.write() as session:
        if lifecycle.succeed(session, claim):
            _store(session, claim, request, found, time.monotonic() - started)
        else:
            log.info(
                "search %s had ended or been claimed again before attempt %d could save", claim.job_id, claim.attempt
            )


def _ends_with_source(context: Context, claim: Claim, request: SearchRequest) -> bool:
    """Finish with the result of an equal search. Return False when there is none: then this search must run."""
    with context.database.write() as session:
        job = session.get_one(Job, claim.job_id)
        source = repository.with_result(session, job.owner, request.digest)
        if source is None:
            lifecycle.forget_source(session, claim)
            return False
        if lifecycle.succeed(session, claim, source_id=service.origin_of(source)):
            service.take_result(session, session.get_one(Search, claim.job_id), source)
        return True


def _request_of(row: Search) -> SearchRequest:
    try:
        return SearchRequest.from_json(row.request, version=row.request_version)
    except UnknownVersion as error:
        raise Failed("unknown_version", f"the stored request cannot be read: {error}") from error


def _store(session: Session, claim: Claim, request: SearchRequest, found: SearchResult, elapsed: float) -> None:
    earlier = service.proved_digest(session, request.digest)
    if found.certificate.optimal and earlier not in (None, found.digest):
        log.error("search %s: result %s differs from %s of an equal request", claim.job_id, found.digest, earlier)
    result = stored_result(found, elapsed)
    columns = {
        "request_digest": request.digest,  # the release that stored the request may be another one, with other answers
        "core_version": __version__,
        "result": result,
        "result_digest": found.digest,
        "outcome": formatting.outcome(result),
    }
    saved = update(Search).where(Search.id == claim.job_id).values(columns)
    session.execute(saved, execution_options={"synchronize_session": False})
    session.add_all(service.rows_of(claim.job_id, found, request.budget.precision))
