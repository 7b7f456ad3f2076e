"""Compute evidence: first read the trainings from the database, then compute without it."""

from __future__ import annotations

from app.evidence import service
from app.evidence.service import Filters, Gathered
from app.http.concurrency import Threads


async def query_evidence(threads: Threads, owner: str, filters: Filters) -> tuple[Gathered, dict[str, object]]:
    """Return the trainings read, and their evidence."""
    gathered = await threads.read(owner, service.gather, filters)
    return gathered, await threads.run_cpu(gathered.compute)
