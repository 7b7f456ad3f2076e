"""Requests and responses about campaigns."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.http.fields import (
    ARCH_ID_EXAMPLE,
    UUID_EXAMPLE,
    WHOLE,
    CoreVersion,
    CreatedAt,
    DatasetWithOptions,
    DoneFraction,
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
    StartedAt,
    Status,
    Strict,
)
from app.jobs.lifecycle import State
from app.jobs.waiting import Waiting
from app.searches.schemas import Question, StoredRequest
from app.verifications.schemas import RecipeDefinition, TrainingFields
from nnmass_core.campaigns.plan import ROUNDS
from nnmass_core.named.recipes import MOST_HELD_OUT

MOST_TRAININGS, MOST_CONFIRM, MOST_ROUNDS = 200, 20, 20
VALIDATION = 0.1
"""The share of the training images that campaigns hold out unless the request or the recipe says another."""

EXAMPLE: dict[str, JsonValue] = {
    "search": {
        "space": {
            "family": "densenet_mlp",
            "in_features": 784,
            "num_classes": 10,
            "width": {"min": 8, "max": 64, "step": 8},
            "depth": {"min": 4, "max": 16},
            "skip_channels": {"min": 0, "max": 64},
            "activation": "relu",
        },
        "budget": {"max_params": 50000},
    },
    "strategy": "spread-fit-confirm",
    "trainings": 16,
    "confirm": 3,
    "rounds": 5,
    "dataset": "mnist-5k",
    "recipe": "mlp-paper",
    "seeds": [0],
}


class Strategy(StrEnum):
    """How networks are chosen: by models of what was measured, as the search ranks them, or at random."""

    PLANNED = "spread-fit-confirm"
    RANDOM = "random"
    TOP = "top"


class TrainingRole(StrEnum):
    """Why a network is trained.

    Of `spread-fit-confirm`: the network of most NN-Mass, the one of most NN-Mass that spends the budget (also of rounds
    with too few results to predict), those of most MACs and of most params, a random one near the budget, one that is
    far from all others, the best predicted, one whose prediction is uncertain, and one that was known before. Of
    `top`: ranked by the search. Of `random`: random near the budget. `confirm`: the leader at a further seed.
    """

    MOST_NN_MASS = "most_nn_mass"
    SPEND = "spend"
    MOST_MACS = "most_macs"
    MOST_PARAMS = "most_params"
    RANDOM = "random"
    SPREAD = "spread"
    BEST_PREDICTED = "best_predicted"
    MOST_UNCERTAIN = "most_uncertain"
    KNOWN = "known"
    RANKED = "ranked"
    CONFIRM = "confirm"


class CampaignBody(TrainingFields):
    """A campaign to run: a search's question, how many of its networks to train, and how.

    The `search` has an objective that ranks networks; `top_k` and `first_rank` do not apply.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    search: Question = Field(description="The question whose networks are trained: space, budget and objective.")
    strategy: Annotated[Strategy, Field(strict=False)] = Field(
        Strategy.PLANNED,
        description="`spread-fit-confirm`: half of them spread over the networks near the budget, the others where "
        "models of the results expect the most. `top`: those that the search ranks first. `random`: at random among "
        "those that keep every upper limit and use at least 90 % of one.",
        examples=[Strategy.PLANNED],
    )
    trainings: Annotated[int, Field(ge=1, le=MOST_TRAININGS), WHOLE] = Field(
        16,
        description="Number of networks to train, each at all `seeds`. Networks that were trained on this data by this "
        "recipe before are taken as they are, and do not count.",
        examples=[16],
    )
    confirm: Annotated[int, Field(ge=0, le=MOST_CONFIRM), WHOLE] = Field(
        3,
        description="Number of further seeds at which the network of most accuracy is trained in the end. They have no "
        "part in choosing it, and do not count as `trainings`.",
        examples=[3],
    )
    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS), WHOLE] = Field(
        ROUNDS,
        description="Number of rounds: the networks of one are chosen when those before have ended. The first has half "
        "of the trainings, the others share the rest. `top` and `random` choose the same networks in any number.",
        examples=[ROUNDS],
    )
    validation: Annotated[float, Field(ge=0, le=MOST_HELD_OUT)] | None = Field(
        None,
        description="Share of the training images of each class that is held out, by whose accuracy networks are "
        f"chosen; the test images are for the answer. By default that of the recipe if it is written out with "
        f"`validation`, else {VALIDATION}. At 0 the test accuracy chooses.",
        examples=[VALIDATION],
    )


