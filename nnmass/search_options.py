"""The options of a search as plain Python values, and the request bodies made from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from nnmass.amounts import Amount, bound_of
from nnmass.results import Architecture
from nnmass_core.costs import (
    KEPT_PARAMS,
    KEPT_STAGES,
    NO_COSTS,
    USUAL_KEPT,
    costs_by_floor,
    costs_by_limit,
    limit_names,
)
from nnmass_core.errors import DefinitionError

# untyped: the options of a TypedDict, by a name that is known when it runs

Definition = Mapping[str, Any] | Architecture
"""A network: its definition in JSON form, or an architecture of a result."""

OneSpace = str | Mapping[str, Any]
"""A named space (`densenet-cifar`), a full definition, or a network to look around (`{"around": "resnet50"}`)."""

Space = OneSpace | Sequence[OneSpace]
"""A space, or 2 to 8 of them for the same input and classes."""

Reference = str | Definition
"""A network to match: the name of a well-known one (`mobilenet_v2`), an `arch_id`, or a definition."""

Multipliers = float | Sequence[float] | Mapping[str, float]
"""Multipliers of width or depth: one number, several, or a range (`{"min": 0.5, "max": 1.5, "step": 0.1}`)."""

Share = float | Literal["usual"] | None
"""A share that is kept of a reference; `usual` is 0.8 of each stage and 0.95 of the params, and none with a ratio."""

Ratio = float | Mapping[str, float]
"""A share of a reference's MACs, or shares by cost: `{"macs": 0.5, "params": 0.6}`."""

RANKED = ("top_k", "first_rank", "diversity", "time_limit_seconds")


class SearchOptions(TypedDict, total=False):
    """The options of a search; all of them are optional.

    All limits are hard; each is a whole number or a text such as "1.2M" or "300 KB". The limit on a cost of an
    installed package (`nnmass_core.costs`) is also given by its name.

    Attributes:
        max_params: Trainable parameters.
        max_macs: Multiply-accumulates for one input.
        max_weight_bytes: Bytes of stored weights at `precision`.
        max_peak_activation_bytes: Peak bytes of activations for `batch` inputs, at `precision`.
        max_latency_ms: Milliseconds for `batch` inputs, as the device's profile estimates them; a number or a text such
            as "5 ms".
        max_depth: Layers on the longest path, without the head, as the family counts them.
        max_memory_bytes: Bytes of weights and activations together; not for Pareto fronts.
        min_params: The fewest trainable parameters.
        min_macs: The fewest multiply-accumulates.
        min_weight_bytes: The fewest bytes of stored weights.
        min_latency_ms: The fewest milliseconds.
        min_depth: The fewest layers.
        min_nn_mass: The least NN-Mass, a number; for a minimized cost it may be here or in the objective.
        max_nn_mass: The greatest NN-Mass, a number.
        max_density: The greatest density of any cell, from 0 to 1, for families whose cells have a density.
        device: A device by its name, or a profile as `nnmass calibrate` writes it; its memory limits apply in addition
            to the others.
        devices: Several devices in place of one: networks must fit each of them, and a limit on latency holds on each
            that has a latency profile at the precision.
        within: A network whose params, MACs, weights and peak activations are limits, at `precision` and `batch`: a
            name, a definition, an architecture of an answer, or an id (with a service). A `max_` limit replaces its
            own.
        ratio: Ratios of limits to the costs of `within`, such as `{"macs": 0.5}`; the costs that it does not name stay
            at 1.
        precision: `fp32`, `fp16` or `int8`; by default that of the device (int8 for a microcontroller), and fp32
            without a device.
        batch: How many inputs run at a time, by default 1: their activations are in memory together, and a latency is
            theirs, from a profile of the same batch.
        objective: `{"maximize": "nn_mass"}` (default) or a cost that is a sum, such as `{"maximize": "params"}`;
            `{"minimize": "params" | "macs" | "weight_bytes" | "peak_activation_bytes" | "latency_ms" | "depth",
            "min_nn_mass": 755}` with or without the NN-Mass; or `{"pareto": ["nn_mass", "macs"]}`, with one cost or
            two, and with `"points": 50` for at most as many points of it.
        spend: `{"quantity": "macs", "share": 0.95}` leaves out networks that use less than this share of the most MACs
            that any network within the limits uses; None leaves out none. Without it 0.95 of the MACs are used where
            NN-Mass is maximized, MACs or params are limited, and the space keeps proportions: a preset that is not
            `*-free`, around a network, or that of `within`.
        exclude: Networks that are no answer, at most 100: names, ids (with a service), definitions, or architectures of
            an answer.
        structure: What the cells or stages of each network must have in common: any of `{"widths": "equal" |
            "never_fall", "density": "equal", "skip_channels": "equal"}`.
        top_k: How many architectures to rank, 1 to 1,000, by default 10.
        first_rank: The rank at which the ranking starts, by default 1: 11 gives what follows the first ten.
            `first_rank + top_k - 1` is at most 10,000.
        diversity: `shape` gives at most one result for each tuple of widths and depths.
        time_limit_seconds: After it the best result so far is returned, marked as not proved; above 0 and at most
            3,600, by default 60.
    """

    max_params: Amount | None
    max_macs: Amount | None
    max_weight_bytes: Amount | None
    max_peak_activation_bytes: Amount | None
    max_latency_ms: Amount | None
    max_depth: Amount | None
    max_memory_bytes: Amount | None
    min_params: Amount | None
    min_macs: Amount | None
    min_weight_bytes: Amount | None
    min_latency_ms: Amount | None
    min_depth: Amount | None
    min_nn_mass: float | None
    max_nn_mass: float | None
    max_density: float | None
    device: str | Mapping[str, Any] | None
    devices: Sequence[str | Mapping[str, Any]] | None
    within: str | Mapping[str, Any] | Architecture | None
    ratio: Ratio | None
    precision: str
    batch: int
    objective: Mapping[str, Any]
    spend: Mapping[str, Any] | None
    exclude: Iterable[str | Mapping[str, Any] | Architecture]
    structure: Mapping[str, str] | None
    top_k: int
    first_rank: int
    diversity: str
    time_limit_seconds: float


