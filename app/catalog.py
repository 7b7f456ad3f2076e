"""What an owner can refer to: architectures that they registered or that their jobs or figures have, and devices."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Row, Text, cast, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.errors import NotFound
from app.storage.models import (
    DeviceProfile,
    EvidencePoint,
    Export,
    Job,
    Measurement,
    RankedArchitecture,
    RegisteredArchitecture,
    Search,
    Verification,
)
from nnmass_core import __version__
from nnmass_core.architecture import ARCH_ID, Architecture, id_of
from nnmass_core.codec import JsonObject
from nnmass_core.export.deployment import FILES_VERSION
from nnmass_core.families import decode_architecture
from nnmass_core.hardware.devices import NAME, devices, unknown_device

Made = TypeVar("Made", Verification, Measurement, Export)

READ_AT_ONCE = 1_000
"""How many requests are in memory while references are looked for."""

REFERRING = ("reference", "exclude")
"""The fields of a request that refer to networks."""

SOURCES: tuple[tuple[Any, InstrumentedAttribute[UUID], InstrumentedAttribute[Any]], ...] = (
    (RankedArchitecture, RankedArchitecture.search_id, RankedArchitecture.architecture),
    (Verification, Verification.id, Verification.definition),
    (Export, Export.id, Export.definition),
    (Measurement, Measurement.id, Measurement.request),
)
"""The rows that have an architecture's definition, beside registered ones; a measurement has it in its request."""


def definition(session: Session, owner: str, arch_id: str) -> JsonObject | None:
    """Return the definition of an architecture that this owner can refer to, or None."""
    if not re.fullmatch(ARCH_ID, arch_id):
        return None
    registered = session.get(RegisteredArchitecture, (owner, arch_id))
    if registered is not None:
        return registered.definition
    for rows, job_id, stored in SOURCES:
        query = select(stored).join(Job, Job.id == job_id).where(rows.arch_id == arch_id, Job.owner == owner)
        found = session.scalars(query.limit(1)).one_or_none()
        if found is not None:
            stored_definition: JsonObject = found["architecture"] if rows is Measurement else found
            return stored_definition
    beside = session.get(EvidencePoint, (owner, arch_id))
    return None if beside is None else beside.definition


def device(session: Session, owner: str, name: str) -> JsonObject | None:
    """Return the profile of a device that this owner has posted, or None."""
    if not re.fullmatch(NAME, name):
        return None
    row = session.get(DeviceProfile, (owner, name))
    return None if row is None else row.definition


def known_device(session: Session, owner: str, name: str) -> JsonObject:
    """Return the profile of a device that this owner has posted. Raises DefinitionError that suggests known names."""
    found = device(session, owner, name)
    if found is None:
        mine = select(DeviceProfile.name).where(DeviceProfile.owner == owner).order_by(DeviceProfile.name)
        raise unknown_device(name, [*session.scalars(mine), *devices()])
    return found


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


def searches_with_reference(session: Session, owner: str, arch_id: str, limit: int) -> list[UUID]:
    """Return the ids of this owner's newest searches whose request has an architecture as a reference or excludes it.

    No index has these: all of the owner's requests with one are read, until the limit is reached. That is worth it
    only where the architecture may be deleted.
    """
    rows = _requests_that_refer(session, owner)
    same = (search_id for search_id, request in rows if arch_id in map(id_of, _networks_in(request)))
    return list(islice(same, limit))


def _requests_that_refer(session: Session, owner: str) -> Iterator[Row[UUID, JsonObject]]:
    """Yield the id and the request of this owner's searches that refer to any architecture, newest first.

    Pages take the place of a cursor of the server, which a reader's session, without a transaction, cannot have.
    """
    query = (
        select(Search.id, Search.request)
        .join(Job, Job.id == Search.id)
        .where(Job.owner == owner, or_(*(cast(Search.request, Text).contains(f'"{name}"') for name in REFERRING)))
        .order_by(Job.id.desc())
        .limit(READ_AT_ONCE)
    )
    page = session.execute(query).all()
    while page:
        yield from page
        page = session.execute(query.where(Job.id < page[-1].id)).all() if len(page) == READ_AT_ONCE else []


def _networks_in(request: JsonObject) -> list[Any]:
    """Return the definitions of the networks that a stored request refers to."""
    objective = request["objective"]
    assert isinstance(objective, dict)
    excluded = request.get("exclude", [])
    assert isinstance(excluded, list)
    return [*excluded, *([objective["reference"]] if "reference" in objective else [])]


def made_of(session: Session, made: type[Made], owner: str, arch_id: str, limit: int) -> Sequence[Row[Made, Job]]:
    """Return (row, job) of this owner's newest trainings, measurements or untrained exports of an architecture."""
    query = (
        select(made, Job)
        .join(Job, Job.id == made.id)
        .where(made.arch_id == arch_id, Job.owner == owner)
        .order_by(Job.id.desc())
    )
    if made is Export:
        query = query.where(Export.verification_id.is_(None))
    return session.execute(query.limit(limit)).all()


def exports_of_verification(session: Session, verification_id: UUID) -> Sequence[Row[Export, Job]]:
    """Return (row, job) of the files written from the weights of a training, newest first."""
    query = select(Export, Job).join(Job, Job.id == Export.id).where(Export.verification_id == verification_id)
    return session.execute(query.order_by(Job.id.desc())).all()


def described(session: Session, exports: Sequence[Row[Export, Job]]) -> list[dict[str, object]]:
    """Return what a list says about each of some exports, with the bytes of those files that exist."""
    length = func.length(Export.content, type_=Export.seed.type).label("size")
    ids = [row.id for row, _ in exports]
    query = select(Export.id, length).where(Export.id.in_(ids), Export.content.is_not(None))
    sizes = {row.id: row.size for row in session.execute(query)}
    return [
        {
            "format": row.format,
            "seed": row.seed,
            "batch": row.batch,
            "opset": row.opset,
            "fold_batchnorm": row.fold_batchnorm,
            "current": (row.core_version, row.files_version) == (__version__, FILES_VERSION),
            "size": sizes.get(row.id),
            "status": job.state,
            "created_at": job.created_at,
        }
        for row, job in exports
    ]


def task_of(architecture: Architecture) -> str:
    """Return inputs and classes in short form, `3x32x32/10`. Accuracies are compared only where these are equal."""
    return f"{'x'.join(map(str, architecture.input_shape))}/{architecture.num_classes}"
