"""Submit trainings: plan them, find their controls, and store them."""

from __future__ import annotations

from app.http.concurrency import Threads
from app.http.idempotency import Submission
from app.storage.db import Database
from app.verifications import service
from app.verifications.schemas import VerificationBody
from app.verifications.service import Plan


async def submitted(
    database: Database, threads: Threads, owner: str, body: VerificationBody, key: str | None
) -> Submission:
    """Store the requested trainings. Raises what `service` raises."""
    known = await threads.run_db(owner, _known_or_planned, database, owner, body, key)
    if isinstance(known, Submission):
        return known
    wanted = await threads.run_cpu(service.with_controls, known)  # without an open session: it may take seconds
    return await threads.run_db(owner, _submit, database, owner, body, wanted, key)


def _known_or_planned(database: Database, owner: str, body: VerificationBody, key: str | None) -> Submission | Plan:
    with database.read() as session:
        return service.replayed(session, owner, body, key) or service.plan(session, owner, body)


def _submit(database: Database, owner: str, body: VerificationBody, wanted: Plan, key: str | None) -> Submission:
    with database.write() as session:
        return service.submit(session, owner, body, wanted, key)
