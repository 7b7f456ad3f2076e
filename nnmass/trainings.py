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
    """Test accuracy over the seeds; `std` is that of a sample, None for one seed."""

    mean: float
    std: float | None
    by_seed: tuple[Json, ...] = json_field(tuple)


@dataclass(frozen=True, kw_only=True)
class TrainingResult(FromJson):
    """The result of a training, and what a reader needs to repeat it.

    measured: params, MACs and latency of the built module. seconds: spent in epochs, over all seeds. confusion: counts
    of test images, `matrix[true][predicted]`; None in lists.
    """

    accuracy: Accuracy = json_field(Accuracy.from_json)
    measured: Json
    device: str
    seconds: float
    versions: Json
    confusion: Json | None = json_field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class SeedRun(FromJson):
    """The training of one seed: its epochs' losses and accuracies, and its accuracy once it has ended."""

    seed: int
    accuracy: float | None
    epochs: tuple[Json, ...] = json_field(tuple, repr=False)


@dataclass(frozen=True, kw_only=True)
class Verification(Job):
    """A training of a network and its state.

    role: `single`, `candidate`, `params_control` or `random_control`. candidate_rank: the rank of the candidate, or of
    the candidate that it is a control of. runs, artifacts and definition are empty in lists.
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
    result: TrainingResult | None = json_field(TrainingResult.from_json)
    definition: Json = json_field(name="architecture", default_factory=dict, repr=False)
    recipe: Json = json_field(default_factory=dict, repr=False)
    runs: tuple[SeedRun, ...] = json_field(several(SeedRun), default=(), repr=False)
    artifacts: tuple[Json, ...] = json_field(tuple, default=(), repr=False)
    result_digest: str | None = json_field(default=None)
    replay: Json | None = json_field(default=None)

    def to_pandas(self) -> DataFrame:
        """Return a DataFrame with one row per epoch of each seed. Raises NotPossible where pandas is not installed."""
        return tables.frame([{"seed": run.seed, **epoch} for run in self.runs for epoch in run.epochs])


@dataclass(frozen=True, kw_only=True)
class Batch(FromJson):
    """Trainings of one request, best first; missing_controls: the controls that the space does not contain."""

    items: tuple[Verification, ...] = json_field(several(Verification))
    missing_controls: tuple[Json, ...] = json_field(tuple)


@dataclass(frozen=True, kw_only=True)
class KnownArchitecture(Architecture):
    """An architecture stored by the service: its figures at fp32, the searches that ranked it, and its trainings."""

    searches: tuple[Json, ...] = json_field(tuple)
    verifications: tuple[Json, ...] = json_field(tuple)


@dataclass(frozen=True, kw_only=True)
class Evidence(FromJson):
    """How well NN-Mass, params and MACs order the accuracies of trained networks.

    n: networks. runs: trainings. overall: Spearman and Kendall correlations, each with its 95 % interval. statement:
    the same in words; it states when NN-Mass is no better.
    """

    n: int
    runs: int
    overall: Json
    bands: tuple[Json, ...] = json_field(tuple, repr=False)
    scope: Json | None
    statement: str


@dataclass(frozen=True, kw_only=True)
class Named(FromJson):
    """A data set or a recipe that can be named; `raw` has all its fields."""

    name: str
    description: str


@dataclass(frozen=True, kw_only=True)
class Readiness(FromJson):
    """Whether the service accepts requests, and what is missing; jobs wait for workers."""

    ready: bool
    missing: tuple[str, ...] = json_field(tuple)
