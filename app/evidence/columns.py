"""Own columns of the evidence: figures that an owner uploads beside networks, such as another proxy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import catalog
from app.errors import Invalid, NotFound, WrongState
from app.evidence.column_schemas import PointBody
from app.http.pagination import Paging
from app.storage.db import now
from app.storage.locks import advisory_lock
from app.storage.models import EvidencePoint
from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonObject
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.families import decode_architecture
from nnmass_core.verification.evidence import Point, compare_column

MOST_NETWORKS = 2_000
"""The most networks beside which an owner may have figures: an answer about more takes many seconds."""

MOST_COLUMNS = 8
"""The most columns that an owner may have."""

TABLE = (
    *("dataset", "data_digest", "task", "recipe", "family", "role", "arch_id", "widths", "nn_mass", "params", "macs"),
    *("accuracy", "runs", "adapted", "validation_accuracy", "name"),
)
"""The columns of the table of evidence that are not an owner's own."""

RESERVED = frozenset((*TABLE, "std", "seeds", "epochs", "latency_ms"))
"""Names that no column of an owner may have."""


@dataclass(frozen=True)
class Uploaded:
    """A network that an owner uploaded figures beside: its point, without accuracy, its task and the figures."""

    point: Point
    task: str
    name: str
    columns: dict[str, float]


def definitions_of(session: Session, owner: str, points: Sequence[PointBody]) -> list[Any]:
    """Return the definition of each point's network, not decoded. Raises Invalid that names point and field."""
    found: list[Any] = []
    problems: list[Problem] = []
    for index, point in enumerate(points):
        problems += _problems_of(index, point)
        known = None if point.arch_id is None else catalog.definition(session, owner, point.arch_id)
        if point.arch_id is not None and known is None:
            problems.append(Problem(f"points.{index}.arch_id", "unknown_architecture", "names an unknown architecture"))
        found.append(point.architecture if known is None else known)
    if problems:
        raise Invalid.of(DefinitionError(problems))
    return found


def _problems_of(index: int, point: PointBody) -> Iterator[Problem]:
    if (point.arch_id is None) == (point.architecture is None):
        field = "architecture" if point.arch_id is None else "arch_id"
        yield Problem(f"points.{index}.{field}", "one_of", "give exactly one of arch_id and architecture")
    for name in sorted(RESERVED & point.values.keys()):
        yield Problem(f"points.{index}.values.{name}", "taken", "is a name that the table of evidence uses itself")


def decode(definitions: Sequence[Any]) -> list[Architecture]:
    """Decode the networks of points. Takes a second for many, and needs no session.

    Raises DefinitionError that names point and field, also where two points have the same network.
    """
    networks: list[Architecture] = []
    problems: list[Problem] = []
    first: dict[str, int] = {}
    for index, definition in enumerate(definitions):
        try:
            network = decode_architecture(definition)
        except DefinitionError as error:
            problems += error.under(f"points.{index}.architecture").problems
            continue
        earlier = first.setdefault(network.arch_id, index)
        if earlier != index:
            problems.append(Problem(f"points.{index}", "duplicate", f"has the same network as points.{earlier}"))
        networks.append(network)
    if problems:
        raise DefinitionError(problems)
    return networks


def keep(
    session: Session, owner: str, points: Sequence[PointBody], networks: Sequence[Architecture]
) -> list[EvidencePoint]:
    """Store figures beside networks: each replaces an earlier one of the same network and column.

    A repeat changes nothing. Raises WrongState when the owner has too many networks or columns.
    """
    advisory_lock(session, "evidence_points", owner)  # the counts must not change meanwhile
    known = {row.arch_id: row for row in session.scalars(_of(owner))}
    rows = [
        _changed(session, owner, known.get(network.arch_id), point, network)
        for point, network in zip(points, networks, strict=True)
    ]
    every = known | {row.arch_id: row for row in rows}
    if len(every) > MOST_NETWORKS:
        raise WrongState(f"you may have figures beside {MOST_NETWORKS:,} networks, and these would be {len(every):,}")
    names = {name for row in every.values() for name in row.columns}
    if len(names) > MOST_COLUMNS:
        raise WrongState(f"you may have {MOST_COLUMNS} columns, and these would be {len(names)}; delete one first")
    session.flush()
    return rows


