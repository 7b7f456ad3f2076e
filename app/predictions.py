"""What an owner's trainings show: one point per network, and the accuracies that they predict for other networks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, and_, literal, or_, select
from sqlalchemy.orm import Session

from app.catalog import task_of
from app.jobs.lifecycle import State
from app.storage.models import Job, Verification, VerificationSeed
from nnmass_core.codec import JsonObject
from nnmass_core.families import decode_architecture
from nnmass_core.named.recipes import recipe_name
from nnmass_core.verification.evidence import Line, Point, lines_of

COLUMNS: tuple[Any, ...] = (
    *(Verification.arch_id, Verification.family, Verification.task, Verification.widths, Verification.role),
    *(Verification.nn_mass, Verification.params, Verification.macs),
    *(Verification.search_id, Verification.candidate_rank),
    *(Verification.dataset_key, Verification.recipe_digest, Verification.adaptation),
    *(VerificationSeed.seed, VerificationSeed.accuracy, VerificationSeed.validation_accuracy),
    VerificationSeed.data_digest,
)
"""The columns read of each trained seed: definitions and results would be most of the data."""

DIVERGED = and_(Job.state == State.FAILED, Job.error_code == "diverged")


@dataclass(frozen=True)
class Scope:
    """Trainings whose accuracies can be compared: the same images, inputs, classes and recipe.

    recipe: the name of the requested recipe, or its digest. adapted: the digest of the recipe that was trained where it
    was adapted to few images, else None.
    """

    dataset: str
    data_digest: str
    task: str
    recipe_digest: str
    recipe: str
    adapted: str | None

    @property
    def is_noise(self) -> bool:
        """Whether the labels are random, so that the accuracies mean nothing."""
        return self.dataset.startswith("fake")


@dataclass(frozen=True)
class Trained:
    """A trained network: its point, and why it was trained.

    role: of its first training. places: search, rank and role of every training of the best of a search and of their
    controls; a control has the rank of its candidate. validation_accuracy: the mean over the seeds, or None where the
    recipe holds out no images.
    """

    scope: Scope
    point: Point
    role: str
    places: frozenset[tuple[UUID, int, str]]
    validation_accuracy: float | None


def trained(session: Session, owner: str, family: str | None = None) -> list[Trained]:
    """Return every network that an owner's succeeded verifications trained, once per scope; excluded ones do not count.

    Its accuracy is the mean over all its seeds. A seed that was trained more than once counts once, with its latest
    result.
    """
    query = (
        select(*COLUMNS)
        .join(Job, Job.id == Verification.id)
        .join(VerificationSeed, VerificationSeed.verification_id == Verification.id)
        .where(Job.owner == owner, Job.state == State.SUCCEEDED, Verification.excluded.is_(False))
        .order_by(Verification.id)
    )
    if family is not None:
        query = query.where(Verification.family == family)
    networks: dict[tuple[Scope, str], list[Row[Any]]] = defaultdict(list)
    for row in session.execute(query).all():
        networks[_scope(row), row.arch_id].append(row)
    return [_trained(scope, rows) for (scope, _), rows in networks.items()]


def diverged(session: Session, owner: str, scope: Scope, family: str | None) -> set[str]:
    """Return the networks of a scope for which a training diverged, and so gave no accuracy."""
    query = (
        select(Verification.arch_id, Verification.adaptation)
        .join(Job, Job.id == Verification.id)
        .where(Job.owner == owner, DIVERGED, Verification.excluded.is_(False))
        .where(Verification.dataset_key == scope.dataset, Verification.task == scope.task)
        .where(Verification.recipe_digest == scope.recipe_digest)
    )
    if family is not None:
        query = query.where(Verification.family == family)
    return {row.arch_id for row in session.execute(query).all() if _adapted(row) == scope.adapted}


def excluded(session: Session, owner: str, family: str | None) -> list[Scope]:
    """Return the scope of each ended training that its owner has excluded, without the digest of its images."""
    query = (
        select(
            *(Verification.dataset_key, Verification.task, Verification.recipe_digest, Verification.adaptation),
            literal("").label("data_digest"),
        )
        .join(Job, Job.id == Verification.id)
        .where(Job.owner == owner, Verification.excluded, or_(Job.state == State.SUCCEEDED, DIVERGED))
    )
    if family is not None:
        query = query.where(Verification.family == family)
    return [_scope(row) for row in session.execute(query).all()]


def _scope(row: Row[Any]) -> Scope:
    name = recipe_name(row.recipe_digest) or row.recipe_digest
    return Scope(row.dataset_key, row.data_digest, row.task, row.recipe_digest, name, _adapted(row))


def _adapted(row: Row[Any]) -> str | None:
    return None if row.adaptation is None else str(row.adaptation["digest"])


def _trained(scope: Scope, rows: Sequence[Row[Any]]) -> Trained:
    by_seed = {row.seed: row.accuracy for row in rows}
    first = rows[0]
    point = Point(
        arch_id=first.arch_id,
        family=first.family,
        widths=tuple(first.widths),
        nn_mass=first.nn_mass,
        params=first.params,
        macs=first.macs,
        accuracy=sum(by_seed.values()) / len(by_seed),
        runs=len(by_seed),
    )
    places = frozenset((row.search_id, row.candidate_rank, row.role) for row in rows if row.search_id is not None)
    validated = {row.seed: row.validation_accuracy for row in rows}
    held_out = None if None in validated.values() else sum(validated.values()) / len(validated)
    return Trained(scope, point, first.role, places, held_out)


class Predictions:
    """Accuracies that an owner's trainings predict for networks of a family."""

    def __init__(self, session: Session, owner: str, family: str) -> None:
        scopes: dict[Scope, list[Point]] = defaultdict(list)
        for item in trained(session, owner, family):
            if not item.scope.is_noise:
                scopes[item.scope].append(item.point)
        self._lines: dict[tuple[str, tuple[int, ...]], tuple[Line, Scope]] = {}
        for scope, points in scopes.items():
            for line in lines_of(points):
                self._keep(line, scope)

    def _keep(self, line: Line, scope: Scope) -> None:
        """Where several data sets or recipes cover the same inputs and widths, use the one with the most networks."""
        place = (scope.task, line.widths)
        if place not in self._lines or line.n > self._lines[place][0].n:
            self._lines[place] = (line, scope)

    def of(self, definition: JsonObject) -> JsonObject | None:
        """Return the predicted accuracy with its 95 % prediction interval; None where there is not enough evidence."""
        if not self._lines:
            return None
        architecture = decode_architecture(definition)
        found = self._lines.get((task_of(architecture), architecture.widths))
        mass = float(architecture.evaluation.mass)
        if found is None or mass <= 0:
            return None
        line, scope = found
        return asdict(line.predict(mass)) | {"dataset": scope.dataset, "recipe": scope.recipe}
