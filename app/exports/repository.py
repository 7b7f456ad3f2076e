"""SQL of exports; every query is scoped to an owner."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session, contains_eager, undefer

from app.models import Export, Job
from nnmass_core import __version__


def newest(session: Session, owner: str, arch_id: str, kind: str, seed: int) -> Export | None:
    """Return this version's newest export of an architecture, with its job and its content."""
    query = (
        select(Export)
        .join(Export.job)
        .where(Job.owner == owner, Export.arch_id == arch_id, Export.format == kind, Export.seed == seed)
        .where(Export.core_version == __version__)
        .options(contains_eager(Export.job), undefer(Export.content))
        .order_by(Export.id.desc())
    )
    return session.scalars(query.limit(1)).one_or_none()
