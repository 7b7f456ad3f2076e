"""The page of evidence: accuracy against NN-Mass, params and MACs, on the same networks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.deps import Owner, ReadSession
from app.evidence import service
from app.evidence.service import Filters
from app.ui.page import PageRoute, render
from nnmass_core.families import FAMILIES

router = APIRouter(include_in_schema=False, route_class=PageRoute)

MEASURES = {"nn_mass": "NN-Mass", "params": "params", "macs": "MACs"}


@router.get("/evidence")
def show(
    request: Request,
    session: ReadSession,
    owner: Owner,
    dataset: Annotated[str, Query(max_length=500)] = "",
    family: Annotated[str, Query(max_length=64)] = "",
    recipe: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """Show what the trainings of one data set and recipe say."""
    filters = Filters(dataset or None, family or None, recipe or None)
    points = [
        {"arch_id": item.point.arch_id, "role": item.role, "accuracy": item.point.accuracy}
        | {name: getattr(item.point, name) for name in MEASURES}
        for item in service.points_of(session, owner, filters)
    ]
    told = service.evidence(session, owner, filters)
    context = {"told": told, "points": points, "measures": MEASURES, "family": family, "families": list(FAMILIES)}
    return render(request, "evidence.html", **context)
