"""The results of searches and evaluations: the same types from the local functions and from the client.

NN-Mass and costs are exact figures of the closed forms. MACs are multiply-accumulates for one input; bytes are those of
the requested precision; accuracies lie in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, overload

from nnmass import formatting, tables
from nnmass.json_fields import FromJson, Json, json_field, moment
from nnmass_core.codec import JsonObject
from nnmass_core.costs import COSTS
from nnmass_core.export.parts import parts_of

if TYPE_CHECKING:
    from pandas import DataFrame

ENDED = ("succeeded", "failed", "cancelled")
"""The states that a search or a training does not leave without a request."""


@dataclass(frozen=True, kw_only=True)
class Certificate(FromJson):
    """What a search claims and can prove.

    Attributes:
        count: The number of architectures in the ranking, from `first_rank` on.
        optimal: The ranking (or front) is proved to be the true one.
        objective_value: The objective's value of the best; None for a front, or when nothing was found.
        bound: No architecture within the budget has a better value.
        gap: The distance between value and bound, relative to the value.
        best_nn_mass: The NN-Mass of the best (of a front: the greatest); None when nothing was found.
        upper_bound: `bound` where NN-Mass is maximized.
        space_size: The number of distinct architectures; see `space_size_exact`. None when the time ran out before the
            tables of the space existed.
        feasible: Whether an architecture fits; None when the time ran out before one was found.
        binding: The limits whose removal would improve the best; None when the time ran out.
        relaxation: If nothing fits, for each limit the least value that is feasible with the other limits unchanged.
        joint_relaxation: If nothing fits and raising a single limit is not enough, the least `factor` on all of them
            that is, the `limits` that it gives, and the lower limits that stay `unchanged`.
        value_proved: If the ranking is not proved, whether the value of its best is.
        unfinished: What the time limit left open besides the ranking: `binding`, `relaxation`, `joint_relaxation`, or
            `tables` where there was no time to search.
        caveats: Codes of what makes the comparison by NN-Mass less fair, such as `widths_differ`.
        explored: Partial architectures that the engine created (`labels`), and what it excluded by a bound.
        elapsed_seconds: The duration of the search in seconds.
        reference: The reference of compress.
        savings: How many times fewer params and MACs the best has than the reference of compress.
        uniform: With a reference, the network that one multiplier of all stages' channels (`width`) makes of it with at
            most the MACs of the best.
        resolution: Of an incomplete Pareto front, by cost: each missing point has one here with as much NN-Mass that
            costs at most this much more.
        thinned_from: Of a Pareto front that was thinned to `points`, the number of points that were found.
        spent: With `spend`, the `most` of its cost within the limits and whether it is proved, the `least` that the
            networks use, and the `network` that uses the most, with all its figures.
        first_rank: The rank at which the ranking starts. What is said of the best is said of rank 1.
        spaces: Of several spaces, for each: its position from 1 (`space`), its `networks`, how many of the ranking are
            listed under it (`count`), and the `bound` that none of its networks exceeds.
        space_size_exact: False where `space_size` is an upper bound: several spaces may share networks that could not
            be counted once; else None.
        within: Of a budget within a reference: the `reference`, the `limits` that were taken from it, and the `ratio`
            of each to its cost, by the cost's name.
    """

    count: int
    optimal: bool
    objective_value: float | None
    bound: float | None
    gap: float | None
    best_nn_mass: float | None
    upper_bound: float | None
    space_size: int | None = json_field(int)
    feasible: bool | None
    binding: tuple[str, ...] | None = json_field(tuple)
    relaxation: Json | None
    joint_relaxation: Json | None = json_field(default=None)
    value_proved: bool | None = json_field(default=None)
    unfinished: tuple[str, ...] | None = json_field(tuple, default=None)
    caveats: tuple[str, ...] = json_field(tuple)
    explored: Json
    elapsed_seconds: float = json_field(compare=False)
    reference: Json | None = json_field(default=None)
    savings: Json | None = json_field(default=None)
    uniform: Json | None = json_field(default=None)
    resolution: Json | None = json_field(default=None)
    thinned_from: int | None = json_field(default=None)
    spent: Json | None = json_field(default=None)
    first_rank: int = json_field(default=1)
    spaces: list[Json] | None = json_field(default=None)
    space_size_exact: bool | None = json_field(default=None)
    within: Json | None = json_field(default=None)

    @property
    def outcome(self) -> str:
        """What is proved: `proved`, `not_proved`, `nothing_fits` (proved) or `nothing_found` (out of time)."""
        return formatting.outcome(vars(self))


@dataclass(frozen=True, kw_only=True)
class Architecture(FromJson):
    """A network with its figures.

    Attributes:
        arch_id: The hash of the canonical definition: the same network always has the same id.
        nn_mass: The NN-Mass.
        params: Trainable parameters.
        macs: Multiply-accumulates for one input.
        weight_bytes: Bytes of the stored weights, at the requested precision.
        peak_activation_bytes: Peak bytes of activations for the inputs of a batch, at the requested precision.
        precision: The precision at which bytes are counted; None of a service of an earlier release.
        depth: Layers on the longest path, without the head, as the family counts them.
        batch: The inputs whose activations and latency the figures are for.
        rank: The rank in a ranking, from 1, else None: a point of a Pareto front has no rank.
        point: The number of a point of a Pareto front, from 1, ascending in its first cost, else None.
        space: Of several spaces, the position of the first that has the network, from 1; None for others.
        latency_ms: The estimate for a batch in milliseconds, if the budget's device has a latency model.
        latency: The device of the estimate, and the band in which a measurement should lie.
        slack: The distance to each limit of a ranking's budget, in its unit, else empty.
        unused: The share of each upper limit of a ranking's budget that is unused, from 0 to 1; None where it is not
            known.
        nn_mass_per_width: The sum of NN-Mass / width over its cells or stages; None where it is not known.
        devices: Of a budget with several devices, the slack and the latency on each; None for others.
        caveats: Codes of what makes the network unusual, such as `channels_below_8`; None where they are not known.
        definition: Determines its layers; training, export and diagrams use it.
        predicted_accuracy: The predicted accuracy with its interval, where the service has evidence.
    """

    arch_id: str
    nn_mass: float
    params: int
    macs: int
    weight_bytes: int
    peak_activation_bytes: int
    precision: str | None = json_field(default=None)
    depth: int
    batch: int = json_field(default=1)
    rank: int | None = json_field(default=None)
    point: int | None = json_field(default=None)
    space: int | None = json_field(default=None)
    latency_ms: float | None = json_field(default=None)
    latency: Json | None = json_field(default=None)
    slack: Json = json_field(default_factory=dict)
    unused: Json | None = json_field(default=None)
    nn_mass_per_width: float | None = json_field(default=None)
    devices: list[Json] | None = json_field(default=None)
    caveats: tuple[str, ...] | None = json_field(tuple, default=None)
    definition: Json = json_field(
        name="architecture", default_factory=dict, repr=False, compare=False
    )  # its id is compared
    predicted_accuracy: Json | None = json_field(default=None, compare=False)

    @property
    def costs(self) -> Json:
        """Its costs by their names, those of installed packages included; None where one is not known."""
        return {name: self.raw.get(name) for name in COSTS}

    @property
    def parts(self) -> tuple[Json, ...]:
        """Its cells or stages, from input to output."""
        return parts_of(self.raw)

    @property
    def shape(self) -> str:
        """Its cells or stages in short form, such as `16x7, 76 · 48x5, 140`: width x depth, skip channels."""
        return formatting.shape(self.raw)


class Architectures(Sequence[Architecture]):
    """Architectures in order, shown as a table by pandas and notebooks.

    Args:
        items: The architectures.
    """

    def __init__(self, items: Sequence[Architecture]) -> None:
        self.items = tuple(items)

    @overload
    def __getitem__(self, index: int) -> Architecture: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Architecture]: ...

    def __getitem__(self, index: int | slice) -> Architecture | Sequence[Architecture]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Architecture]:
        return iter(self.items)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # as of every sequence that holds dictionaries

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)}>"

    def to_pandas(self) -> DataFrame:
        """Return a DataFrame with one row per network.

        Figures have their names, the slack under each limit is `slack_max_params`, the share of an upper limit that is
        unused `unused_max_params`, and the width (or channels) of each cell or stage is `width_1`, `width_2` and so on.
        Bytes are those of the column `precision`. Where the input's resolution varies, it is in `input_height` and
        `input_width`.

        Raises:
            NotPossible: pandas is not installed.
        """
        return tables.frame_of([item.raw for item in self], self._caveats)

    def _repr_html_(self) -> str:
        return tables.html_of([item.raw for item in self], caveats=self._caveats)

    @property
    def _caveats(self) -> tuple[str, ...]:
        return ()


class Answer(Architectures):
    """The result of a search: its ranking, best first (for a front: ascending in its first cost), and the certificate.

    Args:
        items: The ranking.
        certificate: What the search claims and can prove.
        request: The complete request, presets resolved and defaults filled in.
        search: The stored search of a service, else None.
    """

    def __init__(
        self, items: Sequence[Architecture], certificate: Certificate, request: Json, search: Search | None = None
    ) -> None:
        super().__init__(items)
        self.certificate = certificate
        self.request = request
        self.search = search

    @classmethod
    def from_json(cls, data: Json, request: Json, search: Search | None = None) -> Answer:
        """Read it from `{"result": ..., "items": [...]}`.

        Args:
            data: The JSON object with the certificate as `result`, and the ranking as `items`.
            request: The complete request.
            search: The stored search of a service, else None.

        Raises:
            ServiceError: A required field of the certificate or of an architecture is missing or wrong.
        """
        items = [Architecture.from_json(item) for item in data["items"]]
        return cls(items, Certificate.from_json(data["result"]), request, search)

    @property
    def best(self) -> Architecture | None:
        """The first of the ranking; None when nothing was found, and for a Pareto front, where none is the best."""
        return self.items[0] if self.items and "pareto" not in self.request["objective"] else None

    def to_json(self) -> JsonObject:
        """Return all of it as one JSON-ready document."""
        items = [dict(item.raw) for item in self]
        search = None if self.search is None else dict(self.search.raw)
        return {
            "request": dict(self.request),
            "outcome": self.certificate.outcome,
            "result": dict(self.certificate.raw),
            "items": items,
            "search": search,
        }

    def __eq__(self, other: object) -> bool:
        """Compare requests and results, whether they were computed locally or by a service."""
        return isinstance(other, Answer) and self._identity() == other._identity()

    __hash__ = None

    def _identity(self) -> tuple[object, ...]:
        return self.items, self.certificate, self.request

    def __str__(self) -> str:
        return formatting.certificate(self.certificate.raw, self.request)

    def __repr__(self) -> str:
        return f"<Answer: {self}>"

    def _repr_html_(self) -> str:
        return tables.html_of([item.raw for item in self], str(self), self._caveats, [self.request])

    @property
    def _caveats(self) -> tuple[str, ...]:
        return self.certificate.caveats


@dataclass(frozen=True, kw_only=True)
class Progress(FromJson):
    """The progress of an operation.

    Attributes:
        fraction: The fraction that is done, in [0, 1].
        message: What happens now, in words.
    """

    fraction: float
    message: str


@dataclass(frozen=True, kw_only=True)
class Event(Progress):
    """An event of a search or a training.

    Attributes:
        fraction: The fraction of the job that is done, in [0, 1].
        message: What happens now, in words.
        id: A number that increases; a stream resumes after the last id.
        name: `status`, `progress` or `done`.
        status: The state of the search or training.
        at: The time of the event.
        epoch: The figures of a training's epoch that has just ended.
    """

    id: int
    name: str
    status: str
    at: datetime = json_field(moment)
    epoch: Json | None = json_field(default=None)


@dataclass(frozen=True, kw_only=True)
class Failure(FromJson):
    """Why a search or a training failed.

    Attributes:
        code: The stable name of the reason, meant for programs.
        message: The reason, for people.
    """

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Job(FromJson):
    """The common fields of searches and trainings. attempts: how often a worker has started it."""

    id: str
    status: str
    created_at: datetime = json_field(moment)
    started_at: datetime | None = json_field(moment)
    finished_at: datetime | None = json_field(moment)
    heartbeat_at: datetime | None = json_field(moment)
    attempts: int
    progress: Progress = json_field(Progress.from_json)
    error: Failure | None = json_field(Failure.from_json)
    waiting: Json | None = json_field(default=None)

    @property
    def ended(self) -> bool:
        """Whether it stays in its state without a request."""
        return self.status in ENDED


@dataclass(frozen=True, kw_only=True)
class Search(Job):
    """A search and its state.

    Attributes:
        id: The id of the search.
        status: `queued`, `running`, `succeeded`, `failed` or `cancelled`.
        created_at: When it was submitted.
        started_at: When a worker started it; None before.
        finished_at: When it ended; None before.
        heartbeat_at: When its worker last reported; None without such a report.
        attempts: How often a worker has started it.
        progress: How far it is.
        error: Why it failed, else None.
        waiting: What it waits for while it is queued: `queue`, `place` in it from 1, and `workers` that serve it.
        name: The name given on submission.
        tags: The tags given on submission.
        note: The note given on submission.
        family: The family of networks of its space.
        reused: Whether the result is from an earlier equal request, or will be once that one has ended.
        request: The complete request, presets resolved and defaults filled in.
        request_digest: The hash of the request: equal requests to the same core have equal digests.
        result_digest: The hash of ranking and certificate, equal for every complete run of one request.
        core_version: The version of `nnmass_core` that ran it.
        outcome: What it has proved, once it has succeeded: `proved`, `not_proved`, `nothing_fits` or `nothing_found`.
            None before, and of a service of an earlier release.
        result: The certificate, once it has succeeded.
        reused_from: The id of the search that computed the result, where that is another one.
    """

    name: str
    tags: tuple[str, ...] = json_field(tuple)
    note: str
    family: str
    reused: bool
    request: Json = field(repr=False)
    request_digest: str
    result_digest: str | None
    core_version: str
    outcome: str | None = json_field(default=None)
    result: Certificate | None = json_field(Certificate.from_json)
    reused_from: str | None = json_field(default=None)


@dataclass(frozen=True, kw_only=True)
class Comparison(FromJson):
    """A comparison of searches.

    Attributes:
        items: The compared searches, in the order of the request.
        differences: Where they differ: each has a field and its values.
        shared: Which architectures they share.
    """

    items: tuple[Json, ...] = json_field(tuple)
    differences: tuple[Json, ...] = json_field(tuple)
    shared: Json


@dataclass(frozen=True, kw_only=True)
class NamedSpace(FromJson):
    """A named space.

    Attributes:
        name: The name by which searches refer to the space.
        family: The family of its networks.
        description: A sentence about the purpose of the space.
        space_size: The exact number of its distinct architectures.
    """

    name: str
    family: str
    description: str
    space_size: int = json_field(int)


@dataclass(frozen=True, kw_only=True)
class NamedDevice(FromJson):
    """A device that a search can name.

    Attributes:
        name: The name by which searches refer to the device.
        title: The name of the device, for people.
        flash_bytes: The bytes for weights; None where the device sets no limit.
        ram_bytes: The bytes for activations; None where the device sets no limit.
        source: The source of these figures.
        note: Which part or board it is, and what the figures exclude.
        limits: The limits that it sets.
        default_precision: The precision of a search that names the device and no precision: int8 for a
            microcontroller. None where the service is of an earlier release.
        latency: Measured times of operators, with the error on held-out networks, if there are any.
        own: A profile of yours, not a device built into nnmass.
    """

    name: str
    title: str
    flash_bytes: int | None
    ram_bytes: int | None
    source: str
    note: str
    limits: Json
    default_precision: str | None = json_field(default=None)
    latency: Json | None = json_field(default=None)
    own: bool = json_field(default=False)


__all__ = [
    "Answer",
    "Architecture",
    "Architectures",
    "Certificate",
    "Comparison",
    "Event",
    "Failure",
    "Job",
    "NamedDevice",
    "NamedSpace",
    "Progress",
    "Search",
]