def _changed(
    session: Session, owner: str, row: EvidencePoint | None, point: PointBody, network: Architecture
) -> EvidencePoint:
    if row is None:
        figures = network.evaluation
        row = EvidencePoint(
            owner=owner,
            arch_id=network.arch_id,
            name="",
            definition=network.definition(),
            family=network.family,
            task=catalog.task_of(network),
            widths=list(network.widths),
            nn_mass=float(figures.mass),
            params=figures.params,
            macs=figures.macs,
            columns={},
            changed_at=now(session),
        )
        session.add(row)
    after = (point.name or row.name, row.columns | point.values)
    if after != (row.name, row.columns):
        row.name, row.columns = after
        row.changed_at = now(session)
    return row


def _of(owner: str) -> Any:
    return select(EvidencePoint).where(EvidencePoint.owner == owner)


def list_page(session: Session, owner: str, paging: Paging) -> tuple[Sequence[EvidencePoint], str | None]:
    """Return one page of the networks with figures, by arch_id, and the cursor of the next."""

    def fetch(after: str | None, limit: int) -> Sequence[EvidencePoint]:
        query = _of(owner).order_by(EvidencePoint.arch_id).limit(limit)
        if after is not None:
            query = query.where(EvidencePoint.arch_id > after)
        found: Sequence[EvidencePoint] = session.scalars(query).all()
        return found

    return paging.page({"list": "evidence_points", "owner": owner}, fetch, lambda row: row.arch_id)


def columns_of(session: Session, owner: str) -> list[JsonObject]:
    """Return the names of an owner's columns, each with the number of its networks, sorted by name."""
    stored = session.scalars(select(EvidencePoint.columns).where(EvidencePoint.owner == owner))
    counts = Counter(name for columns in stored for name in columns)
    return [{"name": name, "n": counts[name]} for name in sorted(counts)]


def delete_point(session: Session, owner: str, arch_id: str) -> None:
    """Delete the figures beside a network. Raises NotFound."""
    advisory_lock(session, "evidence_points", owner)
    gone = delete_from(EvidencePoint).where(EvidencePoint.owner == owner, EvidencePoint.arch_id == arch_id)
    if not session.execute(gone.returning(EvidencePoint.arch_id)).all():
        raise NotFound("you have uploaded no figures beside such a network")


def delete_column(session: Session, owner: str, name: str) -> None:
    """Delete a column, and each network that has no other. Raises NotFound."""
    advisory_lock(session, "evidence_points", owner)
    rows = [row for row in session.scalars(_of(owner)) if name in row.columns]
    if not rows:
        raise NotFound("you have no such column; GET /v1/evidence/columns lists them")
    for row in rows:
        row.columns = {other: value for other, value in row.columns.items() if other != name}
        row.changed_at = now(session)
        if not row.columns:
            session.delete(row)
    session.flush()


def uploaded(session: Session, owner: str, family: str | None) -> dict[str, Uploaded]:
    """Return an owner's figures by the arch_id of their networks."""
    query = _of(owner).order_by(EvidencePoint.arch_id)
    if family is not None:
        query = query.where(EvidencePoint.family == family)
    return {row.arch_id: _uploaded(row) for row in session.scalars(query)}


def _uploaded(row: EvidencePoint) -> Uploaded:
    figures = (row.nn_mass, row.params, row.macs)
    point = Point(row.arch_id, row.family, tuple(row.widths), *figures, accuracy=float("nan"), runs=0)
    return Uploaded(point, row.task, row.name, row.columns)


def comparisons(points: Sequence[Point], own: dict[str, dict[str, float]]) -> list[dict[str, object]]:
    """Return how each own column orders accuracy, over the points that have it. own: columns by arch_id."""
    names = sorted({name for point in points for name in own.get(point.arch_id, {})})
    found: list[dict[str, object]] = []
    for name in names:
        having = [point for point in points if name in own.get(point.arch_id, {})]
        values = [own[point.arch_id][name] for point in having]
        found.append({"name": name, **compare_column(having, values)})
    return found
