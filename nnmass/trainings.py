"""The results of trainings. Accuracies are test accuracies in [0, 1] after the last epoch, never the best one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnmass import tables
from nnmass.json_fields import FromJson, Json, json_field, several
from nnmass.results import Architecture, Job

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class Accuracy(FromJson):
    """Test accuracy over the seeds, in [0, 1].

    Attributes:
        mean: The mean over the seeds.
        std: The standard deviation of a sample; None for one seed.
        by_seed: The accuracy of each seed.
        validation: `mean`, `std` and `by_seed` of the accuracy on the validation images, to choose networks by; None
            where the recipe holds out none.
    """

    mean: float
    std: float | None
    by_seed: tuple[Json, ...] = json_field(tuple)
    validation: Json | None = json_field(default=None)


@dataclass(frozen=True, kw_only=True)
class TrainingResult(FromJson):
    """The result of a training, and what a reader needs to repeat it.

    Attributes:
        accuracy: The test accuracy over the seeds.
        measured: Params, MACs and latency of the built module.
        device: The device that ran the training.
        seconds: The seconds spent in epochs, over all seeds.
        versions: The versions of the software that ran it.
        data: The numbers of training, validation and test images and their digest; for an image folder also its
            `layout`, `decisions` about its files, and what was `left_out`.
        confusion: Counts of test images, `matrix[true][predicted]`; None in lists.
        adaptation: How the recipe was adapted to few images; None where it was trained as requested.
        warnings: Reasons to doubt the result, such as an accuracy at chance level; each has a `code` and a `message`.
    """

    accuracy: Accuracy = json_field(Accuracy.from_json)
    measured: Json
    device: str
    seconds: float
    versions: Json
    data: Json = json_field(default_factory=dict, repr=False)
    confusion: Json | None = json_field(default=None, repr=False)
    adaptation: Json | None = json_field(default=None)
    warnings: tuple[Json, ...] = json_field(tuple, default=())


@dataclass(frozen=True, kw_only=True)
class SeedRun(FromJson):
    """The training of one seed: its epochs' losses and accuracies, and its accuracy once it has ended."""

    seed: int
    accuracy: float | None
    epochs: tuple[Json, ...] = json_field(tuple, repr=False)


@dataclass(frozen=True, kw_only=True)
class Verification(Job):
    """A training of a network and its state.

    Attributes:
        id: The id of the training.
        status: `queued`, `running`, `succeeded`, `failed` or `cancelled`.
        created_at: When it was submitted.
        started_at: When a worker started it; None before.
        finished_at: When it ended; None before.
        heartbeat_at: When its worker last reported; None without such a report.
        attempts: How often a worker has started it.
        progress: How far it is.
        error: Why it failed, else None.
        waiting: What it waits for while it is queued: `queue`, `place` in it from 1, and `workers` that serve it.
        role: `single`, `candidate`, `params_control` or `random_control`.
        search: The id of the search whose ranking or space contains the network, if there is one.
        candidate_rank: The rank of the candidate, or of the candidate that it is a control of.
        arch_id: The id of the network.
        family: The family of the network.
        nn_mass: The NN-Mass of the network.
        params: Trainable parameters of the network.
        macs: Multiply-accumulates of the network for one input.
        dataset: The data set.
        recipe_name: The name of the recipe, if it has one.
        recipe_digest: The hash of the recipe.
        seeds: The seeds, one training for each.
        adaptation: How the recipe is adapted to few images; None where it is trained as requested, or not known yet.
        result: The result, once it has succeeded.
        definition: The definition of the network; empty in lists.
        recipe: The full recipe.
        runs: The training of each seed, with its epochs; empty in lists.
        artifacts: The files that the training produced; empty in lists.
        exports: ONNX files with other options that workers wrote from its weights, or are to write; empty in lists.
        result_digest: The hash of the losses and accuracies of all epochs, without times.
        replay: For a replay, the training that it repeats, and whether every figure is the same.
        excluded: Whether you took it out of the evidence.
        warning: Why it is going to fail while it is queued, and what to do: no worker has torch; else None.
    """

    role: str
    search: str | None
    candidate_rank: int | None
    arch_id: str
    family: str
    nn_mass: float
    params: int
    macs: int
    dataset: Json
    recipe_name: str | None
    recipe_digest: str
    seeds: tuple[int, ...] = json_field(tuple)
    adaptation: Json | None = json_field(default=None)
    result: TrainingResult | None = json_field(TrainingResult.from_json)
    definition: Json = json_field(name="architecture", default_factory=dict, repr=False)
    recipe: Json = json_field(default_factory=dict, repr=False)
    runs: tuple[SeedRun, ...] = json_field(several(SeedRun), default=(), repr=False)
    artifacts: tuple[Json, ...] = json_field(tuple, default=(), repr=False)
    exports: tuple[Json, ...] = json_field(tuple, default=(), repr=False)
    result_digest: str | None = json_field(default=None)
    replay: Json | None = json_field(default=None)
    excluded: bool = json_field(default=False)
    warning: str | None = json_field(default=None)

    def to_pandas(self) -> DataFrame:
        """Return a DataFrame with one row per epoch of each seed.

        Raises:
            NotPossible: pandas is not installed.
        """
        return tables.frame([{"seed": run.seed, **epoch} for run in self.runs for epoch in run.epochs])


