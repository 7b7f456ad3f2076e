"""Requests and responses about searches."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from app.http.cost_fields import with_costs, with_limits, with_parts
from app.http.fields import (
    DIGEST_EXAMPLE,
    UUID_EXAMPLE,
    WHOLE,
    Attempts,
    CoreVersion,
    CreatedAt,
    Depth,
    DescribedBy,
    DoneFraction,
    FailureCode,
    FailureMessage,
    FinishedAt,
    HeartbeatAt,
    Macs,
    Network,
    NetworkId,
    NextCursor,
    NnMass,
    Params,
    Precision,
    ProgressMessage,
    StartedAt,
    Status,
    Strict,
    Tag,
)
from app.jobs.waiting import Waiting
from nnmass_core.budget import MOST_BATCH, MOST_DEVICES
from nnmass_core.costs import sums
from nnmass_core.families import architecture_schema, space_schema
from nnmass_core.hardware.devices import device_schema, devices
from nnmass_core.named.presets import presets
from nnmass_core.named.scaling import around_schema
from nnmass_core.named.within import ratio_schema
from nnmass_core.request import (
    LAST_RANK,
    LONGEST_SECONDS,
    MOST_EXCLUDED,
    MOST_RESULTS,
    network_schema,
    objective_schema,
)
from nnmass_core.spaces.several import MOST_SPACES
from nnmass_core.spaces.structure import structure_schema

# untyped: pydantic has no other type that OpenAPI shows as a plain object

AROUND = around_schema(network_schema())
ONE_SPACE: list[Any] = [
    {"title": "PresetName", "type": "string", "enum": list(presets())},
    space_schema(),
    AROUND,
]
Space = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                *ONE_SPACE,
                {"type": "array", "items": {"anyOf": ONE_SPACE}, "minItems": 2, "maxItems": MOST_SPACES},
            ],
            "description": "A preset's name (`GET /v1/spaces`), a full definition, a network to look around, or a list "
            "of several: one ranking of all their networks, each once. Several spaces have the same input and the same "
            "number of classes. May be omitted with `budget.within`: then it is the preset of the family of that "
            "network for inputs of about its size, with its input, classes and all else that the preset does not vary.",
            "examples": ["densenet-cifar"],
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
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"title": "DeviceName", "type": "string", "enum": list(devices())},
                device_schema(),
                {"type": "null"},
            ]
        }
    ),
]


OneDevice = Annotated[
    Any,
    WithJsonSchema({"anyOf": [{"title": "DeviceName", "type": "string", "enum": list(devices())}, device_schema()]}),
]


AnyNetwork = Annotated[Any, WithJsonSchema(network_schema())]
OneNetwork = Annotated[Any, WithJsonSchema(architecture_schema())]
Ratio = Annotated[Any, WithJsonSchema({"anyOf": [ratio_schema(), {"type": "null"}]})]


class BudgetBody(with_limits(Strict)):  # type: ignore[misc]  # a base that the table of costs gives
    """The limits of the hardware, from above and from below. All are hard; an empty budget allows everything."""

    precision: Precision | None = Field(
        None,
        description="Precision at which bytes are counted. If omitted: the `default_precision` of the device (int8 for "
        "a microcontroller), and fp32 without a device. The stored request names it.",
        examples=["fp32"],
    )
    batch: Annotated[int, Field(ge=1, le=MOST_BATCH)] | None = Field(
        None,
        description="Inputs that run at a time, by default 1: `peak_activation_bytes` is that of all of them, and "
        "`latency_ms` their time, from a latency profile of the same batch.",
        examples=[8],
    )
    device: Device = Field(
        None,
        examples=["stm32f746"],
        description="Name of a device (`GET /v1/devices`) or a full profile. Its memory limits also apply; of two "
        "limits on the same cost, the lower one applies.",
    )
    devices: list[OneDevice] | None = Field(
        None,
        max_length=MOST_DEVICES,
        description="Several devices in place of `device`, names or profiles: architectures must fit each of them. A "
        "limit on latency holds on each that has a latency profile at the precision and batch. The default precision "
        "is that of least bytes among theirs.",
        examples=[["stm32f746", "rp2040"]],
    )
    within: AnyNetwork | None = Field(
        None,
        description="A network whose params, MACs, weights and peak activations, at the precision and batch, are "
        "limits: a name, an id or a full definition. A `max_` limit that is given replaces the one of the network.",
        examples=["mlperf-tiny-resnet8"],
    )
    ratio: Ratio = Field(
        None,
        description="Ratios of limits to the costs of `within`, by the names of costs; those of its four costs that it "
        "does not name stay at 1. It may name others: `depth`, `memory_bytes` or a cost of an installed package.",
        examples=[{"macs": 0.5}],
    )


Objective = Annotated[Any, WithJsonSchema(objective_schema())]


class SpendBody(Strict):
    """A share of the most of a cost, which networks must use."""

    quantity: Annotated[str, WithJsonSchema({"type": "string", "enum": [*sums()]})] = Field(
        description="Cost of which a share must be used: one that is a sum over the layers.", examples=["macs"]
    )
    share: float = Field(
        gt=0,
        le=1,
        description="Share of the most of the cost that any architecture within the limits uses.",
        examples=[0.95],
    )
    default: bool = Field(
        False,
        description="In a stored request: true if the question had no field `spend`, so that this is the default. It "
        "changes no answer.",
        examples=[False],
    )


Structure = Annotated[Any, WithJsonSchema({"anyOf": [structure_schema(), {"type": "null"}]})]


class Question(Strict):
    """A search request without its name, tags and note: everything that determines the result."""

    model_config = ConfigDict(json_schema_extra={"examples": [QUESTION]})

    space: Space = Field(default_factory=lambda: None)
    budget: BudgetBody = Field(default_factory=BudgetBody, description="The limits of the hardware.")
    objective: Objective = Field(
        default_factory=lambda: {"maximize": "nn_mass"},
        description="What to find: the most NN-Mass, the least or most of a cost, or a Pareto front.",
    )
    top_k: Annotated[int, Field(ge=1, le=MOST_RESULTS), WHOLE] = Field(
        10,
        description="Number of architectures to rank. Not allowed for a Pareto front, which determines its own size.",
        examples=[10],
    )
    diversity: Literal["none", "shape"] = Field(
        "none",
        description="`shape`: at most one result for each tuple of widths and depths. Not allowed for several spaces.",
        examples=["none"],
    )
    time_limit_seconds: float = Field(
        60.0,
        gt=0,
        le=LONGEST_SECONDS,
        description="Seconds after which the best found so far is the result.",
        examples=[60],
    )
    spend: SpendBody | None = Field(
        None,
        description="Leaves out architectures that use less than a share of the most of a cost that any architecture "
        "within the limits uses. Only where NN-Mass is maximized. Off if null. If omitted: 0.95 of the MACs where "
        "MACs or params are limited and every space is a preset that is not `*-free`, around a network, or that of "
        "`budget.within`; off otherwise.",
        examples=[{"quantity": "macs", "share": 0.95}],
    )
    exclude: list[AnyNetwork] = Field(
        default_factory=list,
        max_length=MOST_EXCLUDED,
        description="Networks that are no answer: names, ids or full definitions. One that the space does not contain "
        "changes nothing.",
        examples=[["mobilenet_v2"]],
    )
    first_rank: Annotated[int, Field(ge=1, le=LAST_RANK), WHOLE] = Field(
        1,
        description="Rank at which the ranking starts: 11 gives what follows the first ten. `first_rank + top_k - 1` "
        f"is at most {LAST_RANK:,}. Not allowed for a Pareto front.",
        examples=[11],
    )
    structure: Structure = Field(
        None,
        description="What the cells or stages of each network must have in common; nothing if null or omitted. A rule "
        "that means nothing for the family is refused.",
        examples=[{"widths": "never_fall"}],
    )


Name = Annotated[str, Field(max_length=200, description="Name, for people.", examples=["camera v2"])]
Tags = Annotated[
    list[Tag], Field(max_length=20, description="Tags, by which lists can be filtered.", examples=[["edge"]])
]
Note = Annotated[str, Field(max_length=10_000, description="Text, for people.", examples=["for revision C"])]


class SearchBody(Question):
    """A search to run. `name`, `tags`, `note` and `fresh` do not affect the result.

    An equal search with the same name, tags and note is not stored again. Under other ones it is, with the same result.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: Name = ""
    tags: Tags = Field(default_factory=list)
    note: Note = ""
    fresh: bool = Field(False, description="Run the search even if an equal search has succeeded.", examples=[False])


