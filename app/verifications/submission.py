"""Submit trainings: plan them, find their controls, and store them."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.http.concurrency import Threads
from app.http.idempotency import Submission
from app.verifications import service
from app.verifications.schemas import VerificationBody
from app.verifications.service import Plan


async def submit(threads: Threads, owner: str, body: VerificationBody, key: str | None) -> Submission:
    """Store the requested trainings. Raises what `service` raises."""
    known = await threads.read(owner, _known_or_planned, body, key)
    if isinstance(known, Submission):
        return known
    wanted = await threads.run_cpu(service.with_controls, known)  # without an open session: it may take seconds
    return await threads.write(owner, service.submit, body, wanted, key)


def _known_or_planned(session: Session, owner: str, body: VerificationBody, key: str | None) -> Submission | Plan:
    return service.replayed(session, owner, body, key) or service.plan(session, owner, body)
