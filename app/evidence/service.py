"""What an owner's trainings say, of one data set and one recipe at a time."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.trained import Scope, Trained, diverged, trained
from nnmass_core.evidence import evidence_of

COLUMNS = (
    "dataset",
    "data_digest",
    "task",
    "recipe",
    "family",
    "role",
    "arch_id",
    "widths",
    "nn_mass",
    "params",
    "macs",
)
FIGURES = ("accuracy", "runs")


@dataclass(frozen=True)
class Filters:
    """Which trainings are wanted. dataset and recipe: a name, or the key or digest that evidence names them by."""

    dataset: str | None = None
    family: str | None = None
    recipe: str | None = None

    def admit(self, scope: Scope) -> bool:
        """Tell whether trainings of a scope are wanted."""
        of_dataset = self.dataset in (None, scope.dataset, scope.dataset.partition(":")[0])
        return of_dataset and self.recipe in (None, scope.recipe, scope.recipe_digest)


def evidence(session: Session, owner: str, filters: Filters) -> dict[str, Any]:
    """Return the evidence of the scope with the most networks that the filters admit, and name the others."""
    scopes = _scopes(session, owner, filters)
    largest = _largest(scopes, filters)
    points = [item.point for item in scopes[largest]] if largest is not None else []
    gone = diverged(session, owner, largest, filters.family) if largest is not None else set()
    lost = len(gone - {point.arch_id for point in points})
    answer = evidence_of(points)
    if lost:
        answer["statement"] += f" Not among them: {lost} that diverged, for which there is no accuracy."
    named = {scope: _named(scope, filters.family, len(found)) for scope, found in scopes.items()}
    return {
        **answer,
        "diverged": lost,
        "scope": named.pop(largest) if largest is not None else None,
        "others": list(named.values()),
    }


def points_of(session: Session, owner: str, filters: Filters) -> list[Trained]:
    """Return the networks that `evidence` with these filters speaks of."""
    scopes = _scopes(session, owner, filters)
    largest = _largest(scopes, filters)
    return [] if largest is None else scopes[largest]


def _largest(scopes: Mapping[Scope, list[Trained]], filters: Filters) -> Scope | None:
    """Return the scope with the most networks; random labels tell nothing, unless they are asked for."""
    telling = [scope for scope in scopes if filters.dataset is not None or not scope.is_noise]
    return max(telling, key=lambda scope: len(scopes[scope]), default=None)


def _scopes(session: Session, owner: str, filters: Filters) -> dict[Scope, list[Trained]]:
    scopes: dict[Scope, list[Trained]] = defaultdict(list)
    for item in trained(session, owner, filters.family):
        if filters.admit(item.scope):
            scopes[item.scope].append(item)
    return scopes


def _named(scope: Scope, family: str | None, n: int) -> dict[str, Any]:
    return {**vars(scope), "family": family, "n": n}


def table(session: Session, owner: str, filters: Filters) -> str:
    """Return the points of every scope that the filters admit, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS + FIGURES)
    for scope, found in _scopes(session, owner, filters).items():
        for item in found:
            writer.writerow(_line(scope, item))
    return text.getvalue()


def _line(scope: Scope, item: Trained) -> list[Any]:
    point = item.point
    widths = "x".join(map(str, point.widths))
    what = [scope.dataset, scope.data_digest, scope.task, scope.recipe, point.family, item.role, point.arch_id, widths]
    return [*what, point.nn_mass, point.params, point.macs, point.accuracy, point.runs]