def around(
    reference: Reference,
    keep: Sequence[str] | None = None,
    width: Multipliers | None = None,
    depth: Multipliers | None = None,
) -> dict[str, Any]:
    """Return the space around a network, as `space` of a search takes it.

    Args:
        reference: The name of a well-known network, an `arch_id`, a definition, or a network of an answer.
        keep: What stays as it is; None for all but channels and blocks.
        width: Multipliers of the width; None for those of `nnmass.scale`.
        depth: Multipliers of the depth, at most 3; None for those of `nnmass.scale`.
    """
    given = {"keep": None if keep is None else [*keep], "width": width, "depth": depth}
    chosen = {name: value for name, value in given.items() if value is not None}
    return {"around": reference_of(reference), **chosen}


def question_of(space: Space | None, options: SearchOptions) -> dict[str, object]:
    """Return the body of a search. Raises DefinitionError that names the field, as `budget.max_params`.

    Args:
        space: The space; None for the one that goes with the reference of the budget.
        options: The options.
    """
    if unknown := options.keys() - SearchOptions.__annotations__.keys() - {*limit_names()}:
        raise TypeError(f"got an unexpected keyword argument {min(unknown)!r}")
    rest = {
        name: value
        for name, value in options.items()
        if name in ("objective", "spend", "structure", *RANKED) and (value is not None or name == "spend")
    }
    excluded = [reference_of(network) for network in options.get("exclude", ())]
    where = space if space is None or isinstance(space, str | Mapping) else [*space]
    named = {} if where is None else {"space": where}
    return {**named, "budget": _budget_of(options), **rest, **({"exclude": excluded} if excluded else {})}


def _budget_of(options: SearchOptions) -> dict[str, object]:
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    costs = (costs_by_limit() | costs_by_floor()).items()
    limits: dict[str, Any] = {
        name: bound_of(cost, given[name], f"budget.{name}") for name, cost in costs if name in given
    }
    limits |= {name: given[name] for name in (*NO_COSTS, "precision", "batch", "device", "ratio") if name in given}
    if "within" in given:
        limits["within"] = reference_of(given["within"])
    ratio = given.get("ratio")
    twice = [name for name in (ratio if isinstance(ratio, Mapping) else ()) if f"max_{name}" in limits]
    if twice:
        message = f"conflicts with max_{twice[0]}: give one of them"
        raise DefinitionError.at(f"budget.ratio.{twice[0]}", "conflicts_with_limit", message)
    return limits | ({"devices": [*given["devices"]]} if "devices" in given else {})


def reference_of(reference: Reference) -> str | Mapping[str, Any]:
    """Return a reference in the form of an objective."""
    if isinstance(reference, Architecture):
        return reference.definition
    if isinstance(reference, str) and reference.startswith("arch_"):
        return {"arch_id": reference}
    return reference


def compression_of(minimize: str | None, ratio: Ratio | None, stages: Share, params: Share) -> dict[str, Any]:
    """Return the objective of a compression, without its reference.

    Args:
        minimize: The cost to minimize; None for MACs, and with a ratio.
        ratio: The shares of the reference's costs within which NN-Mass is maximized; None minimizes.
        stages: The share of each stage's NN-Mass to keep.
        params: The share of the params to keep.

    Raises:
        DefinitionError: Both a ratio and a cost to minimize are given.
    """
    if ratio is not None and minimize is not None:
        raise DefinitionError.at("minimize", "conflicts_with_ratio", "give either minimize or ratio")
    goal = {"minimize": minimize or "macs"} if ratio is None else {"maximize": "nn_mass", "ratio": ratio}
    shares = {KEPT_STAGES: stages, KEPT_PARAMS: params}
    usual = USUAL_KEPT if ratio is None else {}
    kept = {name: usual.get(name) if share == "usual" else share for name, share in shares.items()}
    return {**goal, **{name: share for name, share in kept.items() if share}}


def definition_of(network: str | Definition) -> Mapping[str, Any]:
    """Return a network's definition; a text is the name of a well-known one. Raises DefinitionError."""
    if isinstance(network, Architecture):
        return network.definition
    if isinstance(network, str):
        from nnmass_core.named.networks import named_network  # imported here: the client needs no numpy

        return named_network(network).definition()
    if not isinstance(network, Mapping):
        raise DefinitionError.at("", "not_an_object", "must be an object")
    return network


def is_id(text: str) -> bool:
    """Return whether a text is the id of a search or a training: other texts are an `arch_id`, a name or a file."""
    return text.count("-") == 4 and len(text) == 36
