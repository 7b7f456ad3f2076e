"""SQL of exports; every query is limited to an owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, contains_eager

from app.storage.blobs import Blob, part_of
from app.storage.models import Export, Job
from nnmass_core import __version__
from nnmass_core.export.deployment import FILES_VERSION, FileOptions, applying

Query = TypeVar("Query", bound=Select[*tuple[Any, ...]])


@dataclass(frozen=True)
class Kept:
    """An export with its job, and its content once it exists."""

    row: Export
    content: Blob | None


def newest(session: Session, owner: str, arch_id: str, kind: str, seed: int, options: FileOptions) -> Kept | None:
    """Return the latest export of an architecture with these options made by this version."""
    length = func.length(Export.content, type_=Export.seed.type)
    query = _of(select(Export, length), owner, arch_id, kind, seed).where(
        Export.core_version == __version__,
        Export.files_version == FILES_VERSION,
        *(getattr(Export, name).is_not_distinct_from(value) for name, value in applying(kind, options).items()),
    )
    found = session.execute(query.limit(1)).one_or_none()
    if found is None:
        return None
    row, size = found
    return Kept(row, None if size is None else Blob(size, partial(_part, row.id)))


def every(session: Session, owner: str, arch_id: str, kind: str, seed: int) -> Sequence[Export]:
    """Return the exports of an architecture made by any version and with any options, the latest first."""
    return session.scalars(_of(select(Export), owner, arch_id, kind, seed)).all()


def _of(query: Query, owner: str, arch_id: str, kind: str, seed: int) -> Query:
    """Limit a query of exports, whatever it selects of them, to an owner's of an architecture, the latest first."""
    named = (Export.arch_id == arch_id, Export.format == kind, Export.seed == seed)
    found = query.join(Export.job).where(Job.owner == owner, *named)
    return found.options(contains_eager(Export.job)).order_by(Export.id.desc())


def _part(export_id: UUID, start: int, size: int) -> Select[bytes]:
    return part_of(Export.content, start, size).where(Export.id == export_id)
