"""The page of evidence: accuracy against NN-Mass, params and MACs, on the same networks."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from app.evidence import columns
from app.evidence.query import query_evidence
from app.evidence.service import Filters, Gathered
from app.http.dependencies import Owner, ThreadsDep
from app.ui.page import PageRoute, render
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
    accuracy: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """Show the evidence of one data set and recipe."""
    filters = Filters(dataset or None, family or None, recipe or None, adapted, accuracy or None)
    gathered, reported = await query_evidence(threads, owner, filters)
    own = await threads.read(owner, columns.columns_of)
    compared = sorted({name for item in gathered.networks for name in item.columns})
    points = [
        {"arch_id": item.point.arch_id, "role": item.role, "name": item.name, "accuracy": item.point.accuracy}
        | {name: getattr(item.point, name) for name in MEASURES}
        | {name: item.columns.get(name) for name in compared}
        for item in gathered.networks
    ]
    context = {
        "evidence": reported,
        "points": points,
        "measures": MEASURES,
        "charted": MEASURES | {name: name for name in compared},
        "own": own,
        "family": family,
        "families": list(FAMILIES),
        "kept": {
            name: text
            for name, text in (
                *(("dataset", dataset), ("recipe", recipe), ("adapted", _written(chosen=adapted))),
                ("accuracy", accuracy),
            )
            if text
        },
        "csv": _csv_of(gathered, family),
    }
    return render(request, "evidence.html", **context)


def _written(*, chosen: bool | None) -> str:
    """Return a choice as an address has it; empty without one."""
    return "" if chosen is None else str(chosen).lower()


def _csv_of(gathered: Gathered, family: str) -> str:
    """Return the query of the CSV file with the points that the page shows."""
    asked = {"family": family} if family else {}
    if gathered.accuracy is not None:
        return urlencode({"format": "csv", "accuracy": gathered.accuracy, **asked})
    scope = gathered.scope
    if scope is None:
        return ""
    adapted = _written(chosen=scope["adapted"] is not None)
    chosen = {"dataset": scope["dataset"], "recipe": scope["recipe_digest"], "adapted": adapted}
    return urlencode({"format": "csv", **chosen, **asked})
