"""Requests and responses about verifications."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from app.http.fields import WHOLE, Seed, Strict
from app.jobs.lifecycle import State
from app.jobs.waiting import Waiting
from nnmass_core.codec import json_schema
from nnmass_core.families import architecture_schema
from nnmass_core.named.datasets import Dataset, datasets
from nnmass_core.named.recipes import Recipe, recipes

# untyped: pydantic has no other type that OpenAPI shows as a plain object

MOST_SEEDS, MOST_TOP = 20, 10
MOST_ARTIFACTS = 4

EXAMPLE: dict[str, JsonValue] = {
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
    "recipe": "mlp-paper",
    "seeds": [0, 1],
}


class Role(StrEnum):
    """Why a network is trained: requested directly, ranked by a search, or a control of equal cost."""

    SINGLE = "single"
    CANDIDATE = "candidate"
    PARAMS_CONTROL = "params_control"
    RANDOM_CONTROL = "random_control"


Definition = Annotated[Any, WithJsonSchema(architecture_schema())]
DatasetField = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "enum": list(datasets())}, json_schema(Dataset)],
            "description": "Name of a dataset (`GET /v1/datasets`), or an object with a name and options.",
        }
    ),
]
RecipeField = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "enum": list(recipes())}, json_schema(Recipe)],
            "description": "Name of a recipe (`GET /v1/recipes`) or a full definition.",
        }
    ),
]


class VerificationBody(Strict):
    """What to train: one of `arch_id`, `architecture` and `search`.

    The first `top` architectures of a search are trained, each with its `controls`: networks of the same space and
    similar cost, one chosen by params and one at random.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    arch_id: str | None = Field(None, max_length=64, description="Id of a known architecture.")
    architecture: Definition | None = None
    search: UUID | None = Field(None, strict=False, description="Id of one of your succeeded searches.")
    top: Annotated[int, Field(ge=1, le=MOST_TOP), WHOLE] | None = Field(
        None, description="Number of architectures of the ranking (default: 1)."
    )
    controls: list[Literal["params", "random"]] = Field(
        default_factory=list, max_length=2, description="Controls to train with each of them."
    )
    dataset: DatasetField
    recipe: RecipeField
    seeds: list[Seed] = Field(
        default_factory=lambda: [0],
        min_length=1,
        max_length=MOST_SEEDS,
        description="One training for each seed, which draws wiring, initial weights and image order.",
    )
    artifacts: list[Literal["weights", "source", "definition", "onnx"]] | None = Field(
        None,
        max_length=MOST_ARTIFACTS,
        description="Files to store for each seed; by default all that the family has. The files of one seed belong "
        "together: the `source` of another seed has another wiring, and refuses the `weights`.",
    )


class EpochItem(BaseModel):
    """One epoch: mean losses, accuracies in [0, 1], and the learning rate of the last step."""

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    learning_rate: float
    images_per_second: float
    seconds: float


class SeedItem(BaseModel):
    """The training of one seed; `accuracy` is set when it has ended."""

    seed: int
    accuracy: float | None
    epochs: list[EpochItem]


class SeedAccuracy(BaseModel):
    """The test accuracy of one seed after its last epoch."""

    seed: int
    accuracy: float
    test_loss: float


class Accuracy(BaseModel):
    """Test accuracy in [0, 1] over the seeds; `std` is the sample standard deviation, null for one seed."""

    mean: float
    std: float | None
    by_seed: list[SeedAccuracy]


class Confusion(BaseModel):
    """Counts of test images over all seeds: `matrix[true][predicted]`."""

    classes: list[str]
    matrix: list[list[int]]


class MeasuredLatency(BaseModel):
    """Latency of one input on the training device: median and quartiles."""

    value: float
    low: float
    high: float
    kind: Literal["measured"]
    repeats: int
    device: str


class Measured(BaseModel):
    """Figures counted and timed on the PyTorch module, to compare with the closed forms."""

    params: int
    macs: int
    latency_ms: MeasuredLatency


class LeftOut(BaseModel):
    """Files or folders of an image folder that were not used: why, how many, and the names of the first of them."""

    reason: str
    count: int
    names: list[str]


class DataRead(BaseModel):
    """The training and test images; equal digests mean equal images in equal order.

    For an image folder, it also has how the folder was read.
    """

    train: int
    test: int
    digest: str
    layout: str = Field("", description="Which of its folders hold classes, and which images are for testing.")
    decisions: list[str] = Field(
        default_factory=list, description="How files that can be read in several ways were read, in sentences."
    )
    left_out: list[LeftOut] = Field(default_factory=list, description="What was not used.")


class ResultSummary(BaseModel):
    """The result of a verification, and what is needed to repeat it."""

    accuracy: Accuracy
    measured: Measured
    data: DataRead
    device: str
    processes: int
    threads: int
    seconds: float = Field(description="Total time of the epochs of all seeds; a repeated epoch counts once.")
    versions: dict[str, str]


class VerificationResult(ResultSummary):
    """The result with the counts of true and predicted classes."""

    confusion: Confusion


class ArtifactItem(BaseModel):
    """A file of the training; download it from `location`."""

    name: str
    media_type: str
    size: int
    sha256: str
    location: str


class Progress(BaseModel):
    """Progress of a verification."""

    fraction: float
    message: str
    seed: int | None = None
    epoch: int | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None


class ErrorBody(BaseModel):
    """Why a verification failed."""

    code: str
    message: str


class Replay(BaseModel):
    """The verification that this one repeats, and whether all figures are equal; null until both have ended."""

    of: UUID
    same_result: bool | None


class VerificationSummary(BaseModel):
    """A verification and its status, without its epochs."""

    id: UUID
    status: State
    role: Role
    search: UUID | None = Field(description="Search whose ranking or space contains the network.")
    candidate_rank: int | None = Field(description="Rank of the candidate, or of the candidate of this control.")
    arch_id: str
    family: str
    nn_mass: float
    params: int
    macs: int
    dataset: dict[str, Any]
    recipe_name: str | None
    recipe_digest: str
    seeds: list[int]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    heartbeat_at: datetime | None
    attempts: int
    progress: Progress
    waiting: Waiting | None = Field(description="What a queued verification waits for; null in every other state.")
    result: ResultSummary | None
    error: ErrorBody | None


class VerificationAnswer(VerificationSummary):
    """A full verification."""

    result: VerificationResult | None
    architecture: dict[str, Any]
    recipe: dict[str, Any]
    core_version: str
    runs: list[SeedItem]
    artifacts: list[ArtifactItem]
    result_digest: str | None = Field(description="Digest of the losses and accuracies of all epochs, without times.")
    replay: Replay | None


class VerificationList(BaseModel):
    """One page of verifications, newest first."""

    items: list[VerificationSummary]
    next_cursor: str | None


class MissingControl(BaseModel):
    """A control that the space does not contain."""

    candidate_rank: int
    control: str
    message: str


class Batch(BaseModel):
    """The verifications of the best of a search and their controls, best first."""

    items: list[VerificationAnswer]
    missing_controls: list[MissingControl]


class DatasetItem(BaseModel):
    """A named dataset."""

    model_config = ConfigDict(extra="allow")

    name: str
    description: str


class DatasetList(BaseModel):
    """All named datasets."""

    items: list[DatasetItem]
    next_cursor: str | None = None


class RecipeItem(BaseModel):
    """A named recipe with its full definition."""

    name: str
    description: str
    digest: str
    recipe: Annotated[dict[str, Any], WithJsonSchema(json_schema(Recipe))]


class RecipeList(BaseModel):
    """All named recipes."""

    items: list[RecipeItem]
    next_cursor: str | None = None
