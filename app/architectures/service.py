"""Operations on architectures."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy.orm import Session

from app import catalog
from app.errors import NotFound, WrongState
from app.storage.db import after_commit, now
from app.storage.locks import advisory_lock
from app.storage.models import EvidencePoint, Export, Measurement, RegisteredArchitecture, Verification
from nnmass.formatting import joined
from nnmass_core.architecture import Architecture
from nnmass_core.budget import check_batch
from nnmass_core.certificate import place_of
from nnmass_core.codec import JsonObject
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.families import caveats_of, decode_architecture
from nnmass_core.hardware.devices import USUAL_PRECISION

LISTED = 100
"""The most searches, and things made of an architecture, of each kind that an answer lists."""

USES_NAMED, USES_LISTED = 3, 10
"""How many uses of an architecture a refusal names in its sentence, and lists one by one."""

log = logging.getLogger("nnmass.architectures")


def evaluate(definitions: list[Any], precision: str, batch: int) -> list[JsonObject]:
    """Return NN-Mass and costs of each definition, in order. Raises DefinitionError that names index and field."""
    architectures = _decode_all(definitions)
    check_batch(batch, precision, [architecture.evaluation for architecture in architectures])
    return [_figures(architecture, precision, batch) for architecture in architectures]


def _figures(architecture: Architecture, precision: str, batch: int) -> JsonObject:
    figures = architecture.evaluation.report(precision, batch)
    caveats = list(caveats_of(architecture))
    per_width = float(architecture.evaluation.mass_per_width)
    counted = {"nn_mass_per_width": per_width, "batch": batch}
    return {"arch_id": architecture.arch_id, **figures, **counted, "caveats": caveats}


def _decode_all(definitions: list[Any]) -> list[Architecture]:
    architectures: list[Architecture] = []
    problems: list[Problem] = []
    for index, definition in enumerate(definitions):
        try:
            architectures.append(decode_architecture(definition))
        except DefinitionError as error:
            problems += error.under(f"architectures.{index}").problems
    if problems:
        raise DefinitionError(problems)
    return architectures


def register(session: Session, owner: str, definition: Any) -> tuple[JsonObject, bool]:
    """Store an architecture under its id. Return the response, and whether it is new. Raises DefinitionError."""
    architecture = decode_architecture(definition)
    arch_id = architecture.arch_id
    advisory_lock(session, "architecture", owner, arch_id)
    known = session.get(RegisteredArchitecture, (owner, arch_id)) is not None
    if not known:
        row = RegisteredArchitecture(
            owner=owner, arch_id=arch_id, definition=architecture.definition(), created_at=now(session)
        )
        session.add(row)
        session.flush()
    return about(session, owner, arch_id), not known


def about(session: Session, owner: str, arch_id: str) -> JsonObject:
    """Return an architecture with its figures, the searches that ranked it and what was made of it. Raises NotFound."""
    architecture = catalog.architecture(session, owner, arch_id)
    searches = catalog.searches_that_ranked(session, owner, arch_id, LISTED)
    return {
        "arch_id": arch_id,
        "registered": session.get(RegisteredArchitecture, (owner, arch_id)) is not None,
        **architecture.evaluation.report(USUAL_PRECISION),
        "nn_mass_per_width": float(architecture.evaluation.mass_per_width),
        "caveats": list(caveats_of(architecture)),
        "architecture": architecture.definition(),
        "searches": [
            {
                "id": search.id,
                "name": search.name,
                **place_of(position, of_front="pareto" in search.request["objective"]),
                "created_at": job.created_at,
            }
            for search, position, job in searches
        ],
        "verifications": [
            {
                "id": row.id,
                "status": job.state,
                "role": row.role,
                "dataset": row.dataset,
                "recipe_digest": row.recipe_digest,
                "accuracy": row.result["accuracy"]["mean"] if row.result else None,
                "created_at": job.created_at,
            }
            for row, job in catalog.made_of(session, Verification, owner, arch_id, LISTED)
        ],
        "measurements": [
            {"id": row.id, "kind": row.kind, "status": job.state, "created_at": job.created_at}
            for row, job in catalog.made_of(session, Measurement, owner, arch_id, LISTED)
        ],
        "exports": catalog.described(session, catalog.made_of(session, Export, owner, arch_id, LISTED)),
    }


def delete(session: Session, owner: str, arch_id: str) -> None:
    """Delete a registered architecture. Raises NotFound; WrongState, which names what uses it."""
    advisory_lock(session, "architecture", owner, arch_id)
    if catalog.definition(session, owner, arch_id) is None:
        raise NotFound("there is no such architecture")
    uses = _uses(session, owner, arch_id)
    if uses:
        named = joined(uses if len(uses) <= USES_NAMED else [*uses[:USES_NAMED], "others"])
        problems = [Problem("arch_id", "in_use", f"is used by {use}") for use in uses[:USES_LISTED]]
        raise WrongState(f"the architecture is used by {named}; delete these first", problems)
    row = RegisteredArchitecture
    session.execute(delete_from(row).where(row.owner == owner, row.arch_id == arch_id))
    after_commit(session, partial(log.info, "architecture %s is deleted", arch_id))


def _uses(session: Session, owner: str, arch_id: str) -> list[str]:
    """Return the names of what uses it: searches that ranked it or refer to it, and what was made of it."""
    searches = [row.id for row, *_ in catalog.searches_that_ranked(session, owner, arch_id, LISTED)]
    searches += catalog.searches_with_reference(session, owner, arch_id, LISTED)
    return [
        *(f"search {search_id}" for search_id in sorted(set(searches), reverse=True)),
        *(f"verification {row.id}" for row, _ in catalog.made_of(session, Verification, owner, arch_id, LISTED)),
        *(f"measurement {row.id}" for row, _ in catalog.made_of(session, Measurement, owner, arch_id, LISTED)),
        *(
            f"export {row.format} with seed {row.seed}"
            for row, _ in catalog.made_of(session, Export, owner, arch_id, LISTED)
        ),
        *(["the figures that you uploaded beside it"] if session.get(EvidencePoint, (owner, arch_id)) else []),
    ]


def diagram(session: Session, owner: str, arch_id: str) -> str:
    """Return an architecture's diagram as SVG. Raises NotFound."""
    return catalog.architecture(session, owner, arch_id).diagram()
