"""Operations on architectures."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app import catalog
from app.storage.db import now
from app.storage.locks import advisory_lock
from app.storage.models import RegisteredArchitecture
from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonObject
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.families import decode_architecture

SEARCHES_LISTED = VERIFICATIONS_LISTED = 100


def evaluate(definitions: list[Any], precision: str) -> list[JsonObject]:
    """Return NN-Mass and costs of each definition, in order. Raises DefinitionError that names index and field."""
    return [{"arch_id": a.arch_id, **a.evaluation.report(precision)} for a in _decode_all(definitions)]


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
    """Return an architecture with its figures, the searches that ranked it and its trainings. Raises NotFound."""
    architecture = catalog.architecture(session, owner, arch_id)
    searches = catalog.searches_that_ranked(session, owner, arch_id, SEARCHES_LISTED)
    return {
        "arch_id": arch_id,
        **architecture.evaluation.report("fp32"),
        "architecture": architecture.definition(),
        "searches": [
            {"id": search.id, "name": search.name, "rank": rank, "created_at": job.created_at}
            for search, rank, job in searches
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
            for row, job in catalog.verifications_of(session, owner, arch_id, VERIFICATIONS_LISTED)
        ],
    }


def diagram(session: Session, owner: str, arch_id: str) -> str:
    """Return an architecture's diagram as SVG. Raises NotFound."""
    return catalog.architecture(session, owner, arch_id).diagram()
