"""SQL of exports; every query is limited to an owner."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, contains_eager

from app.storage.blobs import Blob, part_of
from app.storage.models import Export, Job
from nnmass_core import __version__


@dataclass(frozen=True)
class Kept:
    """An export with its job, and its content once it exists."""

    row: Export
    content: Blob | None


def newest(session: Session, owner: str, arch_id: str, kind: str, seed: int) -> Kept | None:
    """Return the latest export of an architecture made by this version."""
    query = (
        select(Export, func.length(Export.content, type_=Export.seed.type))
        .join(Export.job)
        .where(Job.owner == owner, Export.arch_id == arch_id, Export.format == kind, Export.seed == seed)
        .where(Export.core_version == __version__)
        .options(contains_eager(Export.job))
        .order_by(Export.id.desc())
    )
    found = session.execute(query.limit(1)).one_or_none()
    if found is None:
        return None
    row, size = found
    return Kept(row, None if size is None else Blob(size, partial(_part, row.id)))


def _part(export_id: UUID, start: int, size: int) -> Select[bytes]:
    return part_of(Export.content, start, size).where(Export.id == export_id)
