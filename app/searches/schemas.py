"""Requests and responses about searches."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from app.http.cost_fields import with_costs, with_limits
from app.http.fields import WHOLE, Strict, Tag
from app.jobs.lifecycle import State
from app.jobs.waiting import Waiting
from nnmass_core.families import architecture_schema, space_schema
from nnmass_core.hardware.devices import device_schema, devices
from nnmass_core.named.presets import presets
from nnmass_core.request import LONGEST_SECONDS, MOST_RESULTS, objective_schema

# untyped: pydantic has no other type that OpenAPI shows as a plain object

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
    """The limits of the hardware. All limits are hard; an empty budget allows everything."""

    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    device: Device = Field(
        None,
        description="Name of a device (`GET /v1/devices`) or a full profile. Its memory limits also apply; of two "
        "limits on the same cost, the lower one applies.",
    )


Objective = Annotated[Any, WithJsonSchema(objective_schema())]


class Question(Strict):
    """A search request without its name, tags and note: everything that determines the result."""

    model_config = ConfigDict(json_schema_extra={"examples": [QUESTION]})

    space: Space
    budget: BudgetBody = Field(default_factory=BudgetBody)
    objective: Objective = Field(default_factory=lambda: {"maximize": "nn_mass"})
    top_k: Annotated[int, Field(ge=1, le=MOST_RESULTS), WHOLE] = Field(
        10,
        description="Number of architectures to rank. Not allowed for a Pareto front, which determines its own size.",
    )
    diversity: Literal["none", "shape"] = Field(
        "none", description="`shape`: at most one result for each tuple of widths and depths."
    )
    time_limit_seconds: float = Field(60.0, gt=0, le=LONGEST_SECONDS)


Name = Annotated[str, Field(max_length=200)]
Tags = Annotated[list[Tag], Field(max_length=20)]
Note = Annotated[str, Field(max_length=10_000)]


class SearchBody(Question):
    """A search to run. `name`, `tags`, `note` and `fresh` do not affect the result."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: Name = ""
    tags: Tags = Field(default_factory=list)
    note: Note = ""
    fresh: bool = Field(False, description="Run the search even if an equal search has succeeded.")


class SearchChanges(Strict):
    """Changes to a search. Omitted fields remain unchanged."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "camera v2", "tags": ["edge", "shipped"]}]})

    # factories, since a documented default would suggest that omitting a field clears it
    name: Name = Field(default_factory=str)
    tags: Tags = Field(default_factory=list, description="Replaces all tags.")
    note: Note = Field(default_factory=str)


class Explored(BaseModel):
    """The amount of work for the proof."""

    labels: int
    pruned_by_bound: int


class Result(BaseModel):
    """The certificate of a search."""

    count: int
    optimal: bool = Field(description="True if the ranking is proved to be optimal.")
    objective_value: float | None
    bound: float | None = Field(description="No architecture within the budget has a better objective value.")
    gap: float | None = Field(description="Difference between bound and value, relative to the value.")
    best_nn_mass: float | None
    upper_bound: float | None
    space_size: str = Field(description="Exact number of distinct architectures in the space, in decimal.")
    feasible: bool | None = Field(
        description="Null if the time limit was reached before an architecture within the budget was found."
    )
    binding: list[str] | None = Field(description="Limits each of whose removal improves the optimum.")
    relaxation: dict[str, float | None] | None = Field(
        description="If nothing fits: the lowest feasible value of each limit with the other limits unchanged."
    )
    caveats: list[str]
    explored: Explored
    elapsed_seconds: float
    reference: dict[str, Any] | None = Field(None, description="Compression: the reference network with its figures.")
    savings: dict[str, float] | None = Field(
        None, description="Compression: ratio of the reference's params and MACs to those of the best."
    )
    resolution: dict[str, int | float] | None = Field(
        None, description="Pareto front: largest gap in each cost where points may be missing; null if exact."
    )


class Progress(BaseModel):
    """Progress of a search."""

    fraction: float
    message: str


class ErrorBody(BaseModel):
    """Why a search failed."""

    code: str
    message: str


class SearchAnswer(BaseModel):
    """A search and its status."""

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
    reused: bool = Field(description="True if the result is that of an earlier equal request.")
    request: dict[str, Any]
    request_digest: str
    result_digest: str | None
    core_version: str
    result: Result | None
    error: ErrorBody | None
    progress: Progress
    waiting: Waiting | None = Field(description="What a queued search waits for; null in every other state.")


class SearchList(BaseModel):
    """One page of the history, newest first."""

    items: list[SearchAnswer]
    next_cursor: str | None


class PredictedAccuracy(BaseModel):
    """Predicted test accuracy in [0, 1], from trained networks with the same widths and inputs.

    low, high: 95 % prediction interval for one more network. extrapolated: the NN-Mass is outside their range.
    """

    value: float
    low: float
    high: float
    n: int
    extrapolated: bool
    dataset: str
    recipe: str


class EstimatedLatency(BaseModel):
    """Details of an estimated latency: the device, and the error of its profile on networks that were not fitted.

    low_ms, high_ms: expected range of a measurement. median_error: median of |estimated / measured - 1|.
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
    """One architecture of the ranking; `cells` or `stages` has the definition and figures of each part."""

    model_config = ConfigDict(extra="allow")

    latency: EstimatedLatency | None = Field(None, description="Details of the estimate `latency_ms`.")
    depth: int
    architecture: Annotated[dict[str, Any], WithJsonSchema(architecture_schema())]
    slack: dict[str, int | float]
    predicted_accuracy: PredictedAccuracy | None = Field(None, description="Null if there is not enough evidence.")


class RankedPage(BaseModel):
    """One page of the ranking, best first."""

    items: list[RankedItem]
    next_cursor: str | None


class PreviewAnswer(BaseModel):
    """The result of a search that is not stored."""

    result: Result
    items: list[RankedItem]


class SearchExport(SearchAnswer):
    """A search with its full ranking."""

    ranking: list[RankedItem] = Field(description="Empty until the search has succeeded.")


class ComparedSearch(SearchAnswer):
    """One of the compared searches."""

    best: RankedItem | None = Field(
        description="First architecture of the ranking; null without a ranking and for a Pareto front."
    )


class Difference(BaseModel):
    """A field in which the searches differ, with its value in each."""

    field: str = Field(
        description="Dotted path: `request.budget.max_params`, `result.gap`, `best.architecture.cells.0.width`."
    )
    values: list[JsonValue] = Field(
        description="Values in the order of `items`; null if a search does not have the field."
    )


class SharedArchitecture(BaseModel):
    """An architecture that two or more of the searches ranked."""

    arch_id: str
    ranks: list[int | None] = Field(description="Rank in each search, in the order of `items`.")
    nn_mass: float
    params: int
    macs: int
    depth: int


class Shared(BaseModel):
    """Architectures that appear in several rankings."""

    count: int = Field(description="Number of architectures in two or more rankings.")
    in_all: int = Field(description="Number of architectures in all rankings.")
    items: list[SharedArchitecture] = Field(description="The first 100, by number of rankings, then by rank.")


class Comparison(BaseModel):
    """A comparison of searches."""

    items: list[ComparedSearch] = Field(description="In the order of the request.")
    differences: list[Difference] = Field(
        description="Differences in requests, versions, certificates and best architectures, except times and work."
    )
    shared: Shared
