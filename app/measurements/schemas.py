"""Requests and responses about measurements."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from app.http.fields import (
    UUID_EXAMPLE,
    WHOLE,
    CreatedAt,
    DescribedBy,
    DoneFraction,
    FailureCode,
    FailureMessage,
    FinishedAt,
    Macs,
    Network,
    NetworkId,
    NnMass,
    Params,
    ProgressMessage,
    Seed,
    Status,
    Strict,
)
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

    kind: Literal["ldi", "peak"] = Field("ldi", description="What to measure.", examples=["ldi"])
    architecture: Named
    dataset: Literal["mnist", "mnist-5k", "digits", "cifar10", "fake"] | None = Field(
        None, description="Dataset of the images. Required for `ldi`, not used by `peak`.", examples=["mnist-5k"]
    )
    samples: Annotated[int, Field(ge=1, le=MOST_SAMPLES), WHOLE] = Field(
        16, description="Number of images whose Jacobians are averaged.", examples=[16]
    )
    seeds: list[Seed] = Field(
        default_factory=lambda: [0],
        min_length=1,
        max_length=MOST_SEEDS,
        description="One initialization for each seed.",
        examples=[[0, 1, 2]],
    )


class MeasurementRequest(BaseModel):
    """A complete request for a measurement."""

    kind: Literal["ldi", "peak"] = Field(description="What is measured.", examples=["ldi"])
    architecture: Network
    dataset: str | None = Field(None, description="Dataset of the images; null for `peak`.", examples=["mnist-5k"])
    samples: int = Field(description="Number of images whose Jacobians are averaged.", examples=[16])
    seeds: list[int] = Field(description="One initialization for each seed.", examples=[[0, 1, 2]])


class LdiBySeed(BaseModel):
    """One initialization."""

    seed: int = Field(description="Seed of the initialization.", examples=[0])
    mean: float = Field(description="Mean singular value of all layers.", examples=[1.04])
    std: float = Field(description="Standard deviation of the singular values.", examples=[0.41])


class LdiResult(BaseModel):
    """Mean and standard deviation of the singular values of all layers, over samples and initializations."""

    mean: float = Field(description="Mean singular value; 1 is layerwise dynamical isometry.", examples=[1.03])
    std: float = Field(
        description="Standard deviation of the singular values over all layers, samples and initializations.",
        examples=[0.42],
    )
    by_seed: list[LdiBySeed] = Field(description="The figures of each initialization, in the order of `seeds`.")
    method: str = Field(
        description="`exact`: every singular value; `lanczos`: stochastic Lanczos quadrature.", examples=["exact"]
    )
    nn_mass: NnMass
    params: Params
    macs: Macs


class PeakBySeed(BaseModel):
    """One wiring."""

    seed: int = Field(description="Seed of the wiring.", examples=[0])
    peak_activation_elements: int = Field(
        description="Most activation elements alive at the same time, for one input.", examples=[816]
    )


class PeakResult(BaseModel):
    """Peak of live activation elements for each wiring, and the closed form, which is an upper bound."""

    by_seed: list[PeakBySeed] = Field(description="The peak of each wiring, in the order of `seeds`.")
    closed_form_elements: int = Field(description="Closed form of the peak, in activation elements.", examples=[820])


class MeasurementProgress(BaseModel):
    """Progress of a measurement."""

    fraction: DoneFraction
    message: ProgressMessage


class MeasurementError(BaseModel):
    """Why a measurement failed."""

    code: FailureCode
    message: FailureMessage


class MeasurementAnswer(BaseModel):
    """A measurement and its status."""

    id: UUID = Field(description="Id of the measurement.", examples=[UUID_EXAMPLE])
    kind: str = Field(description="What is measured: `ldi` or `peak`.", examples=["ldi"])
    status: Status
    arch_id: NetworkId
    request: Annotated[dict[str, Any], DescribedBy(MeasurementRequest)] = Field(
        description="The request with all its fields, as it was stored."
    )
    created_at: CreatedAt
    finished_at: FinishedAt
    result: LdiResult | PeakResult | None = Field(description="The figures; null until it has succeeded.")
    error: MeasurementError | None = Field(description="Why it failed; null unless it has failed.")
    progress: MeasurementProgress = Field(description="How far it is.")
    waiting: Waiting | None = Field(description="What a queued measurement waits for; null in every other state.")
