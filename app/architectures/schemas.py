"""Requests and responses about architectures."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from app.http.cost_fields import with_costs, with_parts
from app.http.fields import (
    UUID_EXAMPLE,
    CreatedAt,
    DatasetWithOptions,
    ExportedAs,
    Network,
    NetworkId,
    NnMass,
    Precision,
    RecipeDigest,
    Status,
    Strict,
)
from nnmass_core.budget import MOST_BATCH
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

    architectures: list[Definition] = Field(
        min_length=1, max_length=MOST_ARCHITECTURES, description="Full definitions of networks."
    )
    precision: Precision = Field("fp32", description="Precision at which bytes are counted.", examples=["fp32"])
    batch: Annotated[int, Field(ge=1, le=MOST_BATCH)] = Field(
        1, description="Inputs that run at a time: activations are those of all of them.", examples=[8]
    )


class _Mass(BaseModel):
    arch_id: NetworkId
    nn_mass: NnMass
    nn_mass_per_width: float = Field(
        description="Sum of NN-Mass / width over the cells or stages, without a unit; never an objective.",
        examples=[23.2],
    )
    precision: Precision = Field(description="Precision at which bytes are counted.", examples=["fp32"])
    batch: int = Field(1, description="Inputs whose activations the figures are for.", examples=[1])


class Evaluated(with_costs(_Mass, timed=False)):  # type: ignore[misc]  # a base that the table of costs gives
    """NN-Mass and costs of one architecture; `cells` or `stages` has the figures of each part."""

    model_config = ConfigDict(extra="allow", json_schema_extra=with_parts)

    caveats: list[str] = Field(description="Codes of what makes the network unusual.", examples=[["channels_below_8"]])


class EvaluateAnswer(BaseModel):
    """One result for each definition, in order."""

    results: list[Evaluated] = Field(description="The figures of each definition, in the order of the request.")


class RankedIn(BaseModel):
    """A search that ranked an architecture, or has it on its front."""

    id: UUID = Field(description="Id of the search.", examples=[UUID_EXAMPLE])
    name: str = Field(description="Name of the search; empty if it has none.", examples=["camera v2"])
    rank: int | None = Field(
        description="Position of the network in the ranking, from 1; null if the search is a Pareto front.",
        examples=[1],
    )
    point: int | None = Field(
        description="Position of the network along the Pareto front, from 1; null in a ranking.", examples=[None]
    )
    created_at: CreatedAt


class TrainedIn(BaseModel):
    """A verification that trains, or trained, an architecture."""

    id: UUID = Field(description="Id of the verification.", examples=[UUID_EXAMPLE])
    status: Status
    role: str = Field(
        description="Why it is trained: `single`, `candidate`, `params_control` or `random_control`.",
        examples=["candidate"],
    )
    dataset: DatasetWithOptions
    recipe_digest: RecipeDigest
    accuracy: float | None = Field(description="Mean test accuracy in [0, 1] over the seeds.", examples=[0.931])
    created_at: CreatedAt


class MeasuredIn(BaseModel):
    """A measurement of an architecture."""

    id: UUID = Field(description="Id of the measurement.", examples=[UUID_EXAMPLE])
    kind: str = Field(description="What is measured: `ldi` or `peak`.", examples=["peak"])
    status: Status
    created_at: CreatedAt


class AboutArchitecture(Evaluated):
    """An architecture: its definition, its figures at fp32, its searches and what was made of it."""

    architecture: Network
    registered: bool = Field(
        description="Whether you registered it; if not, it is known from its searches and trainings.", examples=[True]
    )
    searches: list[RankedIn] = Field(description="The newest 100 searches that ranked this architecture.")
    verifications: list[TrainedIn] = Field(description="The newest 100 verifications of this architecture.")
    measurements: list[MeasuredIn] = Field(description="The newest 100 measurements of this architecture.")
    exports: list[ExportedAs] = Field(description="The newest 100 files of this architecture that workers create.")