class CampaignChanges(Strict):
    """Changes to a campaign that has not ended. Omitted fields remain unchanged."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"trainings": 24}]})

    # a factory, since a documented default would suggest that omitting the field changes it
    trainings: Annotated[int, Field(ge=1, le=MOST_TRAININGS), WHOLE] = Field(
        default_factory=int,
        description="Number of networks to train in all. The rounds that have not begun share what is left.",
        examples=[24],
    )


class OverSeedsItem(BaseModel):
    """A mean accuracy over seeds, with Student's t interval."""

    n: int = Field(description="Number of seeds.", examples=[3])
    mean: float = Field(description="Mean accuracy in [0, 1].", examples=[0.941])
    std: float | None = Field(description="Sample standard deviation; null for one seed.", examples=[0.004])
    low: float | None = Field(
        description="Lower end of the 95 % interval of the mean; null for one seed.", examples=[0.931]
    )
    high: float | None = Field(
        description="Upper end of the 95 % interval of the mean; null for one seed.", examples=[0.951]
    )


class CampaignPrediction(BaseModel):
    """What was predicted of a network before it was trained: the accuracy by which the campaign chooses."""

    accuracy: float = Field(description="Predicted accuracy; in [0, 1] but for its error.", examples=[0.938])
    low: float = Field(description="Lower end of its 95 % interval.", examples=[0.925])
    high: float = Field(description="Upper end of its 95 % interval.", examples=[0.951])
    error: float = Field(
        description="Root mean square of what the model errs by on each of the results without it.", examples=[0.006]
    )


class DifferenceToRandom(BaseModel):
    """The accuracy of the best less the mean of random networks near the budget, with an interval over these."""

    n: int = Field(description="Number of random networks.", examples=[8])
    value: float = Field(description="The difference, in [-1, 1].", examples=[0.012])
    low: float | None = Field(description="Lower end of its 95 % bootstrap interval; null below 5.", examples=[0.006])
    high: float | None = Field(description="Upper end of its 95 % bootstrap interval; null below 5.", examples=[0.019])


class DifferenceToControl(BaseModel):
    """The accuracy of the best less that of a network that is first by some order, at its only seeds: no interval."""

    role: TrainingRole = Field(description="By which order it is first.", examples=[TrainingRole.MOST_MACS])
    arch_id: NetworkId
    accuracy: float | None = Field(description="Its test accuracy; null if it was not measured.", examples=[0.934])
    value: float | None = Field(
        description="The difference, in [-1, 1]: 0 where it is the best itself, null if it was not measured.",
        examples=[0.007],
    )


class BestNetwork(BaseModel):
    """The network of most accuracy among those that were measured; of equal ones that of fewest params."""

    arch_id: NetworkId
    architecture: Network
    role: TrainingRole = Field(description="Why it was trained.")
    nn_mass: NnMass
    params: Params
    macs: Macs
    verification: UUID | None = Field(description="Its training; null if it was deleted.", examples=[UUID_EXAMPLE])
    accuracy: OverSeedsItem = Field(
        description="Test accuracy over the seeds by which it was chosen. Where these chose, being the best of several "
        "flatters it."
    )
    validation: OverSeedsItem | None = Field(
        None,
        description="Accuracy on the validation images over the same seeds, by which it was chosen; null where none "
        "are held out.",
    )
    confirmed: OverSeedsItem | None = Field(
        description="Test accuracy over the further seeds, which had no part in choosing it; null without any."
    )
    predicted: CampaignPrediction | None = Field(description="What was predicted of it; null if nothing was.")


class CampaignResult(BaseModel):
    """The answer of a campaign: the best measured network, and what it is compared with."""

    best: BestNetwork | None = Field(description="The best measured network; null if none was measured.")
    chosen_by: Literal["validation", "test"] | None = Field(
        "test",
        description="The images on which accuracy has chosen it; null if none was measured.",
        examples=["validation"],
    )
    against_random: DifferenceToRandom | None = Field(
        description="Its accuracy, at the further seeds where it has any, less that of the random networks near the "
        "budget; null without any."
    )
    against_controls: list[DifferenceToControl] = Field(
        default_factory=list,
        description="The same less the networks that are first by an order, of which `spread-fit-confirm` trains each.",
    )
    trained: int = Field(description="Number of networks that were trained for it.", examples=[16])
    known: int = Field(description="Number of networks that had been trained before.", examples=[0])
    without_accuracy: int = Field(
        description="Number of these networks without an accuracy: their training failed, was cancelled or deleted, or "
        "was taken out of the evidence.",
        examples=[0],
    )
    statement: str = Field(
        description="The same in words.",
        examples=["The best of 16 measured networks has a test accuracy of 94.1 %. [...]"],
    )


class CampaignTrainingItem(BaseModel):
    """A training of a campaign."""

    round: int = Field(description="Round in which it was chosen, from 1.", examples=[1])
    role: TrainingRole = Field(description="Why the network is trained.")
    arch_id: NetworkId
    nn_mass: NnMass
    params: Params
    macs: Macs
    seeds: list[int] = Field(description="Seeds of the training.", examples=[[0]])
    known: bool = Field(description="Whether it had been trained before, at no cost.", examples=[False])
    verification: UUID | None = Field(description="Its verification; null if it was deleted.", examples=[UUID_EXAMPLE])
    status: State | None = Field(description="Status of the verification; null if it was deleted.")
    error: str | None = Field(
        description="Why it failed; null unless it has failed.", examples=["the loss is not a number"]
    )
    accuracy: float | None = Field(
        description="Mean test accuracy over its seeds, in [0, 1]; null before the end of all, and without a result.",
        examples=[0.934],
    )
    validation_accuracy: float | None = Field(
        description="Mean accuracy on the validation images, in [0, 1], by which networks are chosen; null before the "
        "end of all seeds, and where none are held out.",
        examples=[0.941],
    )
    predicted: CampaignPrediction | None = Field(
        description="What was predicted before it was trained; null if nothing was."
    )


