"""Compute evidence and take figures for it: the long parts run without an open session."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.evidence import columns, service
from app.evidence.column_schemas import PointItem, PointsBody
from app.evidence.service import Filters, Gathered
from app.http.concurrency import Threads
from nnmass_core.architecture import Architecture


async def query_evidence(threads: Threads, owner: str, filters: Filters) -> tuple[Gathered, dict[str, object]]:
    """Return the trainings read, and their evidence."""
    gathered = await threads.read(owner, service.gather, filters)
    return gathered, await threads.run_cpu(gathered.compute)


async def upload(threads: Threads, owner: str, body: PointsBody) -> list[PointItem]:
    """Store figures beside networks, and return what is stored. Raises what `columns` raises."""
    definitions = await threads.read(owner, columns.definitions_of, body.points)
    networks = await threads.run_cpu(columns.decode, definitions)
    return await threads.write(owner, _keep, body, networks)


def _keep(session: Session, owner: str, body: PointsBody, networks: Sequence[Architecture]) -> list[PointItem]:
    return [PointItem.model_validate(row) for row in columns.keep(session, owner, body.points, networks)]