@dataclass(frozen=True, kw_only=True)
class Batch(FromJson):
    """Trainings of one request.

    Attributes:
        items: The trainings, best first.
        missing_controls: The controls that the space does not contain.
    """

    items: tuple[Verification, ...] = json_field(several(Verification))
    missing_controls: tuple[Json, ...] = json_field(tuple)


@dataclass(frozen=True, kw_only=True)
class CampaignTraining(FromJson):
    """A training of a campaign.

    Attributes:
        round: The round in which it was chosen, from 1.
        role: Why it is trained: `most_macs`, `random`, `best_predicted`, ..., or `confirm` for the leader at a further
            seed.
        arch_id: The id of the network.
        nn_mass: The NN-Mass of the network.
        params: Trainable parameters of the network.
        macs: Multiply-accumulates of the network for one input.
        seeds: The seeds.
        known: Whether the network had been trained before, at no cost.
        verification: The id of its training; None if that was deleted.
        status: The state of the training; None if it was deleted.
        error: Why it failed, else None.
        accuracy: The mean test accuracy over the seeds, in [0, 1]; None before the end, and without a result.
        validation_accuracy: The same on the validation images, by which networks are chosen; None where none are held
            out.
        predicted: What was predicted of it before: `accuracy`, `low`, `high` and `error`; None if nothing was.
    """

    round: int
    role: str
    arch_id: str
    nn_mass: float
    params: int
    macs: int
    seeds: tuple[int, ...] = json_field(tuple)
    known: bool
    verification: str | None
    status: str | None
    error: str | None
    accuracy: float | None
    validation_accuracy: float | None = json_field(default=None)
    predicted: Json | None = json_field(default=None)


@dataclass(frozen=True, kw_only=True)
class CampaignResult(FromJson):
    """The answer of a campaign.

    Attributes:
        best: The best measured network: `arch_id`, `architecture`, its figures, test `accuracy` and `validation` over
            the seeds by which it was chosen, `confirmed` over further seeds, and what was `predicted`; None if none was
            measured.
        chosen_by: The images on which accuracy has chosen it, `validation` or `test`; None if none was measured.
        against_random: Its accuracy less that of random networks near the budget: `n`, `value`, `low` and `high`; None
            without any.
        against_controls: The same less each network that is first by an order: `role`, `arch_id`, `accuracy`, `value`.
        trained: The number of networks that were trained for it.
        known: The number of networks that had been trained before.
        without_accuracy: The number of these networks without an accuracy.
        statement: The same in words.
    """

    best: Json | None
    chosen_by: str | None
    against_random: Json | None
    against_controls: tuple[Json, ...] = json_field(tuple)
    trained: int
    known: int
    without_accuracy: int
    statement: str


