"""The page of evidence: accuracy against NN-Mass, params and MACs, on the same networks."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from app.evidence.query import query_evidence
from app.evidence.service import Filters
from app.http.dependencies import Owner, ThreadsDep
from app.ui.page import PageRoute, render
from nnmass_core.codec import JsonObject
from nnmass_core.families import FAMILIES

router = APIRouter(include_in_schema=False, route_class=PageRoute)

MEASURES = {"nn_mass": "NN-Mass", "params": "params", "macs": "MACs"}


@router.get("/evidence")
async def show(
    request: Request,
    threads: ThreadsDep,
    owner: Owner,
    dataset: Annotated[str, Query(max_length=500)] = "",
    family: Annotated[str, Query(max_length=64)] = "",
    recipe: Annotated[str, Query(max_length=100)] = "",
    adapted: Annotated[bool | None, Query()] = None,
) -> Response:
    """Show the evidence of one data set and recipe."""
    filters = Filters(dataset or None, family or None, recipe or None, adapted)
    gathered, reported = await query_evidence(threads, owner, filters)
    points = [
        {"arch_id": item.point.arch_id, "role": item.role, "accuracy": item.point.accuracy}
        | {name: getattr(item.point, name) for name in MEASURES}
        for item in gathered.trained
    ]
    context = {
        "evidence": reported,
        "points": points,
        "measures": MEASURES,
        "family": family,
        "families": list(FAMILIES),
        "kept": {
            name: text
            for name, text in (("dataset", dataset), ("recipe", recipe), ("adapted", _written(chosen=adapted)))
            if text
        },
        "csv": _csv_of(gathered.scope),
    }
    return render(request, "evidence.html", **context)


def _written(*, chosen: bool | None) -> str:
    """Return a choice as an address has it; empty without one."""
    return "" if chosen is None else str(chosen).lower()


def _csv_of(scope: JsonObject | None) -> str:
    """Return the query of the CSV file with the points of a scope: those that the page shows."""
    if scope is None:
        return ""
    adapted = _written(chosen=scope["adapted"] is not None)
    asked = {"dataset": scope["dataset"], "recipe": scope["recipe_digest"], "adapted": adapted}
    asked |= {"family": scope["family"]} if scope["family"] else {}
    return urlencode({"format": "csv", **asked})
