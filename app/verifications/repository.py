"""SQL of verifications; every query for an owner is limited to that owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, undefer

from app.jobs.lifecycle import State
from app.jobs.owned_rows import newest, owned
from app.storage.blobs import Blob, part_of
from app.storage.models import (
    Artifact,
    Checkpoint,
    Export,
    Job,
    RankedArchitecture,
    Search,
    Verification,
    VerificationEpoch,
    VerificationSeed,
)
from app.verifications.schemas import Role

KIND, SEARCH_KIND = "verification", "search"
CHECKPOINTS_KEPT = 2


@dataclass(frozen=True)
class Filters:
    """Which verifications to return."""

    status: State | None = None
    search: UUID | None = None
    arch_id: str | None = None
    dataset: str | None = None
    family: str | None = None
    role: Role | None = None
    created_after: datetime | None = None


def _owned(owner: str) -> Select[Verification]:
    return owned(Verification, KIND, owner)


def get(session: Session, owner: str, verification_id: UUID) -> Verification | None:
    """Return a verification with its job."""
    return session.scalars(_owned(owner).where(Job.id == verification_id)).one_or_none()


def log_of(session: Session, owner: str, verification_id: UUID) -> str | None:
    """Return the log of a verification."""
    found = session.scalars(_owned(owner).where(Job.id == verification_id).options(undefer(Verification.log)))
    row = found.one_or_none()
    return None if row is None else row.log


def page(session: Session, owner: str, filters: Filters, before: str | None, limit: int) -> Sequence[Verification]:
    """Return up to `limit` verifications, newest first, older than the one `before`."""
    older = None if before is None else UUID(before)
    query = newest(
        _owned(owner), Verification, older, limit, status=filters.status, created_after=filters.created_after
    )
    columns = {
        Verification.search_id: filters.search,
        Verification.arch_id: filters.arch_id,
        Verification.dataset_key: filters.dataset,
        Verification.family: filters.family,
        Verification.role: filters.role,
    }
    for column, value in columns.items():
        if value is not None:
            query = query.where(column == value)
    return session.scalars(query).all()


def epochs(session: Session, verification_id: UUID) -> Sequence[VerificationEpoch]:
    """Return every epoch of a verification, seed by seed."""
    query = select(VerificationEpoch).where(VerificationEpoch.verification_id == verification_id)
    return session.scalars(query.order_by(VerificationEpoch.seed, VerificationEpoch.epoch)).all()


def seeds(session: Session, verification_id: UUID) -> Sequence[VerificationSeed]:
    """Return the ended seeds of a verification."""
    query = select(VerificationSeed).where(VerificationSeed.verification_id == verification_id)
    return session.scalars(query.order_by(VerificationSeed.seed)).all()


def confusions(session: Session, verification_id: UUID) -> list[list[list[int]]]:
    """Return the counts of each ended seed."""
    query = select(VerificationSeed.confusion).where(VerificationSeed.verification_id == verification_id)
    return list(session.scalars(query).all())


def test_counts(session: Session, verification_id: UUID) -> list[int]:
    """Return the number of test images of each class, from the counts of an ended seed."""
    query = select(VerificationSeed.confusion).where(VerificationSeed.verification_id == verification_id).limit(1)
    return [sum(row) for row in session.scalars(query).one()]


def artifacts(session: Session, verification_id: UUID) -> Sequence[Artifact]:
    """Return the files of a verification, without their content."""
    query = select(Artifact).where(Artifact.verification_id == verification_id).order_by(Artifact.name)
    return session.scalars(query).all()


def artifact(session: Session, verification_id: UUID, name: str) -> Artifact | None:
    """Return one file, without its content."""
    query = select(Artifact).where(Artifact.verification_id == verification_id, Artifact.name == name)
    return session.scalars(query).one_or_none()


def content_of(file: Artifact) -> Blob:
    """Return the content of a file; if a training writes it again meanwhile, the rest of it is empty."""
    same = (
        Artifact.verification_id == file.verification_id,
        Artifact.name == file.name,
        Artifact.sha256 == file.sha256,
    )
    return Blob(file.size, lambda start, size: part_of(Artifact.content, start, size).where(*same))


def checkpoints(session: Session, verification_id: UUID) -> Sequence[Checkpoint]:
    """Return the checkpoints of a verification, the furthest of each seed first."""
    query = select(Checkpoint).where(Checkpoint.verification_id == verification_id)
    furthest = (Checkpoint.epoch.desc(), Checkpoint.step.desc(), Checkpoint.fence.desc())
    return session.scalars(query.order_by(Checkpoint.seed, *furthest)).all()


def superfluous(session: Session, verification_id: UUID, seed: int, *, ended: bool) -> Sequence[Checkpoint]:
    """Return the checkpoints of a seed that are no longer needed: all but two, and all once it has ended."""
    known = [row for row in checkpoints(session, verification_id) if row.seed == seed]
    return known if ended else known[CHECKPOINTS_KEPT:]


def search_of(session: Session, owner: str, search_id: UUID) -> Search | None:
    """Return an owner's search with its job."""
    return session.scalars(owned(Search, SEARCH_KIND, owner).where(Job.id == search_id)).one_or_none()


def keep_search(session: Session, search_id: UUID | None) -> UUID | None:
    """Return the id of a search if it still exists, and lock it until the transaction ends."""
    kept = select(Search.id).where(Search.id == search_id).with_for_update(read=True, key_share=True)
    return session.scalars(kept).one_or_none()


def keep(session: Session, verification_id: UUID) -> bool:
    """Return whether a verification still exists, and lock it until the transaction ends."""
    kept = select(Verification.id).where(Verification.id == verification_id)
    return session.scalars(kept.with_for_update(read=True, key_share=True)).one_or_none() is not None


def hold(session: Session, verification_id: UUID) -> Sequence[UUID]:
    """Return the ids of a verification's exports, and lock it until the transaction ends: no other export is added.

    Its job is locked first, as workers do.
    """
    session.execute(select(Job.id).where(Job.id == verification_id).with_for_update())
    session.execute(select(Verification.id).where(Verification.id == verification_id).with_for_update())
    return session.scalars(select(Export.id).where(Export.verification_id == verification_id)).all()


def best_of(session: Session, search_id: UUID, count: int) -> Sequence[RankedArchitecture]:
    """Return the first ranks of a search's ranking."""
    query = select(RankedArchitecture).where(RankedArchitecture.search_id == search_id)
    return session.scalars(query.order_by(RankedArchitecture.rank).limit(count)).all()
