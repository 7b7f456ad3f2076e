"""What an owner's trainings have shown: one point a network, and what they let one expect of networks not trained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from app.jobs import State
from app.models import Job, Verification, VerificationSeed
from nnmass_core.evidence import FEWEST_RUNS, Line, Point, lines_of
from nnmass_core.recipe import recipe_name, resolve_recipe


@dataclass(frozen=True)
class Scope:
    """Trainings whose accuracies can be compared: the same images, inputs and classes, and the same recipe."""

    dataset: str
    task: str
    recipe_digest: str
    recipe: str


@dataclass(frozen=True)
class Trained:
    """A trained network: its point, and what was trained."""

    scope: Scope
    point: Point
    role: str


def trained(session: Session, owner: str, family: str | None = None, tasks: Iterable[str] = ()) -> list[Trained]:
    """Return every network that an owner's succeeded verifications trained, each once a scope.

    Its accuracy is the mean over all its seeds. A seed that was trained more than once counts once, as it last came out.
    """
    query = (
        select(Verification, VerificationSeed.seed, VerificationSeed.accuracy)
        .join(Job, Job.id == Verification.id)
        .join(VerificationSeed, VerificationSeed.verification_id == Verification.id)
        .where(Job.owner == owner, Job.state == State.SUCCEEDED)
        .order_by(Verification.id)
    )
    if family is not None:
        query = query.where(Verification.family == family)
    wanted = list(tasks)
    if wanted:
        query = query.where(Verification.task.in_(wanted))
    networks: dict[tuple[Scope, str], list[Row[Verification, int, float]]] = defaultdict(list)
    for row in session.execute(query).all():
        networks[_scope(row.Verification), row.Verification.arch_id].append(row)
    return [_trained(scope, rows) for (scope, _), rows in networks.items()]


def _scope(row: Verification) -> Scope:
    name = recipe_name(resolve_recipe(row.recipe)) or row.recipe_digest
    return Scope(row.dataset_key, row.task, row.recipe_digest, name)


def _trained(scope: Scope, rows: Sequence[Row[Verification, int, float]]) -> Trained:
    by_seed = {row.seed: row.accuracy for row in rows}
    first = rows[0].Verification
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
    return Trained(scope, point, first.role)


class Predictions:
    """Accuracies that an owner's trainings let one expect of networks of one task."""

    def __init__(self, session: Session, owner: str, family: str, task: str) -> None:
        scopes: dict[Scope, list[Point]] = defaultdict(list)
        for item in trained(session, owner, family, [task]):
            scopes[item.scope].append(item.point)
        self._lines: dict[tuple[int, ...], tuple[Line, Scope]] = {}
        for scope, points in scopes.items():
            if len(points) >= FEWEST_RUNS:
                for line in lines_of(points):
                    self._keep(line, scope)

    def _keep(self, line: Line, scope: Scope) -> None:
        """Where several data sets or recipes speak of the same widths, the most networks decide."""
        known = self._lines.get(line.widths)
        if known is None or line.n > known[0].n:
            self._lines[line.widths] = (line, scope)

    def of(self, widths: tuple[int, ...], nn_mass: float) -> dict[str, Any] | None:
        """Return the expected accuracy with its 95 % prediction interval; None where no evidence supports one."""
        if widths not in self._lines or nn_mass <= 0:
            return None
        line, scope = self._lines[widths]
        expected = line.predict(nn_mass)
        return {
            "value": expected.value,
            "low": expected.low,
            "high": expected.high,
            "n": expected.n,
            "extrapolated": expected.extrapolated,
            "dataset": scope.dataset,
            "recipe": scope.recipe,
        }
