"""Requests and answers of searches."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from app.http.cost_fields import with_costs, with_limits
from app.http.fields import WHOLE, Strict, Tag
from app.jobs.lifecycle import State
from nnmass_core.families import architecture_schema, space_schema
from nnmass_core.hardware.devices import device_schema, devices
from nnmass_core.named.presets import presets
from nnmass_core.request import LONGEST_SECONDS, MOST_RESULTS, objective_schema

Space = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "enum": list(presets())}, space_schema()],
            "description": "A preset's name (`GET /v1/spaces`) or a full definition.",
        }
    ),
]

QUESTION: dict[str, JsonValue] = {
    "space": {
        "family": "densenet_cnn",
        "input": {"channels": 3, "height": 32, "width": 32},
        "num_classes": 10,
        "cells": 3,
        "width": {"min": 16, "max": 256, "step": 16},
        "depth": {"min": 4, "max": 32},
        "skip_channels": {"min": 0, "max": 512, "step": 4},
    },
    "budget": {"max_params": 1000000, "max_macs": 150000000},
    "objective": {"maximize": "nn_mass"},
    "top_k": 10,
    "diversity": "none",
    "time_limit_seconds": 60,
}
EXAMPLE: dict[str, JsonValue] = {**QUESTION, "name": "camera v2", "tags": ["edge"], "note": ""}


Device = Annotated[
    Any, WithJsonSchema({"anyOf": [{"type": "string", "enum": list(devices())}, device_schema(), {"type": "null"}]})
]


class BudgetBody(with_limits(Strict)):  # type: ignore[misc]  # a base that the table of costs gives
    """What the hardware allows. Every limit that is set is hard; an empty budget allows everything."""

    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    device: Device = Field(
        None,
        description="A device's name (`GET /v1/devices`; your own profiles too) or a whole profile. Its memory limits "
        "hold too; where both limit the same, the lower does.",
    )


Objective = Annotated[Any, WithJsonSchema(objective_schema())]


class Question(Strict):
    """What is asked: everything that decides the answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [QUESTION]})

    space: Space
    budget: BudgetBody = Field(default_factory=BudgetBody)
    objective: Objective = Field(default_factory=lambda: {"maximize": "nn_mass"})
    top_k: Annotated[int, Field(ge=1, le=MOST_RESULTS), WHOLE] = Field(
        10, description="Refused with a Pareto front, which has its own size."
    )
    diversity: Literal["none", "shape"] = Field(
        "none", description="`shape`: at most one result for each tuple of widths and depths."
    )
    time_limit_seconds: float = Field(60.0, gt=0, le=LONGEST_SECONDS)


Name = Annotated[str, Field(max_length=200)]
Tags = Annotated[list[Tag], Field(max_length=20)]
Note = Annotated[str, Field(max_length=10_000)]


class SearchBody(Question):
    """A search to run. `name`, `tags`, `note` and `fresh` do not change what is asked."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: Name = ""
    tags: Tags = Field(default_factory=list)
    note: Note = ""
    fresh: bool = Field(False, description="Run again even if the same question has been answered.")


class SearchChanges(Strict):
    """What to change about a search; what is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "camera v2", "tags": ["edge", "shipped"]}]})

    # factories, since a default that is shown would say that leaving a field out empties it
    name: Name = Field(default_factory=str)
    tags: Tags = Field(default_factory=list, description="In place of all it had.")
    note: Note = Field(default_factory=str)


class Explored(BaseModel):
    """How much work the proof took."""

    labels: int
    pruned_by_bound: int


class Result(BaseModel):
    """The certificate of a search."""

    count: int
    optimal: bool = Field(description="The ranking is the true one, proved.")
    objective_value: float | None
    bound: float | None = Field(description="No architecture within the budget has a better objective value.")
    gap: float | None = Field(description="What lies between value and bound, relative to the value.")
    best_nn_mass: float | None
    upper_bound: float | None
    space_size: str = Field(description="Distinct architectures in the space, exactly, in decimal.")
    feasible: bool | None = Field(description="Null when the time ran out before one was found.")
    binding: list[str] | None = Field(description="Limits whose removal alone improves the optimum.")
    relaxation: dict[str, float | None] | None = Field(
        description="If nothing fits: the least value of each limit that admits something, the others kept."
    )
    caveats: list[str]
    explored: Explored
    elapsed_seconds: float
    reference: dict[str, Any] | None = Field(None, description="Compress: the network to match, with its figures.")
    savings: dict[str, float] | None = Field(None, description="Compress: how many times fewer params and MACs.")
    resolution: dict[str, int | float] | None = Field(
        None, description="Pareto: the widest gap in each cost in which points may be missing; null when exact."
    )


