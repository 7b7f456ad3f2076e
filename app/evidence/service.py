"""Evidence of an owner's trainings, for one data set and one recipe at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.http.csv_files import csv_text
from app.predictions import Scope, Trained, diverged, excluded, trained
from nnmass_core.codec import JsonObject
from nnmass_core.verification.evidence import evidence_of
from nnmass_core.verification.pairs import difference_in_words, difference_of

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
FIGURES = ("accuracy", "runs", "adapted", "validation_accuracy")

RANDOM = {
    "near_budget": "random networks near the budget",
    "random": "random networks of similar cost",
}
"""Random controls in words, by their kind; what a search is worth shows beside the first."""


@dataclass(frozen=True)
class Filters:
    """Which trainings to include. dataset and recipe: a name, or the key or digest by which evidence names them.

    adapted: only those with recipes that were adapted to few images, or only the others; None for both.
    """

    dataset: str | None = None
    family: str | None = None
    recipe: str | None = None
    adapted: bool | None = None

    def admit(self, scope: Scope) -> bool:
        """Return whether trainings of a scope are included."""
        of_dataset = self.dataset in (None, scope.dataset, scope.dataset.partition(":")[0])
        of_recipe = self.recipe in (None, scope.recipe, scope.recipe_digest, scope.adapted)
        return of_dataset and of_recipe and self.adapted in (None, scope.adapted is not None)


@dataclass(frozen=True)
class Gathered:
    """The input of evidence: the networks of one scope, and the names of the scopes.

    diverged: how many more networks diverged. excluded: how many trainings their owner took out.
    """

    trained: list[Trained]
    diverged: int
    excluded: int
    scope: JsonObject | None
    others: list[JsonObject]

    def compute(self) -> dict[str, object]:
        """Return the evidence. Takes up to a second, and needs no session."""
        answer = evidence_of([item.point for item in self.trained])
        against = {kind: difference_of(_differences(self.trained, kind)) for kind in RANDOM}
        lead = [difference_in_words(found, RANDOM[kind]) for kind, found in against.items() if found]
        answer["statement"] = " ".join([*lead, answer["statement"]])
        if self.diverged:
            answer["statement"] += f" Networks excluded because their training diverged: {self.diverged}."
        if self.excluded:
            answer["statement"] += f" Trainings excluded by their owner: {self.excluded}."
        return {
            **answer,
            "against_random": against,
            "diverged": self.diverged,
            "excluded": self.excluded,
            "scope": self.scope,
            "others": self.others,
        }


def gather(session: Session, owner: str, filters: Filters) -> Gathered:
    """Read the scope with the most networks that the filters include, and list the others."""
    scopes = _scopes(session, owner, filters)
    largest = _largest(scopes, filters)
    found = scopes[largest] if largest is not None else []
    points = [item.point for item in found]
    gone = diverged(session, owner, largest, filters.family) if largest is not None else set()
    lost = len(gone - {point.arch_id for point in points})
    left_out = _count(excluded(session, owner, filters.family), largest, filters)
    named = {scope: _named(scope, filters.family, len(those)) for scope, those in scopes.items()}
    return Gathered(found, lost, left_out, named.pop(largest) if largest is not None else None, list(named.values()))


def _differences(networks: Iterable[Trained], kind: str) -> list[float]:
    """Return the accuracy of each candidate less that of its random control of a kind."""
    accuracies: dict[str, dict[tuple[UUID, int], float]] = {"candidate": {}, f"{kind}_control": {}}
    for item in networks:
        for search, rank, role in item.places:
            if role in accuracies:
                accuracies[role][search, rank] = item.point.accuracy
    candidates, controls = accuracies.values()
    return [candidates[place] - accuracy for place, accuracy in sorted(controls.items()) if place in candidates]


def _count(left_out: Iterable[Scope], scope: Scope | None, filters: Filters) -> int:
    """Count trainings of a scope, or, without one, those that the filters include."""
    if scope is None:
        return sum(map(filters.admit, left_out))
    alike = replace(scope, data_digest="")
    return sum(one == alike for one in left_out)


def _largest(scopes: Mapping[Scope, list[Trained]], filters: Filters) -> Scope | None:
    """Return the scope with the most networks. Random labels carry no information and are used only on request."""
    informative = [scope for scope in scopes if filters.dataset is not None or not scope.is_noise]
    return max(informative, key=lambda scope: len(scopes[scope]), default=None)


def _scopes(session: Session, owner: str, filters: Filters) -> dict[Scope, list[Trained]]:
    scopes: dict[Scope, list[Trained]] = defaultdict(list)
    for item in trained(session, owner, filters.family):
        if filters.admit(item.scope):
            scopes[item.scope].append(item)
    return scopes


def _named(scope: Scope, family: str | None, n: int) -> JsonObject:
    return {**vars(scope), "family": family, "n": n}


def table(session: Session, owner: str, filters: Filters) -> str:
    """Return the points of every scope that the filters include, as CSV."""
    scopes = _scopes(session, owner, filters)
    return csv_text(COLUMNS + FIGURES, (_line(scope, item) for scope, found in scopes.items() for item in found))


def _line(scope: Scope, item: Trained) -> list[Any]:
    point = item.point
    widths = "x".join(map(str, point.widths))
    what = [scope.dataset, scope.data_digest, scope.task, scope.recipe, point.family, item.role, point.arch_id, widths]
    adapted = scope.adapted or ""
    validated = "" if item.validation_accuracy is None else item.validation_accuracy
    return [*what, point.nn_mass, point.params, point.macs, point.accuracy, point.runs, adapted, validated]
