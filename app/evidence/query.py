"""Compute evidence: first read the trainings from the database, then compute without it."""

from __future__ import annotations

from typing import Any

from app.evidence import service
from app.evidence.service import Filters, Gathered
from app.http.concurrency import Threads
from app.storage.db import Database


async def tell(database: Database, threads: Threads, owner: str, filters: Filters) -> tuple[Gathered, dict[str, Any]]:
    """Return the trainings read, and their evidence."""
    gathered = await threads.run_db(owner, _gather, database, owner, filters)
    return gathered, await threads.run_cpu(gathered.reported)


def _gather(database: Database, owner: str, filters: Filters) -> Gathered:
    with database.read() as session:
        return service.gather(session, owner, filters)