class CampaignFit(BaseModel):
    """What the models of a round said.

    Scores are a sum over the parts of a network that a regression was fitted to, in steps of 0.0001 points without a
    constant. They order networks; what is proved of them says nothing about accuracies.
    """

    networks: int = Field(description="Number of measured networks that the models were fitted to.", examples=[8])
    error: float = Field(
        description="Root mean square of the leave-one-out errors of the model that predicts, in points.",
        examples=[0.6],
    )
    score_error: float = Field(description="The same of the fitted score.", examples=[0.8])
    best: int | None = Field(
        description="Greatest score found of a network that was not measured; null if there was none.",
        examples=[412_345],
    )
    bound: int = Field(description="No network within the budget has a greater score.", examples=[412_345])
    proved: bool = Field(
        description="Whether the networks found are proved to have the greatest scores.", examples=[True]
    )


class CampaignChoice(BaseModel):
    """How the networks of a round were chosen."""

    round: int = Field(description="Number of the round, from 1.", examples=[1])
    proved: bool | None = Field(
        description="Whether the engine has proved the optima, or the ranking, from which it chose: false where the "
        "time limit of the search, or a fixed amount of work, ended before. Null for `random`.",
        examples=[True],
    )
    controls: dict[TrainingRole, str] = Field(
        description="Of the first round of `spread-fit-confirm`, the network that is first by each order.",
        examples=[{"most_macs": ARCH_ID_EXAMPLE}],
    )
    fit: CampaignFit | None = Field(
        description="What the models said; null in the first round, in one with too few results, which then trained "
        "networks that spend the budget, and for other strategies."
    )


class CampaignProgress(BaseModel):
    """Progress of a campaign."""

    fraction: DoneFraction
    message: ProgressMessage


class CampaignError(BaseModel):
    """Why a campaign failed."""

    code: FailureCode
    message: FailureMessage


class CampaignSummary(BaseModel):
    """A campaign and its status, without its trainings."""

    id: UUID = Field(description="Id of the campaign.", examples=[UUID_EXAMPLE])
    status: Status
    paused: bool = Field(
        description="Whether it is paused: the trainings of its round go on, and nothing else begins.", examples=[False]
    )
    family: FamilyName
    strategy: Strategy = Field(description="How networks are chosen.")
    trainings: int = Field(description="Number of networks to train.", examples=[16])
    confirm: int = Field(description="Number of further seeds of the best.", examples=[3])
    rounds: int = Field(description="Number of rounds.", examples=[2])
    dataset: DatasetWithOptions
    recipe_name: str | None = Field(
        description="Name of the recipe, apart from `validation`; null for a definition of your own.",
        examples=["mlp-paper"],
    )
    validation: float = Field(
        description="Share of the training images that is held out, by whose accuracy networks are chosen; at 0 the "
        "test accuracy chooses.",
        examples=[VALIDATION],
    )
    recipe_digest: RecipeDigest
    adapt: bool = Field(description="Whether the recipe may be adapted to few images.", examples=[True])
    seeds: list[int] = Field(description="Seeds at which each network is trained.", examples=[[0]])
    created_at: CreatedAt
    started_at: StartedAt
    finished_at: FinishedAt
    heartbeat_at: HeartbeatAt
    attempts: int = Field(description="How many times a worker has begun its present step.", examples=[1])
    progress: CampaignProgress = Field(description="How far it is.")
    waiting: Waiting | None = Field(description="What a queued campaign waits for; null in every other state.")
    result: CampaignResult | None = Field(description="The answer; null until it has succeeded.")
    error: CampaignError | None = Field(description="Why it failed; null unless it has failed.")


class CampaignAnswer(CampaignSummary):
    """A full campaign."""

    search: StoredRequest = Field(description="The question whose networks are trained.")
    recipe: RecipeDefinition
    core_version: CoreVersion
    choices: list[CampaignChoice] = Field(description="How the networks of each round were chosen.")
    items: list[CampaignTrainingItem] = Field(description="Its trainings, in the order in which they were chosen.")
    warning: str | None = Field(
        description="Why its trainings are going to fail, and what to do: no live training worker has torch. Null "
        "otherwise.",
        examples=["no running train worker has torch: this fails when one of them takes it"],
    )


class CampaignList(BaseModel):
    """One page of campaigns, newest first."""

    items: list[CampaignSummary] = Field(description="The campaigns of the page.")
    next_cursor: NextCursor
