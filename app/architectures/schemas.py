"""Requests and responses about architectures."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from app.http.cost_fields import with_costs
from app.http.fields import Strict
from app.jobs.lifecycle import State
from nnmass_core.families import architecture_schema

# untyped: pydantic has no other type that OpenAPI shows as a plain object

MOST_ARCHITECTURES = 1000

NETWORK: dict[str, JsonValue] = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "cells": [
        {"width": 32, "depth": 13, "skip_channels": 40},
        {"width": 64, "depth": 13, "skip_channels": 80},
    ],
}
Definition = Annotated[Any, WithJsonSchema({**architecture_schema(), "examples": [NETWORK]})]

EXAMPLE: dict[str, JsonValue] = {"architectures": [NETWORK], "precision": "fp32"}


class EvaluateBody(Strict):
    """Definitions to evaluate, of any families."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    architectures: list[Definition] = Field(min_length=1, max_length=MOST_ARCHITECTURES)
    precision: Literal["fp32", "fp16", "int8"] = "fp32"


class _Mass(BaseModel):
    arch_id: str
    nn_mass: float


class Evaluated(with_costs(_Mass, timed=False)):  # type: ignore[misc]  # a base that the table of costs gives
    """NN-Mass and costs of one architecture; `cells` or `stages` has the figures of each part."""

    model_config = ConfigDict(extra="allow")

    depth: int


class EvaluateAnswer(BaseModel):
    """One result for each definition, in order."""

    results: list[Evaluated]


class RankedIn(BaseModel):
    """A search that ranked an architecture."""

    id: UUID
    name: str
    rank: int
    created_at: datetime


class TrainedIn(BaseModel):
    """A verification that trains, or trained, an architecture."""

    id: UUID
    status: State
    role: str
    dataset: dict[str, Any]
    recipe_digest: str
    accuracy: float | None = Field(description="Mean test accuracy in [0, 1] over the seeds.")
    created_at: datetime


class AboutArchitecture(Evaluated):
    """An architecture: its definition, its figures at fp32, and its searches and verifications."""

    architecture: dict[str, Any]
    searches: list[RankedIn] = Field(description="The newest 100 searches that ranked this architecture.")
    verifications: list[TrainedIn] = Field(description="The newest 100 verifications of this architecture.")