class SearchChanges(Strict):
    """Changes to a search. Omitted fields remain unchanged."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "camera v2", "tags": ["edge", "shipped"]}]})

    # factories, since a documented default would suggest that omitting a field clears it
    name: Name = Field(default_factory=str)
    tags: Tags = Field(default_factory=list, description="Replaces all tags.", examples=[["edge", "shipped"]])
    note: Note = Field(default_factory=str)


class SearchBudget(with_limits(BaseModel)):  # type: ignore[misc]  # a base that the table of costs gives
    """The limits of a complete request; those that it does not set are left out."""

    precision: Precision = Field(description="Precision at which bytes are counted.", examples=["fp32"])
    device: Device = Field(
        None,
        description="A device that comes with nnmass by its name, any other as a full profile; left out without one.",
        examples=["stm32f746"],
    )
    devices: list[OneDevice] | None = Field(
        None,
        description="Several devices in place of `device`; left out otherwise.",
        examples=[["stm32f746", "rp2040"]],
    )
    within: OneNetwork | None = Field(
        None, description="Full definition of the network that limits were taken from; left out without one."
    )
    ratio: Ratio = Field(
        None,
        description="Of each cost whose limit was taken from `within`: the ratio of the limit to it. Other limits "
        "replaced the network's.",
        examples=[{"params": 1.0, "macs": 0.5, "weight_bytes": 1.0, "peak_activation_bytes": 1.0}],
    )


class SearchRequest(BaseModel):
    """A complete request: presets resolved and defaults filled in. A Pareto front has no `top_k` and `diversity`.

    `exclude`, `first_rank` and `structure` are left out where they change nothing. `spend` is left out where there is
    none and a question without it has none, either; it is null where a question without it would have the default.
    """

    space: Annotated[
        Any,
        WithJsonSchema(
            {
                "anyOf": [space_schema(), AROUND, {"type": "array", "items": {"anyOf": [space_schema(), AROUND]}}],
                "description": "Full definition of the space, or of each of several; of a space around a network, the "
                "network's definition, what is kept of it, and the multipliers.",
            }
        ),
    ]
    budget: SearchBudget = Field(description="The limits of the hardware.")
    objective: Objective = Field(description="What to find; a reference is a full definition.")
    top_k: int = Field(10, description="Number of architectures to rank.", examples=[10])
    diversity: Literal["none", "shape"] = Field(
        "none", description="`shape`: at most one result for each tuple of widths and depths.", examples=["none"]
    )
    time_limit_seconds: float = Field(
        description="Seconds after which the best found so far is the result.", examples=[60.0]
    )
    spend: SpendBody | None = Field(None, description="A share of the most of a cost, which networks must use.")
    exclude: list[OneNetwork] = Field(
        default_factory=list, description="Full definitions of networks that are no answer."
    )
    first_rank: int = Field(1, description="Rank at which the ranking starts.", examples=[11])
    structure: Structure = Field(None, description="What the cells or stages of each network have in common.")


StoredRequest = Annotated[dict[str, Any], DescribedBy(SearchRequest)]


class Explored(BaseModel):
    """The amount of work for the proof."""

    labels: int = Field(description="Number of partial architectures that were created.", examples=[13057])
    pruned_by_bound: int = Field(
        description="Number of options and partial architectures that a bound excluded.", examples=[855393]
    )


class Reference(BaseModel):
    """A network that a certificate refers to, such as the reference of a compression."""

    arch_id: NetworkId
    nn_mass: NnMass
    params: Params
    macs: Macs


class _Beside(BaseModel):
    arch_id: NetworkId
    nn_mass: NnMass
    precision: Precision = Field(description="Precision at which bytes are counted.", examples=["fp32"])
    batch: int = Field(1, description="Inputs whose activations the figures are for.", examples=[1])


class _Widened(_Beside):
    width: float = Field(description="The multiplier, a number of hundredths up to 1.", examples=[0.71])


class UniformWidth(with_costs(_Widened, timed=False)):  # type: ignore[misc]  # a base that the table of costs gives
    """The reference with all channels times one multiplier: the widest that needs at most the MACs of the best."""

    model_config = ConfigDict(extra="allow", json_schema_extra=with_parts)

    architecture: Network


class MostSpent(with_costs(_Beside, timed=False)):  # type: ignore[misc]  # a base that the table of costs gives
    """The architecture within the limits that uses the most of the cost, which stands beside the ranking."""

    model_config = ConfigDict(extra="allow", json_schema_extra=with_parts)

    architecture: Network


class Spent(BaseModel):
    """The proof of the most of a cost, of which architectures must use a share."""

    quantity: str = Field(description="Name of the cost.", examples=["macs"])
    share: float = Field(description="Share of the most that must be used.", examples=[0.95])
    most: float = Field(
        description="The most of the cost that an architecture within the limits uses, in the unit of the cost.",
        examples=[149991424.0],
    )
    bound: float = Field(description="No architecture within the limits uses more.", examples=[149991424.0])
    optimal: bool = Field(description="True if `most` is proved.", examples=[True])
    least: float = Field(
        description="The least of the cost that architectures of the ranking use.", examples=[142491853.0]
    )
    network: MostSpent = Field(description="The architecture that uses the most; of several the one that ranks first.")


class Taken(BaseModel):
    """What the budget has from the network that it is within."""

    reference: Reference = Field(description="The network.")
    limits: dict[str, int | float] = Field(
        description="Limits that were taken from the network, each in its unit; those that others replaced are not "
        "among them. Of a device's limit on the same cost, the lower one applies.",
        examples=[{"max_params": 78186, "max_macs": 6250816}],
    )
    ratio: dict[str, float] = Field(
        description="Ratio of each of these limits to the network's cost, by the name of the cost.",
        examples=[{"params": 1.0, "macs": 0.5}],
    )


class JointRelaxation(BaseModel):
    """A common factor on all upper limits on costs; floors and limits on NN-Mass (`unchanged`) stay as they are."""

    factor: float | None = Field(
        description="Lowest factor for which the limits, multiplied by it and rounded down to whole units, admit an "
        "architecture. Null if no factor does.",
        examples=[3.5210382400000003],
    )
    limits: dict[str, float] | None = Field(
        description="Each limit multiplied by the factor, in its unit; null without a factor.",
        examples=[{"max_params": 276986, "max_macs": 44012978}],
    )
    unchanged: list[str] = Field(
        description="Limits that are not multiplied: floors and limits on NN-Mass.", examples=[["min_nn_mass"]]
    )


class SpaceShare(BaseModel):
    """What is proved of one of several spaces."""

    space: int = Field(description="Position of the space in the request, from 1.", examples=[1])
    networks: str = Field(description="Exact number of its architectures, in decimal.", examples=["4401604"])
    count: int = Field(
        description="Number of architectures of the ranking that are listed under it. One of several spaces is listed "
        "under the first of them.",
        examples=[3],
    )
    bound: float | None = Field(
        description="None of its architectures within the budget has a better objective value. Null if none fits, for "
        "a front, and if nothing is known.",
        examples=[784.13],
    )


class Result(BaseModel):
    """The certificate of a search."""

    count: int = Field(description="Number of architectures in the ranking.", examples=[10])
    optimal: bool = Field(description="True if the ranking is proved to be optimal.", examples=[True])
    objective_value: float | None = Field(
        description="Value of the objective for the best, in the unit of the objective; null without one.",
        examples=[784.13],
    )
    bound: float | None = Field(
        description="No architecture within the budget has a better objective value.", examples=[784.13]
    )
    gap: float | None = Field(description="Difference between bound and value, relative to the value.", examples=[0.0])
    best_nn_mass: float | None = Field(
        description="NN-Mass of the best, of a front the greatest; null if nothing was found.", examples=[784.13]
    )
    upper_bound: float | None = Field(
        description="The same as `bound` when NN-Mass is maximized; else null.", examples=[784.13]
    )
    space_size: str | None = Field(
        description="Exact number of distinct architectures in the space, in decimal; see `space_size_exact`. Null if "
        "the time limit was reached before the tables of the space existed.",
        examples=["170252539265024"],
    )
    space_size_exact: bool | None = Field(
        None,
        description="False if `space_size` is an upper bound: several spaces may share architectures that could not be "
        "counted once. Null if it is exact.",
        examples=[False],
    )
    spaces: list[SpaceShare] | None = Field(None, description="Of several spaces: what is proved of each.")
    feasible: bool | None = Field(
        description="Whether an architecture fits. Null if the time limit was reached before an architecture within "
        "the budget was found.",
        examples=[True],
    )
    binding: list[str] | None = Field(
        description="Limits each of whose removal improves the optimum; null if the time limit was reached.",
        examples=[["max_params", "max_macs"]],
    )
    relaxation: dict[str, float | None] | None = Field(
        description="If nothing fits: the nearest feasible value of each limit with the other limits unchanged, in the "
        "unit of the limit: the lowest of an upper limit, the highest of a lower one. Null where no value is feasible.",
        examples=[{"max_params": 31250, "max_macs": None}],
    )
    joint_relaxation: JointRelaxation | None = Field(
        None,
        description="If nothing fits and no single limit suffices: the lowest common factor on all limits that admits "
        "an architecture, proved. Null otherwise, and if the time limit was reached first.",
    )
    value_proved: bool | None = Field(
        None,
        description="If `optimal` is false: whether the value of the best is proved, so that only ties with it and the "
        "later ranks are open. Null otherwise, and for a front.",
        examples=[True],
    )
    unfinished: list[str] | None = Field(
        None,
        description="What the time limit left open besides the ranking: `binding`, `relaxation`, "
        "`joint_relaxation`, or `tables` if there was no time to search. Null if nothing.",
        examples=[["relaxation"]],
    )
    caveats: list[str] = Field(
        description="Codes of what makes the comparison by NN-Mass less fair.", examples=[["widths_differ"]]
    )
    explored: Explored = Field(description="The amount of work for the proof.")
    elapsed_seconds: float = Field(description="Time that the search took, in seconds.", examples=[0.42])
    reference: Reference | None = Field(None, description="Compression: the reference network with its figures.")
    savings: dict[str, float] | None = Field(
        None,
        description="Compression: ratio of the reference's params and MACs to those of the best.",
        examples=[{"params": 2.1, "macs": 1.7}],
    )
    uniform: UniformWidth | None = Field(
        None,
        description="With a reference: the same with one multiplier of all channels. Null where the family has none, "
        "or where nothing was found.",
    )
    resolution: dict[str, int | float] | None = Field(
        None,
        description="Pareto front: for each missing point there is one here with as much NN-Mass that costs at most "
        "this much more, in the unit of each cost; null if exact.",
        examples=[{"params": 1024}],
    )
    thinned_from: int | None = Field(
        None,
        description="Pareto front with `points`: the number of points that were found, where it is larger. What is "
        "proved is said of all of them.",
        examples=[1276],
    )
    spent: Spent | None = Field(
        None,
        description="With `spend`: the proof of the most of its cost; null without it, or if nothing was found.",
    )
    first_rank: int = Field(
        1,
        description="Rank at which the ranking starts. What is said of the best is said of rank 1, even where the "
        "ranking starts below it.",
        examples=[1],
    )
    within: Taken | None = Field(
        None, description="With `budget.within`: the limits that were taken from the network; null without it."
    )


class SearchProgress(BaseModel):
    """Progress of a search."""

    fraction: DoneFraction
    message: ProgressMessage


class SearchError(BaseModel):
    """Why a search failed."""

    code: FailureCode
    message: FailureMessage


Outcome = Literal["proved", "not_proved", "nothing_fits", "nothing_found"]
"""What a search that has succeeded has proved: `nnmass.formatting.OUTCOMES`."""


class SearchAnswer(BaseModel):
    """A search and its status."""

    id: UUID = Field(description="Id of the search.", examples=[UUID_EXAMPLE])
    status: Status
    outcome: Outcome | None = Field(
        description="What a succeeded search has proved. `proved`: the ranking or front is the true one. "
        "`nothing_fits`: no architecture does, proved. At the time limit: `not_proved`, or `nothing_found` without any "
        "architecture. Null before.",
        examples=["proved"],
    )
    name: str = Field(description="Name, for people; empty if it has none.", examples=["camera v2"])
    tags: list[str] = Field(description="Tags, by which lists can be filtered.", examples=[["edge"]])
    note: str = Field(description="Text, for people; empty if there is none.", examples=["for revision C"])
    family: Annotated[
        str,
        Field(description="Family of the networks; `several` of spaces of different ones.", examples=["densenet_cnn"]),
    ]
    created_at: CreatedAt
    started_at: StartedAt
    finished_at: FinishedAt
    heartbeat_at: HeartbeatAt
    attempts: Attempts
    reused: bool = Field(
        description="True if the result is that of an earlier equal request, or will be once that one has ended.",
        examples=[False],
    )
    reused_from: UUID | None = Field(
        description="Id of the search that computed the result, which may have been deleted; null if it is this one.",
        examples=[UUID_EXAMPLE],
    )
    request: StoredRequest = Field(description="The request with all its fields, as it was stored.")
    request_digest: str = Field(
        description="Digest of the request; equal for equal requests.", examples=[DIGEST_EXAMPLE]
    )
    result_digest: str | None = Field(
        description="Digest of ranking and certificate, without times and work; null until it has succeeded.",
        examples=[DIGEST_EXAMPLE],
    )
    core_version: CoreVersion
    result: Result | None = Field(description="The certificate; null until it has succeeded.")
    error: SearchError | None = Field(description="Why it failed; null unless it has failed.")
    progress: SearchProgress = Field(description="How far it is.")
    waiting: Waiting | None = Field(description="What a queued search waits for; null in every other state.")


class SearchList(BaseModel):
    """One page of the history, newest first."""

    items: list[SearchAnswer] = Field(description="The searches of the page.")
    next_cursor: NextCursor


class PredictedAccuracy(BaseModel):
    """Predicted test accuracy, from trained networks with the same widths and inputs."""

    value: float = Field(description="Predicted test accuracy in [0, 1].", examples=[0.934])
    low: float = Field(description="Lower end of the 95 % prediction interval for one more network.", examples=[0.925])
    high: float = Field(description="Upper end of the 95 % prediction interval for one more network.", examples=[0.943])
    n: int = Field(description="Number of trained networks.", examples=[16])
    extrapolated: bool = Field(description="True if the NN-Mass is outside their range.", examples=[False])
    dataset: str = Field(description="Key of the dataset that they were trained on.", examples=["mnist-5k"])
    recipe: str = Field(description="Name of their recipe, or its digest.", examples=["mlp-paper"])


class EstimatedLatency(BaseModel):
    """Details of an estimated latency: the device, and the error of its profile on networks that were not fitted."""

    kind: Literal["estimated"] = Field(description="How it was found.", examples=["estimated"])
    device: str = Field(description="Name of the device.", examples=["my-board"])
    low_ms: float = Field(description="Lower end of the expected range of a measurement, in ms.", examples=[4.0])
    high_ms: float = Field(description="Upper end of the expected range of a measurement, in ms.", examples=[6.25])
    median_error: float = Field(description="Median of |estimated / measured - 1|.", examples=[0.1])
    measure: Literal["latency", "throughput"] = Field(
        "latency",
        description="What the milliseconds are: `latency`, of one run, or `throughput`, 1,000 by the images of a "
        "second.",
        examples=["latency"],
    )
    batch: int = Field(1, description="Images of a run.", examples=[1])
    outside: list[str] = Field(
        [],
        description="Fields of the network outside the range of the networks that the profile was fitted to.",
        examples=[["input.height"]],
    )


class DeviceFit(BaseModel):
    """How an architecture fits one of several devices."""

    device: str = Field(description="Name of the device.", examples=["rp2040"])
    slack: dict[str, int | float] = Field(
        description="Distance to each limit of the device, and to a limit on latency, in the unit of the limit.",
        examples=[{"max_weight_bytes": 1998848, "max_peak_activation_bytes": 40960}],
    )
    latency_ms: float | None = Field(
        description="Estimated latency on the device, in ms; null without a profile at the precision and batch.",
        examples=[5.0],
    )


class _Place(BaseModel):
    rank: int | None = Field(
        description="Position in the ranking, from 1; null on a Pareto front, whose points have no rank.", examples=[1]
    )
    point: int | None = Field(
        None,
        description="Pareto front: position along it, from 1, ascending in its first cost; null in a ranking.",
        examples=[None],
    )
    arch_id: NetworkId
    nn_mass: NnMass
    precision: Precision = Field(description="Precision at which bytes are counted.", examples=["fp32"])
    batch: int = Field(1, description="Inputs whose activations and latency the figures are for.", examples=[1])


class RankedItem(with_costs(_Place, timed=True)):  # type: ignore[misc]  # a base that the table of costs gives
    """One architecture of the ranking, or one point of the front; `cells` or `stages` has the figures of each part."""

    model_config = ConfigDict(extra="allow", json_schema_extra=with_parts)

    latency: EstimatedLatency | None = Field(None, description="Details of the estimate `latency_ms`.")
    architecture: Network
    slack: dict[str, int | float] = Field(
        description="Distance to each limit of the budget, in the unit of the limit.",
        examples=[{"max_params": 294, "max_macs": 240512}],
    )
    nn_mass_per_width: float | None = Field(
        None,
        description="Sum of NN-Mass / width over the cells or stages, without a unit; null in rankings that were "
        "stored without it.",
        examples=[23.2],
    )
    unused: dict[str, float] | None = Field(
        None,
        description="Share of each upper limit of the budget that is unused, from 0 to 1; null in rankings that were "
        "stored without it.",
        examples=[{"max_params": 0.0003, "max_macs": 0.0024}],
    )
    space: int | None = Field(
        None,
        description="Of several spaces: the position of the first that has the architecture, from 1.",
        examples=[1],
    )
    devices: list[DeviceFit] | None = Field(
        None, description="Of a budget with several devices: how the architecture fits each of them."
    )
    caveats: list[str] | None = Field(
        None,
        description="Codes of what makes the network unusual; null in rankings that were stored without them.",
        examples=[["channels_below_8"]],
    )
    predicted_accuracy: PredictedAccuracy | None = Field(None, description="Null if there is not enough evidence.")


class RankedPage(BaseModel):
    """One page of the ranking, best first."""

    items: list[RankedItem] = Field(description="The architectures of the page.")
    next_cursor: NextCursor


class PreviewAnswer(BaseModel):
    """The result of a search that is not stored."""

    request: StoredRequest = Field(description="The complete request.")
    outcome: Outcome = Field(description="What is proved, as in a stored search.", examples=["proved"])
    result: Result = Field(description="The certificate.")
    items: list[RankedItem] = Field(description="The ranking, best first.")


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
        description="Dotted path of the field, such as `result.gap` or `best.architecture.cells.0.width`.",
        examples=["request.budget.max_params"],
    )
    values: list[JsonValue] = Field(
        description="Values in the order of `items`; null if a search does not have the field.",
        examples=[[1000000, 500000]],
    )


class SharedArchitecture(BaseModel):
    """An architecture that two or more of the searches ranked."""

    arch_id: NetworkId
    ranks: list[int | None] = Field(
        description="Rank in each search, in the order of `items`; null where it is not ranked, and in a front.",
        examples=[[1, 3]],
    )
    points: list[int | None] = Field(
        description="Position in each search that is a Pareto front, in the same order; null in the others.",
        examples=[[None, None]],
    )
    nn_mass: NnMass
    params: Params
    macs: Macs
    depth: Depth


class Shared(BaseModel):
    """Architectures that appear in several rankings."""

    count: int = Field(description="Number of architectures in two or more rankings.", examples=[4])
    in_all: int = Field(description="Number of architectures in all rankings.", examples=[4])
    items: list[SharedArchitecture] = Field(description="The first 100, by number of rankings, then by rank.")


class Comparison(BaseModel):
    """A comparison of searches."""

    items: list[ComparedSearch] = Field(description="In the order of the request.")
    differences: list[Difference] = Field(
        description="Differences in requests, versions, certificates and best architectures, except times and work."
    )
    shared: Shared = Field(description="Architectures that several of the searches ranked.")
