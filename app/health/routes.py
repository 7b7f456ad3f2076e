"""Routes that report the health of the service."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.health import service
from app.http.dependencies import DatabaseDep, SettingsDep

router = APIRouter(tags=["service"])


class Health(BaseModel):
    """The process responds."""

    status: str


class QueueState(BaseModel):
    """Jobs and workers of one queue."""

    queued: int
    running: int
    oldest_seconds: float | None
    workers: int


class Readiness(BaseModel):
    """Whether requests can be accepted, and which components are missing. Only the database is required.

    `advice` explains the effect of each missing component and what to do.
    """

    ready: bool
    missing: list[str]
    advice: list[str]
    database: bool
    schema_current: bool
    broker: bool
    queues: dict[str, QueueState]


@router.get("/healthz", response_model=Health)
def healthz() -> dict[str, str]:
    """Return 200 while the process is alive."""
    return {"status": "ok"}


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
def readyz(request: Request, database: DatabaseDep, settings: SettingsDep) -> Any:
    """Return 200 if requests can be accepted, else 503. The body lists missing components in both cases."""
    state = service.readiness(database, settings, stopping=request.app.state.stopping.is_set())
    return JSONResponse(state, 200 if state["ready"] else 503)