@dataclass(frozen=True, kw_only=True)
class Campaign(Job):
    """A campaign and its state.

    Attributes:
        id: The id of the campaign.
        status: `queued`, `running`, `succeeded`, `failed` or `cancelled`.
        created_at: When it was submitted.
        started_at: When a worker started it; None before.
        finished_at: When it ended; None before.
        heartbeat_at: When its worker last reported; None without such a report.
        attempts: How often a worker has started its present step.
        progress: How far it is.
        error: Why it failed, else None.
        waiting: What it waits for while it is queued: `queue`, `place` in it from 1, and `workers` that serve it.
        paused: Whether it is paused.
        family: The family of the networks.
        strategy: How networks are chosen.
        trainings: The number of networks to train.
        confirm: The number of further seeds of the best.
        rounds: The number of rounds.
        dataset: The data set.
        recipe_name: The name of the recipe, if it has one.
        recipe_digest: The hash of the recipe.
        validation: The share of the training images that is held out to choose networks by.
        seeds: The seeds at which each network is trained.
        result: The answer, once it has succeeded.
        search: The question whose networks are trained; empty in lists.
        choices: How the networks of each round were chosen: `round`, `proved`, `controls` and `fit`; empty in lists.
        items: Its trainings, in the order in which they were chosen; empty in lists.
        warning: Why its trainings are going to fail, and what to do: no worker has torch; else None.
    """

    paused: bool
    family: str
    strategy: str
    trainings: int
    confirm: int
    rounds: int
    dataset: Json
    recipe_name: str | None
    recipe_digest: str
    validation: float
    seeds: tuple[int, ...] = json_field(tuple)
    result: CampaignResult | None = json_field(CampaignResult.from_json)
    search: Json = json_field(default_factory=dict, repr=False)
    choices: tuple[Json, ...] = json_field(tuple, default=(), repr=False)
    items: tuple[CampaignTraining, ...] = json_field(several(CampaignTraining), default=(), repr=False)
    warning: str | None = json_field(default=None)

    def to_pandas(self) -> DataFrame:
        """Return a DataFrame with one row per training.

        Raises:
            NotPossible: pandas is not installed.
        """
        return tables.frame([dict(item.raw) for item in self.items])


@dataclass(frozen=True, kw_only=True)
class KnownArchitecture(Architecture):
    """An architecture stored by the service: its figures at fp32, the searches that ranked it, and what was made of it.

    Attributes:
        searches: The searches that ranked it.
        verifications: Its trainings.
        measurements: Its measurements.
        exports: Its files that workers created or are to create.
        registered: Whether you registered it.
    """

    searches: tuple[Json, ...] = json_field(tuple)
    verifications: tuple[Json, ...] = json_field(tuple)
    measurements: tuple[Json, ...] = json_field(tuple, default=())
    exports: tuple[Json, ...] = json_field(tuple, default=())
    registered: bool = json_field(default=False)


@dataclass(frozen=True, kw_only=True)
class Evidence(FromJson):
    """How well NN-Mass, params and MACs order the accuracies of trained networks.

    Attributes:
        n: The number of networks.
        runs: The number of trainings.
        overall: Spearman and Kendall correlations, each with its 95 % interval.
        bands: The same within bands of networks of equal cost: the most expensive costs at most 25 % more than the
            cheapest.
        scope: What the compared trainings share: images, inputs, classes and recipe.
        statement: The same in words, the difference to random networks first; it states when NN-Mass is no better.
        against_random: How much more accurate the networks of rankings are than random networks: `near_budget`, that
            use at least 90 % of a limit, and `random`, of similar cost; each with `n`, `value`, `low` and `high`.
        excluded: The number of trainings that you took out.
        columns: The columns that you uploaded, each on the networks that have it: `name`, `n`, the correlations of
            `column` and of the others, and `minus_nn_mass`, `minus_params` and `minus_macs`, its Spearman correlation
            less theirs.
        accuracy_column: Your column that is the accuracy; None for the test accuracy of trainings.
    """

    n: int
    runs: int
    overall: Json
    bands: tuple[Json, ...] = json_field(tuple, repr=False)
    scope: Json | None
    statement: str
    against_random: Json | None = json_field(default=None)
    excluded: int = json_field(default=0)
    columns: tuple[Json, ...] = json_field(tuple, default=(), repr=False)
    accuracy_column: str | None = json_field(default=None)


@dataclass(frozen=True, kw_only=True)
class OwnPoint(FromJson):
    """A network and the figures that you uploaded beside it.

    Attributes:
        arch_id: The id of the network.
        name: The name that you gave it; empty if none.
        family: The family of the network.
        task: The shape of one input and the number of classes.
        nn_mass: The NN-Mass of the network.
        params: Trainable parameters of the network.
        macs: Multiply-accumulates of the network for one input.
        columns: The figures, by the names of their columns.
    """

    arch_id: str
    name: str
    family: str
    task: str
    nn_mass: float
    params: int
    macs: int
    columns: Json


@dataclass(frozen=True, kw_only=True)
class Named(FromJson):
    """A data set or a recipe that can be named; `raw` has all its fields."""

    name: str
    description: str


@dataclass(frozen=True, kw_only=True)
class Readiness(FromJson):
    """Whether the service accepts requests, and what is missing.

    Attributes:
        ready: Whether the service accepts requests.
        missing: What is missing; jobs wait for workers. Work that requires `torch` is refused without it.
    """

    ready: bool
    missing: tuple[str, ...] = json_field(tuple)
