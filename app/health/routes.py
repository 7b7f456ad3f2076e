"""Routes that report the health of the service."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app.health import service
from app.http.dependencies import DatabaseDep, SettingsDep

router = APIRouter(tags=["service"])


class Health(BaseModel):
    """The process responds."""

    status: str = Field(description="Always `ok`.", examples=["ok"])


class QueueState(BaseModel):
    """Jobs and workers of one queue."""

    queued: int = Field(description="Number of waiting jobs.", examples=[0])
    running: int = Field(description="Number of running jobs.", examples=[1])
    oldest_seconds: float | None = Field(
        description="How long the oldest waiting job has waited, in seconds; null if none waits.", examples=[0.8]
    )
    workers: int = Field(description="Number of workers that reported in the last 15 seconds.", examples=[2])


class Readiness(BaseModel):
    """Whether requests can be accepted, and which components are missing. Only the database is required.

    `advice` explains the effect of each missing component and what to do.
    """

    ready: bool = Field(description="Whether requests can be accepted.", examples=[True])
    missing: list[str] = Field(description="Names of the missing components.", examples=[["train_worker"]])
    advice: list[str] = Field(
        description="For each of them, what its absence means and what to do.",
        examples=[["no training worker has sent a heartbeat for 15 s: run `nnmass worker train`"]],
    )
    database: bool = Field(description="Whether the database responds.", examples=[True])
    schema_current: bool = Field(description="Whether the database schema is that of this version.", examples=[True])
    broker: bool = Field(description="Whether the broker responds.", examples=[True])
    torch: bool | None = Field(
        description="Whether the workers have torch, which trainings, measurements and ONNX and TorchScript files "
        "require: false if one of the live workers for these lacks it, null if none of them says.",
        examples=[True],
    )
    queues: dict[str, QueueState] = Field(description="The queues by name; empty without a database.")


@router.get("/healthz", response_model=Health)
def healthz() -> dict[str, str]:
    """Return 200 while the process is alive."""
    return {"status": "ok"}


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
def readyz(request: Request, database: DatabaseDep, settings: SettingsDep) -> Any:
    """Return 200 if requests can be accepted, else 503. The body lists missing components in both cases."""
    state = service.readiness(database, settings, stopping=request.app.state.stopping.is_set())
    return JSONResponse(state, 200 if state["ready"] else 503)
