"""Export a search as a file: one JSON document, or the ranking as a table."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.http.csv_files import csv_text
from app.jobs.lifecycle import State
from app.predictions import Predictions
from app.searches import repository
from app.searches.answers import answer, is_front, item_of
from app.searches.service import get
from app.storage.models import RankedArchitecture, Search
from nnmass import formatting
from nnmass_core.codec import JsonObject
from nnmass_core.costs import COSTS
from nnmass_core.export.parts import parts_of, width_of
from nnmass_core.request import SearchRequest


def document(session: Session, owner: str, search_id: UUID) -> JsonObject:
    """Return a search with its whole ranking. Raises NotFound."""
    row = get(session, owner, search_id)
    predictions = Predictions(session, owner, row.family)
    places = [item_of(row, place, predictions) for place in _ranking(session, owner, row)]
    return answer(session, row).model_dump(mode="json") | {"ranking": places}


def table(session: Session, owner: str, search_id: UUID) -> str:
    """Return a search's whole ranking as CSV, one line per architecture. Raises NotFound.

    The columns follow from the request, so that they are the same before the search has finished. The table contains no
    text written by users: a spreadsheet would take a name that begins with = for a formula.
    """
    row = get(session, owner, search_id)
    request = SearchRequest.from_json(row.request, version=row.request_version)
    limits = [limit.name for limit in request.budget.all_limits()]
    parts = request.space.most_parts()
    widths = [f"width_{number}" for number in range(1, parts + 1)]
    place = "point" if is_front(row) else "rank"
    size = ["input_height", "input_width"] if request.space.varies_resolution() else []
    which = ["space"] if len(request.space.spaces) > 1 else []
    slack = [f"slack_{name}" for name in limits]
    batch = ["batch"] if request.budget.batch > 1 else []
    figures = ["arch_id", "nn_mass", *COSTS, "precision", *batch]
    upper = [name for name in limits if not formatting.is_floor(name)]
    unused = [f"unused_{name}" for name in upper]
    columns = [place, *which, *figures, *size, *widths, *slack, *unused, "architecture"]
    counted = [request.budget.precision, *([request.budget.batch] if batch else [])]
    lines = (
        _line(one, counted, (limits, upper), parts, sized=bool(size), several=bool(which))
        for one in _ranking(session, owner, row)
    )
    return csv_text(columns, lines)


def _ranking(session: Session, owner: str, row: Search) -> list[RankedArchitecture]:
    finished = row.job.state == State.SUCCEEDED  # as this session has read it, even if it has changed since
    return list(repository.ranking(session, owner, row.id)) if finished else []


def _line(
    place: RankedArchitecture,
    counted: list[Any],
    names: tuple[list[str], list[str]],
    parts: int,
    *,
    sized: bool,
    several: bool,
) -> list[Any]:
    """Return the line of an architecture.

    counted: precision, and the batch where there is one. names: of the limits, and of those from above.
    """
    figures = place.figures
    widths = [*map(width_of, parts_of(figures))]
    size = (formatting.sides({"architecture": place.architecture}) or (None, None)) if sized else ()
    return [
        place.rank,
        *([figures.get("space")] if several else []),
        place.arch_id,
        *(figures.get(name) for name in ("nn_mass", *COSTS)),
        *counted,
        *size,
        *widths,
        *[None] * (parts - len(widths)),
        *(figures["slack"][name] for name in names[0]),
        *((figures.get("unused") or {}).get(name) for name in names[1]),
        json.dumps(place.architecture, separators=(",", ":")),
    ]