class Progress(BaseModel):
    """How far a search is."""

    fraction: float
    message: str


class ErrorBody(BaseModel):
    """Why a search failed."""

    code: str
    message: str


class SearchAnswer(BaseModel):
    """A search and its state."""

    id: UUID
    status: State
    name: str
    tags: list[str]
    note: str
    family: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    heartbeat_at: datetime | None
    attempts: int
    reused: bool = Field(description="Whether this answers an earlier equal request.")
    request: dict[str, Any]
    request_digest: str
    result_digest: str | None
    core_version: str
    result: Result | None
    error: ErrorBody | None
    progress: Progress


class SearchList(BaseModel):
    """One page of the history, newest first."""

    items: list[SearchAnswer]
    next_cursor: str | None


class PredictedAccuracy(BaseModel):
    """Test accuracy in [0, 1] to expect, from networks of the same widths and inputs that were trained here.

    low, high: the 95 % prediction interval for one more network. extrapolated: its NN-Mass lies outside theirs.
    """

    value: float
    low: float
    high: float
    n: int
    extrapolated: bool
    dataset: str
    recipe: str


class EstimatedLatency(BaseModel):
    """What an estimated latency rests on: the device, and the error of its profile on networks that were held out.

    low_ms, high_ms: where a measurement should lie. median_error: median of |estimated / measured - 1|.
    """

    kind: Literal["estimated"]
    device: str
    low_ms: float
    high_ms: float
    median_error: float


class _Place(BaseModel):
    rank: int
    arch_id: str
    nn_mass: float


class RankedItem(with_costs(_Place, timed=True)):  # type: ignore[misc]  # a base that the table of costs gives
    """One place of the ranking; `cells` (or `stages`) gives each part's definition and figures."""

    model_config = ConfigDict(extra="allow")

    latency: EstimatedLatency | None = Field(None, description="What stands beside `latency_ms`.")
    depth: int
    architecture: Annotated[dict[str, Any], WithJsonSchema(architecture_schema())]
    slack: dict[str, int | float]
    predicted_accuracy: PredictedAccuracy | None = Field(None, description="Null while no evidence supports one.")


class RankedPage(BaseModel):
    """One page of the ranking, best first."""

    items: list[RankedItem]
    next_cursor: str | None


class PreviewAnswer(BaseModel):
    """The answer to a question, not stored."""

    result: Result
    items: list[RankedItem]


class SearchExport(SearchAnswer):
    """A search with its whole ranking, as one document."""

    ranking: list[RankedItem] = Field(description="Empty until the search has succeeded.")


class ComparedSearch(SearchAnswer):
    """One of the searches that are compared."""

    best: RankedItem | None = Field(
        description="The first of its ranking; null when there is none, and for a Pareto front, which has no best."
    )


class Difference(BaseModel):
    """A field in which the searches differ, and its value in each."""

    field: str = Field(
        description="Dotted path: `request.budget.max_params`, `result.gap`, `best.architecture.cells.0.width`."
    )
    values: list[JsonValue] = Field(description="In the order of `items`; null where a search has no such field.")


class SharedArchitecture(BaseModel):
    """An architecture that two or more of the searches ranked."""

    arch_id: str
    ranks: list[int | None] = Field(description="Its rank in each search, in the order of `items`.")
    nn_mass: float
    params: int
    macs: int
    depth: int


class Shared(BaseModel):
    """What the rankings have in common."""

    count: int = Field(description="Architectures that two or more of the searches ranked.")
    in_all: int = Field(description="Those of them that all ranked.")
    items: list[SharedArchitecture] = Field(
        description="The first 100: those that the most searches ranked first, among them those ranked best."
    )


class Comparison(BaseModel):
    """Searches side by side."""

    items: list[ComparedSearch] = Field(description="In the order in which they were asked for.")
    differences: list[Difference] = Field(
        description="Of requests, versions, certificates and best architectures; the effort that they took is left out."
    )
    shared: Shared
