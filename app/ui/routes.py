"""All pages, each with the scope that it needs, and the files that they load."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Depends, Response
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

from app.auth.keys import Scope
from app.http.dependencies import allows
from app.ui import architectures, campaigns, deletions, evidence, searches, sign_in, trainings

STATIC = Path(__file__).parent / "static"
KEPT = {"Cache-Control": "public, max-age=3600"}

ROUTERS: dict[Scope, tuple[APIRouter, ...]] = {
    Scope.SEARCH: (
        searches.router,
        architectures.router,
        deletions.of_searches,
        deletions.of_architectures,
        evidence.router,
    ),
    Scope.TRAIN: (trainings.router, campaigns.router, deletions.of_trainings),
}
"""The scope that the pages' forms need; keys that may only read can see every page."""


def install(service: APIRouter) -> None:
    """Add the pages to the routes of the service."""
    for scope, routers in ROUTERS.items():
        for router in routers:
            service.include_router(router, dependencies=[Depends(allows(scope))])
    service.include_router(sign_in.router)
    service.add_api_route("/ui/plotly.js", chart_library, include_in_schema=False)
    service.mount("/ui", StaticFiles(directory=STATIC), name="ui")


def chart_library() -> Response:
    """Return the chart library: the file inside the package plotly."""
    return FileResponse(chart_file(), media_type="text/javascript", headers=KEPT)


def chart_file() -> Path:
    """Return the path of the chart library; the package is not imported."""
    found = find_spec("plotly")
    assert found is not None, "plotly is a dependency"
    assert found.origin is not None, "plotly is a package with files"
    return Path(found.origin).parent / "package_data" / "plotly.min.js"
