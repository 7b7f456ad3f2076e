"""What an owner can refer to: registered, ranked and trained architectures, and the owner's device profiles."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.storage.models import DeviceProfile, Job, RankedArchitecture, RegisteredArchitecture, Search, Verification
from nnmass_core.architecture import ARCH_ID, Architecture
from nnmass_core.codec import JsonObject
from nnmass_core.families import decode_architecture
from nnmass_core.hardware.devices import NAME


def definition(session: Session, owner: str, arch_id: str) -> JsonObject | None:
    """Return the definition of an architecture that this owner can refer to, or None."""
    if not re.fullmatch(ARCH_ID, arch_id):
        return None
    registered = session.get(RegisteredArchitecture, (owner, arch_id))
    if registered is not None:
        return registered.definition
    ranked = (
        select(RankedArchitecture.architecture)
        .join(Job, Job.id == RankedArchitecture.search_id)
        .where(RankedArchitecture.arch_id == arch_id, Job.owner == owner)
    )
    trained = (
        select(Verification.definition)
        .join(Job, Job.id == Verification.id)
        .where(Verification.arch_id == arch_id, Job.owner == owner)
    )
    found = (session.scalars(query.limit(1)).one_or_none() for query in (ranked, trained))
    return next((known for known in found if known is not None), None)


def device(session: Session, owner: str, name: str) -> JsonObject | None:
    """Return the profile of a device that this owner has posted, or None."""
    if not re.fullmatch(NAME, name):
        return None
    row = session.get(DeviceProfile, (owner, name))
    return None if row is None else row.definition


def devices_of(session: Session, owner: str) -> list[JsonObject]:
    """Return the profiles that an owner has posted, sorted by name."""
    mine = select(DeviceProfile).where(DeviceProfile.owner == owner).order_by(DeviceProfile.name)
    return [row.definition for row in session.scalars(mine)]


def architecture(session: Session, owner: str, arch_id: str) -> Architecture:
    """Return an architecture that this owner can refer to. Raises NotFound."""
    found = definition(session, owner, arch_id)
    if found is None:
        raise NotFound("there is no such architecture")
    return decode_architecture(found)


def searches_that_ranked(session: Session, owner: str, arch_id: str, limit: int) -> Sequence[Row[Search, int, Job]]:
    """Return (search, rank, job) of this owner's newest searches that ranked an architecture."""
    query = (
        select(Search, RankedArchitecture.rank, Job)
        .join(Job, Job.id == Search.id)
        .join(RankedArchitecture, RankedArchitecture.search_id == Search.id)
        .where(RankedArchitecture.arch_id == arch_id, Job.owner == owner)
        .order_by(Job.id.desc())
    )
    return session.execute(query.limit(limit)).all()


def verifications_of(session: Session, owner: str, arch_id: str, limit: int) -> Sequence[Row[Verification, Job]]:
    """Return (verification, job) of this owner's newest trainings of an architecture."""
    query = (
        select(Verification, Job)
        .join(Job, Job.id == Verification.id)
        .where(Verification.arch_id == arch_id, Job.owner == owner)
        .order_by(Job.id.desc())
    )
    return session.execute(query.limit(limit)).all()


def task_of(architecture: Architecture) -> str:
    """Return inputs and classes in short form, `3x32x32/10`. Accuracies are compared only where these are equal."""
    return f"{'x'.join(map(str, architecture.input_shape))}/{architecture.num_classes}"
