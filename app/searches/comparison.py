"""Compare searches: their requests and results, the differences, and the architectures that they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict
from uuid import UUID

from sqlalchemy.orm import Session

from app.errors import Invalid, NotFound
from app.jobs.lifecycle import State
from app.predictions import Predictions
from app.searches import repository
from app.searches.answers import answer, is_front, item_of
from app.storage.models import Search
from nnmass_core.codec import JsonObject
from nnmass_core.costs import COSTS
from nnmass_core.errors import Problem

FEWEST, MOST = 2, 4
SHARED_LISTED = 100
EFFORT = ("explored", "elapsed_seconds")
"""Fields of a result that describe the work and not the result."""


class InCommon(TypedDict):
    """What the rankings have in common: how many architectures, how many are in all, and the first of them."""

    count: int
    in_all: int
    items: list[JsonObject]


class Compared(TypedDict):
    """Searches, the fields in which they differ, and what they share."""

    items: list[JsonObject]
    differences: list[JsonObject]
    shared: InCommon


def compare(session: Session, owner: str, names: Sequence[str]) -> Compared:
    """Compare 2 to 4 searches. Raises Invalid, and NotFound that names those that do not exist."""
    rows = _searches(session, owner, _ids_of(names))
    finished = [row for row in rows if row.job.state == State.SUCCEEDED]
    items = _items(session, owner, rows, finished)
    return {
        "items": items,
        "differences": list(_differences_of([_facts(item) for item in items])),
        "shared": _shared(session, owner, rows, [row.id for row in finished]),
    }


def _ids_of(names: Sequence[str]) -> list[UUID | None]:
    """Parse the ids; None for text that is not an id."""
    if not FEWEST <= len(names) <= MOST:
        code = "too_short" if len(names) < FEWEST else "too_long"
        raise Invalid.at("ids", code, f"must name {FEWEST} to {MOST} searches, separated by commas")
    ids = [_id_of(name) for name in names]
    known = [one for one in ids if one is not None]
    if len(set(known)) < len(known):
        raise Invalid.at("ids", "duplicate", "must name each search once")
    return ids


def _id_of(name: str) -> UUID | None:
    try:
        return UUID(name.strip())
    except ValueError:
        return None


def _searches(session: Session, owner: str, ids: Sequence[UUID | None]) -> list[Search]:
    found = repository.several(session, owner, [one for one in ids if one is not None])
    unknown = [number for number, one in enumerate(ids, 1) if one not in found]
    if unknown:
        problems = [Problem("ids", "unknown_search", f"item {number} is not the id of a search") for number in unknown]
        raise NotFound("there is no such search", problems)
    return [found[one] for one in ids if one is not None]


def _items(session: Session, owner: str, rows: Sequence[Search], finished: Sequence[Search]) -> list[JsonObject]:
    ranked = [row.id for row in finished if not is_front(row)]
    best = repository.best(session, owner, ranked)
    predictions = {family: Predictions(session, owner, family) for family in {row.family for row in rows}}
    return [
        answer(session, row).model_dump(mode="json")
        | {"best": item_of(row, best[row.id], predictions[row.family]) if row.id in best else None}
        for row in rows
    ]


def _facts(item: JsonObject) -> JsonObject:
    """Return the compared parts of a search."""
    result, best = item["result"], item["best"]
    of_best = ("arch_id", "nn_mass", *COSTS, "architecture")
    return {
        "status": item["status"],
        "outcome": item["outcome"],
        "core_version": item["core_version"],
        "request": item["request"],
        "result": {k: v for k, v in result.items() if k not in EFFORT} if isinstance(result, dict) else None,
        "best": {name: best.get(name) for name in of_best} if isinstance(best, dict) else None,
    }


def _differences_of(facts: Sequence[JsonObject]) -> Iterator[JsonObject]:
    """Yield the differences. A search without a result, or without a best, is left out where those are compared."""
    for name in facts[0]:
        there = [number for number, fact in enumerate(facts) if fact[name] is not None]
        for field, values in _differing(name, [facts[number][name] for number in there]):
            by_number = dict(zip(there, values, strict=True))
            yield {"field": field, "values": [by_number.get(number) for number in range(len(facts))]}


def _differing(field: str, values: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield the innermost fields in which values differ, each with its values; None where a value lacks the field."""
    if all(value == values[0] for value in values):
        return
    if all(isinstance(value, dict) for value in values):
        for name in dict.fromkeys(name for value in values for name in value):
            yield from _differing(f"{field}.{name}", [value.get(name) for value in values])
    elif all(_holds_objects(value) and len(value) == len(values[0]) for value in values):
        for index, parts in enumerate(zip(*values, strict=True)):
            yield from _differing(f"{field}.{index}", parts)
    else:
        yield field, values


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _shared(session: Session, owner: str, rows: Sequence[Search], finished: Sequence[UUID]) -> InCommon:
    positions: dict[str, dict[UUID, int]] = defaultdict(dict)
    for arch_id, search_id, position in repository.shared_places(session, owner, finished):
        positions[arch_id][search_id] = position
    order = sorted(positions, key=lambda one: (-len(positions[one]), sum(positions[one].values()), one))[:SHARED_LISTED]
    figures = repository.figures(session, owner, finished, order)
    return {
        "count": len(positions),
        "in_all": sum(len(places) == len(rows) for places in positions.values()),
        "items": [
            {"arch_id": one, **_places(rows, positions[one])}
            | {name: figures[one][name] for name in ("nn_mass", "params", "macs", "depth")}
            for one in order
        ],
    }


def _places(rows: Sequence[Search], positions: Mapping[UUID, int]) -> JsonObject:
    """Return an architecture's rank in each search or, where the search is a front, the number of its point."""
    fronts = [is_front(row) for row in rows]
    return {
        "ranks": [None if front else positions.get(row.id) for row, front in zip(rows, fronts, strict=True)],
        "points": [positions.get(row.id) if front else None for row, front in zip(rows, fronts, strict=True)],
    }
