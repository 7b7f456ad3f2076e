"""Requests and responses about measurements."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from app.http.fields import WHOLE, Seed, Strict
from app.jobs.lifecycle import State
from app.jobs.waiting import Waiting
from nnmass_core.families import architecture_schema, known_architecture_schema

# untyped: pydantic has no other type that OpenAPI shows as a plain object

EXAMPLE: dict[str, JsonValue] = {
    "kind": "ldi",
    "architecture": {
        "family": "densenet_mlp",
        "in_features": 784,
        "num_classes": 10,
        "width": 8,
        "depth": 16,
        "skip_channels": 4,
        "activation": "relu",
    },
    "dataset": "mnist-5k",
    "samples": 16,
    "seeds": [0, 1, 2],
}
MOST_SAMPLES, MOST_SEEDS = 256, 20
Named = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                known_architecture_schema(),
                architecture_schema(),
            ],
            "description": 'A full definition, or `{"arch_id": "..."}` of a known architecture.',
        }
    ),
]


class MeasurementBody(Strict):
    """What to measure on a network.

    `ldi`: mean singular value of the layers at initialization (layerwise dynamical isometry), on images of a dataset.
    `peak`: exact peak of live activations for the wiring of each seed; the closed form holds for all wirings.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    kind: Literal["ldi", "peak"] = "ldi"
    architecture: Named
    dataset: Literal["mnist", "mnist-5k", "digits", "cifar10", "fake"] | None = Field(
        None, description="Required for `ldi`, not used by `peak`."
    )
    samples: Annotated[int, Field(ge=1, le=MOST_SAMPLES), WHOLE] = Field(
        16, description="Number of images whose Jacobians are averaged."
    )
    seeds: list[Seed] = Field(
        default_factory=lambda: [0],
        min_length=1,
        max_length=MOST_SEEDS,
        description="One initialization for each seed.",
    )


class LdiBySeed(BaseModel):
    """One initialization."""

    seed: int
    mean: float
    std: float


class LdiResult(BaseModel):
    """Mean and standard deviation of the singular values of all layers, over samples and initializations."""

    mean: float
    std: float = Field(
        description="Standard deviation of the singular values over all layers, samples and initializations."
    )
    by_seed: list[LdiBySeed]
    method: str = Field(description="`exact`: every singular value; `lanczos`: stochastic Lanczos quadrature.")
    nn_mass: float
    params: int
    macs: int


class PeakBySeed(BaseModel):
    """One wiring."""

    seed: int
    peak_activation_elements: int


class PeakResult(BaseModel):
    """Peak of live activation elements for each wiring, and the closed form, which is an upper bound."""

    by_seed: list[PeakBySeed]
    closed_form_elements: int


class Progress(BaseModel):
    """Progress of a measurement."""

    fraction: float
    message: str


class ErrorBody(BaseModel):
    """Why a measurement failed."""

    code: str
    message: str


class MeasurementAnswer(BaseModel):
    """A measurement and its status."""

    id: UUID
    kind: str
    status: State
    arch_id: str
    request: dict[str, Any]
    created_at: datetime
    finished_at: datetime | None
    result: LdiResult | PeakResult | None
    error: ErrorBody | None
    progress: Progress
    waiting: Waiting | None = Field(description="What a queued measurement waits for; null in every other state.")
