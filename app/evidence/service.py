"""Evidence of an owner's trainings, for one data set and one recipe at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.orm import Session

from app.errors import Invalid
from app.evidence import columns
from app.evidence.columns import Uploaded
from app.http.csv_files import csv_text
from app.predictions import Scope, Trained, diverged, excluded, trained
from nnmass_core.codec import JsonObject
from nnmass_core.verification.evidence import Point, evidence_of
from nnmass_core.verification.pairs import difference_in_words, difference_of

OF_TRAININGS = ("dataset", "recipe", "adapted")
"""The filters that choose trainings."""

RANDOM = {
    "near_budget": "random networks near the budget",
    "random": "random networks of similar cost",
}
"""Random controls in words, by their kind; what a search is worth shows beside the first."""


@dataclass(frozen=True)
class Filters:
    """Which trainings to include. dataset and recipe: a name, or the key or digest by which evidence names them.

    adapted: only those with recipes that were adapted to few images, or only the others; None for both. accuracy: the
    owner's column to use in place of the test accuracy of trainings; then there are no trainings to choose.
    """

    dataset: str | None = None
    family: str | None = None
    recipe: str | None = None
    adapted: bool | None = None
    accuracy: str | None = None

    def check(self) -> None:
        """Raise Invalid where a filter of trainings is given and there are none."""
        given = [name for name in OF_TRAININGS if getattr(self, name) is not None]
        if self.accuracy is not None and given:
            raise Invalid.at(given[0], "conflicts_with_accuracy", "chooses trainings, and `accuracy` takes none")

    def admit(self, scope: Scope) -> bool:
        """Return whether trainings of a scope are included."""
        of_dataset = self.dataset in (None, scope.dataset, scope.dataset.partition(":")[0])
        of_recipe = self.recipe in (None, scope.recipe, scope.recipe_digest, scope.adapted)
        return of_dataset and of_recipe and self.adapted in (None, scope.adapted is not None)


@dataclass(frozen=True)
class Compared:
    """A network of the evidence. role: why it was trained, or `uploaded`. columns: the owner's own figures."""

    point: Point
    role: str
    name: str
    columns: dict[str, float]


@dataclass(frozen=True)
class Gathered:
    """The input of evidence: the networks of one scope, and the names of the scopes.

    differences: of accuracy to random controls, by their kind. diverged: how many more networks diverged. excluded: how
    many trainings their owner took out. accuracy: the owner's column that is the accuracy, or None.
    """

    networks: list[Compared]
    differences: dict[str, list[float]]
    diverged: int
    excluded: int
    scope: JsonObject | None
    others: list[JsonObject]
    accuracy: str | None = None

    def compute(self) -> dict[str, object]:
        """Return the evidence. Takes a second for tens of networks and needs no session."""
        points = [item.point for item in self.networks]
        answer = evidence_of(points)
        against = {kind: difference_of(found) for kind, found in self.differences.items()}
        lead = [difference_in_words(found, RANDOM[kind]) for kind, found in against.items() if found]
        lead += [] if self.accuracy is None else [f"Accuracy is the column {self.accuracy}."]
        answer["statement"] = " ".join([*lead, answer["statement"]])
        if self.diverged:
            answer["statement"] += f" Networks excluded because their training diverged: {self.diverged}."
        if self.excluded:
            answer["statement"] += f" Trainings excluded by their owner: {self.excluded}."
        return {
            **answer,
            "columns": columns.comparisons(points, {item.point.arch_id: item.columns for item in self.networks}),
            "against_random": against,
            "diverged": self.diverged,
            "excluded": self.excluded,
            "scope": self.scope,
            "accuracy_column": self.accuracy,
            "others": self.others,
        }


def gather(session: Session, owner: str, filters: Filters) -> Gathered:
    """Read the scope with the most networks that the filters include, and list the others.

    Raises Invalid for filters that exclude each other and for an unknown column.
    """
    filters.check()
    own = columns.uploaded(session, owner, filters.family)
    if filters.accuracy is not None:
        networks = _with_accuracy(session, owner, own, filters.accuracy)
        return Gathered(networks, {kind: [] for kind in RANDOM}, 0, 0, None, [], filters.accuracy)
    scopes = _scopes(session, owner, filters)
    largest = _largest(scopes, filters)
    found = scopes[largest] if largest is not None else []
    gone = diverged(session, owner, largest, filters.family) if largest is not None else set()
    lost = len(gone - {item.point.arch_id for item in found})
    left_out = _count(excluded(session, owner, filters.family), largest, filters)
    named = {scope: _named(scope, filters.family, len(those)) for scope, those in scopes.items()}
    scope = named.pop(largest) if largest is not None else None
    differences = {kind: _differences(found, kind) for kind in RANDOM}
    return Gathered([_compared(item, own) for item in found], differences, lost, left_out, scope, list(named.values()))


def _compared(item: Trained, own: Mapping[str, Uploaded]) -> Compared:
    beside = own.get(item.point.arch_id)
    if beside is None:
        return Compared(item.point, item.role, "", {})
    return Compared(item.point, item.role, beside.name, beside.columns)


def _with_accuracy(session: Session, owner: str, own: Mapping[str, Uploaded], column: str) -> list[Compared]:
    """Return the networks with a column, which is their accuracy. Raises Invalid where the owner has none."""
    if column not in {known["name"] for known in columns.columns_of(session, owner)}:
        raise Invalid.at("accuracy", "unknown_column", "names a column that you have not uploaded")
    return [
        Compared(
            replace(item.point, accuracy=item.columns[column]),
            "uploaded",
            item.name,
            {name: value for name, value in item.columns.items() if name != column},
        )
        for item in own.values()
        if column in item.columns
    ]


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
    """Return the points of every scope that the filters include, as CSV, with the owner's columns last.

    Raises what `gather` raises.
    """
    filters.check()
    own = columns.uploaded(session, owner, filters.family)
    names = [str(column["name"]) for column in columns.columns_of(session, owner)]
    rows: list[tuple[dict[str, object], Compared]]
    if filters.accuracy is not None:
        found = _with_accuracy(session, owner, own, filters.accuracy)
        names.remove(filters.accuracy)
        rows = [({"task": own[item.point.arch_id].task}, item) for item in found]
    else:
        scopes = _scopes(session, owner, filters)
        rows = [(_of_training(item), _compared(item, own)) for those in scopes.values() for item in those]
    return csv_text(columns.TABLE + tuple(names), (_line(about, item, names) for about, item in rows))


def _of_training(item: Trained) -> dict[str, object]:
    """Return the columns of the table that say how a network was trained."""
    return {
        **{name: getattr(item.scope, name) for name in ("dataset", "data_digest", "task", "recipe", "adapted")},
        "validation_accuracy": item.validation_accuracy,
    }


def _line(about: Mapping[str, object], item: Compared, names: Sequence[str]) -> list[object]:
    """Return a line of the table; a figure that there is not is empty."""
    cells = {**vars(item.point), **about, "role": item.role, "name": item.name}
    cells["widths"] = "x".join(map(str, item.point.widths))
    return [*(cells.get(column) for column in columns.TABLE), *(item.columns.get(name) for name in names)]
