"""SQL of exports; every query is limited to an owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Select, and_, func, select
from sqlalchemy.orm import Session, contains_eager

from app.jobs.owned_rows import owned
from app.storage.blobs import Blob, part_of
from app.storage.models import Artifact, Export, Job, Verification
from nnmass_core import __version__
from nnmass_core.export.deployment import FILES_VERSION, FileOptions, applying

VERIFICATION_KIND = "verification"
Query = TypeVar("Query", bound=Select[*tuple[Any, ...]])
Source = str | UUID
"""What files are of: the `arch_id` of an untrained network, or the id of the verification that trained it."""


@dataclass(frozen=True)
class Kept:
    """An export with its job, and its content once it exists."""

    row: Export
    content: Blob | None


def newest(session: Session, owner: str, source: Source, kind: str, seed: int, options: FileOptions) -> Kept | None:
    """Return the latest export of a network with these options made by this version."""
    length = func.length(Export.content, type_=Export.seed.type)
    query = _of(select(Export, length), owner, source, kind, seed).where(
        Export.core_version == __version__,
        Export.files_version == FILES_VERSION,
        *(getattr(Export, name).is_not_distinct_from(value) for name, value in applying(kind, options).items()),
    )
    found = session.execute(query.limit(1)).one_or_none()
    if found is None:
        return None
    row, size = found
    return Kept(row, None if size is None else Blob(size, partial(_part, row.id)))


def every(session: Session, owner: str, source: Source, kind: str, seed: int) -> Sequence[Export]:
    """Return the exports of a network made by any version and with any options, the latest first."""
    return session.scalars(_of(select(Export), owner, source, kind, seed)).all()


def _of(query: Query, owner: str, source: Source, kind: str, seed: int) -> Query:
    """Limit a query of exports, whatever it selects of them, to an owner's of a network, the latest first."""
    trained = isinstance(source, UUID)
    untrained = and_(Export.arch_id == source, Export.verification_id.is_(None))
    of = Export.verification_id == source if trained else untrained
    found = query.join(Export.job).where(Job.owner == owner, of, Export.format == kind, Export.seed == seed)
    return found.options(contains_eager(Export.job)).order_by(Export.id.desc())


def _part(export_id: UUID, start: int, size: int) -> Select[bytes]:
    return part_of(Export.content, start, size).where(Export.id == export_id)


def verification(session: Session, owner: str, verification_id: UUID) -> Verification | None:
    """Return an owner's verification with its job."""
    query = owned(Verification, VERIFICATION_KIND, owner).where(Job.id == verification_id)
    return session.scalars(query).one_or_none()


def keep(session: Session, verification_id: UUID) -> bool:
    """Return whether a verification still exists, and lock it until the transaction ends."""
    kept = select(Verification.id).where(Verification.id == verification_id)
    return session.scalars(kept.with_for_update(read=True, key_share=True)).one_or_none() is not None


def artifact(session: Session, verification_id: UUID, name: str) -> Blob | None:
    """Return the content of a file that a training stored."""
    same = (Artifact.verification_id == verification_id, Artifact.name == name)
    size = session.scalars(select(Artifact.size).where(*same)).one_or_none()
    if size is None:
        return None
    return Blob(size, lambda start, count: part_of(Artifact.content, start, count).where(*same))


def whole(session: Session, file: Blob) -> bytes:
    """Return all of a small file."""
    return session.scalars(file.part(0, file.size)).one()
