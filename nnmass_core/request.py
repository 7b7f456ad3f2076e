"""A search request: a space, a budget, an objective, and the size of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, partial
from typing import Any, Self, TypeVar

from nnmass_core import __version__
from nnmass_core.architecture import Architecture
from nnmass_core.budget import LARGEST_MASS, Budget, least_mass_of
from nnmass_core.codec import (
    LARGEST_INTEGER,
    JsonObject,
    as_integer,
    check_integer,
    choice_schema,
    has_later_fields,
    is_number,
    object_schema,
    one_of,
    sha256_of,
    unknown_fields,
)
from nnmass_core.costs import (
    COSTS,
    KEPT_PARAMS,
    KEPT_STAGES,
    LEAST_MASS,
    MOST_DENSITY,
    MOST_MASS,
    RULES,
    Cost,
    costs_by_limit,
    counts_of,
    objectives,
    sums,
)
from nnmass_core.errors import DefinitionError, Problem, UnknownVersion
from nnmass_core.families import architecture_schema, decode_architecture, known_architecture_schema
from nnmass_core.hardware.devices import Device, devices
from nnmass_core.hardware.latency import Latency, LatencyModel, estimate, greatest
from nnmass_core.named.compression import limits_of_ratio
from nnmass_core.named.networks import named_network, named_networks
from nnmass_core.named.scaling import is_around
from nnmass_core.named.spending import USUAL_SPEND, Spend, decode_spend, keeps_proportions
from nnmass_core.named.within import Within, budget_within, space_or_preset
from nnmass_core.spaces.base import AnySpace, Space
from nnmass_core.spaces.densities import has_densities
from nnmass_core.spaces.kept import (
    NOTHING_KEPT,
    Kept,
    KeptParams,
    KeptStages,
    check_stages_kept,
    decode_kept,
    kept_schemas,
)
from nnmass_core.spaces.structure import ANY, Structure, decode_structure

VERSION = 2
"""The newest version of a request's JSON form; a form that earlier releases cannot read has a new version.

1: upper limits on costs; maximize NN-Mass, minimize a cost at a least NN-Mass, fronts. 2: floors and limits on NN-Mass,
costs that are maximized or minimized at any NN-Mass, weight_bytes as an objective, spend, exclude, first_rank,
several devices, a batch, limits on density, depth and one memory, depth as an objective; stages that overlap or can be
left out, and several numbers of cells, fronts in any two costs; kernels, squeeze-and-excitation, activations and stem
strides of inverted residuals; several spaces, and several resolutions in every family of images; shares of a reference
that are kept, and a reference where NN-Mass is maximized; spaces around a reference; limits taken from a reference;
fronts that are thinned.
"""

MOST_RESULTS = 1000
LAST_RANK = 10_000
"""The last rank that a ranking may have: all ranks before it are found, too."""

MOST_EXCLUDED = 100
LONGEST_SECONDS = 3600

LATER_COSTS = {"weight_bytes", "depth"}
"""The costs that no objective could name in version 1 of a request's JSON form."""

LATER_LIMITED = {"depth", "memory_bytes"}
"""The costs that have no upper limit in version 1 of a request's JSON form."""

FIRST_PAIRS = (("params", "macs"), ("macs", "params"))
"""The pairs of costs of a front in version 1 of a request's JSON form."""

Find = Callable[[str], object | None]
"""Returns the definition of the architecture with an `arch_id`, or None."""

FindDevice = Callable[[str], object | None]
"""Returns the profile of a device that is not built in, or None."""

RATIOS = ("macs", "params")
"""The costs of which a share of a reference's can be the limit."""

NO_RANKS = "does not apply to a Pareto front, which has no ranks"

RANKED = ("top_k", "first_rank", "diversity", "time_limit_seconds")
T = TypeVar("T")


@dataclass(frozen=True)
class Maximize:
    """Maximize NN-Mass within the budget, or a cost, as a ranking by size does.

    Args:
        quantity: `nn_mass`, or the name of a cost that is a sum over the layers, such as `params`.
        reference: The architecture that is compressed, which the answer is compared with; None of others.
        kept: The shares of the reference's figures that networks keep.

    Raises:
        DefinitionError: The quantity cannot be maximized, or something is kept without a reference.
    """

    quantity: str = "nn_mass"
    reference: Architecture | None = None
    kept: Kept = NOTHING_KEPT

    def __post_init__(self) -> None:
        if self.quantity not in maximized():
            raise DefinitionError.at("maximize", "unknown_choice", one_of(self.quantity, maximized()))
        _check_kept(self.kept, self.reference)

    def to_json(self) -> JsonObject:
        """Write the objective in the form of the request."""
        return {"maximize": self.quantity, **_reference_form(self.reference, self.kept)}


@dataclass(frozen=True)
class Minimize:
    """Minimize one cost, among architectures with at least a given NN-Mass or that of a reference (compress), or all.

    Args:
        cost: The name of a cost, such as `params`, `macs`, `peak_activation_bytes` or `latency_ms`.
        min_nn_mass: The least NN-Mass, 0 to 1e15; None asks for none.
        reference: The architecture whose NN-Mass is the least. Give this or `min_nn_mass`, or neither.
        kept: The shares of the reference's figures that networks keep. A share of the stages' NN-Mass is in place of
            its NN-Mass as a whole.

    Raises:
        DefinitionError: No objective can name the cost, `min_nn_mass` is out of range, both `min_nn_mass` and
            `reference` are given, or something is kept without a reference.
    """

    cost: str
    min_nn_mass: float | None = None
    reference: Architecture | None = None
    kept: Kept = NOTHING_KEPT

    def __post_init__(self) -> None:
        _check_kept(self.kept, self.reference)
        if self.cost not in objectives():
            raise DefinitionError.at("minimize", "unknown_choice", one_of(self.cost, objectives()))
        if self.min_nn_mass is not None and self.reference is not None:
            raise DefinitionError.at("min_nn_mass", "conflicts_with_reference", "give either min_nn_mass or reference")
        least = self.min_nn_mass
        if least is not None and not (is_number(least) and 0 <= least <= LARGEST_MASS):
            raise DefinitionError.at("min_nn_mass", "out_of_range", f"must be a number from 0 to {LARGEST_MASS:g}")

    @property
    def least_mass(self) -> Fraction | None:
        """The required NN-Mass, exactly: docs/theory.md (50); None where none is."""
        if self.reference is not None:
            return self.reference.evaluation.mass if self.kept.stages is None else None
        return None if self.min_nn_mass is None else least_mass_of(self.min_nn_mass)

    def to_json(self) -> JsonObject:
        """Write the objective in the form of the request."""
        if self.reference is not None:
            return {"minimize": self.cost, **_reference_form(self.reference, self.kept)}
        if self.min_nn_mass is None:
            return {"minimize": self.cost}
        return {"minimize": self.cost, "min_nn_mass": self.min_nn_mass}


POINTS = (3, 100_000)
"""The least and the greatest number of points to which a front is thinned: its ends are up to three."""


@dataclass(frozen=True)
class Pareto:
    """The front of NN-Mass against one cost or two.

    Args:
        costs: The name of one cost, or the names of two different ones. Points are ascending in the first.
        points: The most points of the answer, 3 or more: the front is found as a whole, and thinned then. None: all.

    Raises:
        DefinitionError: A front cannot have these costs, or this number of points; the problem names its field.
    """

    costs: tuple[str, ...]
    points: int | None = None

    def __post_init__(self) -> None:
        known, different = set(self.costs) <= set(objectives()), len(set(self.costs)) == len(self.costs)
        if not (known and different and len(self.costs) in (1, 2)):
            message = f"must be nn_mass and one or two different ones of {', '.join(objectives())}"
            raise DefinitionError.at("pareto", "unknown_choice", message)
        if self.points is not None and (problems := list(check_integer(self.points, *POINTS, "points"))):
            raise DefinitionError(problems)

    def to_json(self) -> JsonObject:
        """Write the objective in the form of the request."""
        return {"pareto": ["nn_mass", *self.costs], **({} if self.points is None else {"points": self.points})}


Objective = Maximize | Minimize | Pareto


def _check_kept(kept: Kept, reference: Architecture | None) -> None:
    if reference is None and kept != NOTHING_KEPT:
        name = next(iter(kept.to_json()))
        raise DefinitionError.at(name, "needs_reference", "requires a reference")


def _reference_form(reference: Architecture | None, kept: Kept) -> JsonObject:
    return {} if reference is None else {"reference": reference.definition(), **kept.to_json()}


def maximized() -> list[str]:
    """Return what can be maximized: `nn_mass`, and the costs that are sums over the layers."""
    return ["nn_mass", *sums()]


def decode_objective(data: object) -> Objective:
    """Read an objective from parsed JSON.

    Args:
        data: An object with exactly one of `maximize`, `minimize` and `pareto`; `minimize` also takes `min_nn_mass`,
            and both it and `maximize` a `reference` with `keep_stages` and `keep_params`. Its
            `ratio` is a limit of the budget, which `SearchRequest.from_json` reads.

    Raises:
        DefinitionError: The objective is wrong; each problem names its field.
    """
    if not isinstance(data, Mapping):
        raise DefinitionError.at("", "not_an_object", "must be an object")
    kinds = [kind for kind in ("maximize", "minimize", "pareto") if kind in data]
    if len(kinds) != 1:
        raise DefinitionError.at("", "required", "must have exactly one of maximize, minimize, pareto")
    of_reference = {"reference", KEPT_STAGES, KEPT_PARAMS}
    further = {
        "minimize": {LEAST_MASS, *of_reference},
        "maximize": {*of_reference, "ratio"},
        "pareto": {"points"},
    }
    allowed = {*kinds, *further.get(kinds[0], ())}
    problems = list(unknown_fields(data, allowed))
    if problems:
        raise DefinitionError(problems)
    return {"maximize": _decode_maximize, "minimize": _decode_minimize, "pareto": _decode_pareto}[kinds[0]](data)


def objective_schema() -> JsonObject:
    """Describe the objectives as JSON Schema."""
    cost = choice_schema(objectives(), "Cost to minimize.")
    least: JsonObject = {
        "type": "number",
        "minimum": 0,
        "maximum": LARGEST_MASS,
        "description": "Least NN-Mass of the architectures; if omitted, any.",
        "examples": [500],
    }
    reference: JsonObject = {
        **network_schema(),
        "description": "Network whose NN-Mass is the least, unless `keep_stages` says how much each of its stages "
        "keeps: a name, an id or a full definition.",
        "examples": [next(iter(named_networks()))],
    }
    largest = choice_schema(maximized(), "What to maximize.")
    compared: JsonObject = {**reference, "description": "Network to compress, which the answer is compared with."}
    kept = kept_schemas()
    within: JsonObject = {"ratio": _ratio_schema(), **kept}
    return {
        "title": "Objective",
        "default": {"maximize": "nn_mass"},
        "oneOf": [
            object_schema("MaximizeObjective", {"maximize": largest}),
            object_schema("MinimizeObjective", {"minimize": cost, "min_nn_mass": least}, optional=["min_nn_mass"]),
            object_schema("CompressObjective", {"minimize": cost, "reference": reference, **kept}, optional=kept),
            object_schema(
                "CompressWithinObjective", {"maximize": largest, "reference": compared, **within}, optional=within
            ),
            object_schema(
                "ParetoObjective", {"pareto": _fronts_schema(), "points": _points_schema()}, optional=["points"]
            ),
        ],
    }


def _ratio_schema() -> JsonObject:
    share: JsonObject = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    shares: JsonObject = {
        name: {**share, "description": f"Share of the reference's {COSTS[name].label}.", "examples": [0.5]}
        for name in RATIOS
    }
    costs = object_schema("Ratio", shares, optional=RATIOS)
    return {
        "anyOf": [share, costs, {"type": "null"}],
        "description": "Share of the reference's MACs that networks have at most, or shares of its MACs and params. "
        "The request in the answer has it as limits of its budget.",
        "examples": [0.5],
    }


def _limits_of_ratio(objective: Any, read: Objective, budget: Mapping[str, Any]) -> JsonObject:
    """Return the limits that are shares of a reference's costs: docs/theory.md (93).

    objective: as it is given. read: the objective. budget: what is limited otherwise.
    """
    ratio = objective.get("ratio") if isinstance(objective, Mapping) else None
    if ratio is None:
        return {}
    reference = None if isinstance(read, Pareto) else read.reference
    if reference is None:
        raise DefinitionError.at("", "needs_reference", "requires a reference")
    shares = ratio if isinstance(ratio, Mapping) else {"macs": ratio}
    problems = list(unknown_fields(shares, set(RATIOS)))
    for name, share in shares.items():
        if name in RATIOS and not (is_number(share) and 0 < share <= 1):
            where = name if isinstance(ratio, Mapping) else ""
            problems.append(Problem(where, "out_of_range", "must be a number above 0 and at most 1"))
        elif name in RATIOS and COSTS[name].limit in budget:
            message = f"does not go with the budget's {COSTS[name].limit}: give one of the two"
            problems.append(Problem(name, "conflicts_with_budget", message))
    if problems:
        raise DefinitionError(problems)
    return {COSTS[name].limit: most for name, most in limits_of_ratio(reference, shares).items()}


def network_schema() -> JsonObject:
    """Describe a network by its name, its id or its definition as JSON Schema."""
    named: JsonObject = {"title": "NetworkName", "type": "string", "enum": list(named_networks())}
    return {"anyOf": [named, known_architecture_schema(), architecture_schema()]}


def _fronts_schema() -> JsonObject:
    """Describe the lists that name a front: NN-Mass and one cost or two."""
    mass, cost = {"type": "string", "enum": ["nn_mass"]}, {"type": "string", "enum": objectives()}
    return {
        "type": "array",
        "prefixItems": [mass, cost, cost],
        "minItems": 2,
        "maxItems": 3,
        "uniqueItems": True,
        "description": "The figures of the front: `nn_mass`, and one cost or two different ones. "
        "Points are ascending in the first cost.",
        "examples": [["nn_mass", "params"]],
    }


def _points_schema() -> JsonObject:
    least, most = POINTS
    return {
        "anyOf": [{"type": "integer", "minimum": least, "maximum": most}, {"type": "null"}],
        "description": "The most points of the answer. The front is found and proved as a whole, and thinned then: its "
        "ends stay, and the others are taken evenly along it. Null or left out: all points.",
        "examples": [50],
    }


def _decode_maximize(data: Mapping[str, Any]) -> Objective:
    quantity = data["maximize"]
    return Maximize(quantity if isinstance(quantity, str) else "", _decode_reference(data), decode_kept(data))


def _decode_reference(data: Mapping[str, Any]) -> Architecture | None:
    if "reference" not in data:
        return None
    try:
        return _network(data["reference"])
    except DefinitionError as error:
        raise error.under("reference") from error


def _decode_minimize(data: Mapping[str, Any]) -> Objective:
    if "min_nn_mass" in data and "reference" in data:
        raise DefinitionError.at("min_nn_mass", "conflicts_with_reference", "give either min_nn_mass or reference")
    reference = _decode_reference(data)
    if "min_nn_mass" in data and data["min_nn_mass"] is None:
        raise DefinitionError.at("min_nn_mass", "out_of_range", f"must be a number from 0 to {LARGEST_MASS:g}")
    cost = data["minimize"]
    return Minimize(cost if isinstance(cost, str) else "", data.get("min_nn_mass"), reference, decode_kept(data))


def decode_excluded(data: object, find: Find = lambda arch_id: None) -> tuple[Architecture, ...]:
    """Read excluded networks from parsed JSON.

    Args:
        data: A list of names of well-known networks, ids (`{"arch_id": ...}`) and definitions.
        find: Looks up an `arch_id`.

    Raises:
        DefinitionError: A network is wrong; the problem names its place in the list.
    """
    if not isinstance(data, list):
        raise DefinitionError.at("", "not_a_list", "must be a list of networks")
    if len(data) > MOST_EXCLUDED:
        raise DefinitionError([_too_many()])
    found: list[Architecture] = []
    problems: list[Problem] = []
    for place, named in enumerate(data):
        try:
            found.append(_network(_looked_up(named, find)))
        except DefinitionError as error:
            problems += error.under(str(place)).problems
    if problems:
        raise DefinitionError(problems)
    return tuple(found)


def _too_many(field: str = "") -> Problem:
    return Problem(field, "bad_length", f"must have at most {MOST_EXCLUDED} entries")


def _network(named: Any) -> Architecture:
    """Return a network by its name, or from its definition."""
    return named_network(named) if isinstance(named, str) else decode_architecture(named)


def _decode_pareto(data: Mapping[str, Any]) -> Objective:
    names = data["pareto"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or names[:1] != ["nn_mass"]:
        raise DefinitionError.at("pareto", "unknown_choice", "must be a list that starts with nn_mass")
    points: Any = as_integer(data.get("points"))  # whatever it is: the front checks it
    return Pareto(tuple(names[1:]), points)


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """What to search: the best `top_k` architectures of `space` within `budget` by `objective`.

    The size of a Pareto front is fixed: `top_k` and `diversity` do not apply. The caller's Control enforces the time
    limit; it is a field here because it is part of the request's identity.

    Args:
        space: The architectures to search, of one space or of several.
        budget: The limits of the hardware.
        objective: `Maximize`, `Minimize` or `Pareto`.
        top_k: How many architectures to rank, 1 to 1,000.
        diversity: `none`, or `shape` for at most one result of each tuple of widths and depths.
        time_limit_seconds: Seconds, above 0 and at most 3,600.
        spend: Admits only networks that use a share of the most of a cost; None admits all. Only where NN-Mass is
            maximized.
        exclude: Networks that are no answer, at most 100, in any order; those of other spaces change nothing.
        first_rank: The rank at which the ranking starts; `first_rank + top_k - 1` is at most 10,000.
        structure: What the cells or stages of each network must have in common; nothing by default.
        within: The network that limits of the budget were taken from; None for none.

    Raises:
        DefinitionError: A field is wrong, or the fields conflict; each problem names its field.
    """

    space: AnySpace
    budget: Budget
    objective: Objective = field(default_factory=Maximize)
    top_k: int = 10
    diversity: str = "none"
    time_limit_seconds: float = 60.0
    spend: Spend | None = None
    exclude: tuple[Architecture, ...] = ()
    first_rank: int = 1
    structure: Structure = ANY
    within: Within | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "top_k", as_integer(self.top_k))
        object.__setattr__(self, "first_rank", as_integer(self.first_rank))
        distinct = {architecture.arch_id: architecture for architecture in self.exclude}
        object.__setattr__(self, "exclude", tuple(distinct[arch_id] for arch_id in sorted(distinct)))
        object.__setattr__(self, "within", None if self.within is None else self.within.kept(self.budget))
        problems = list(check_integer(self.top_k, 1, MOST_RESULTS, "top_k"))
        problems += self._rank_problems(complete=not problems)
        problems += [
            Problem(f"structure.{name}", "not_applicable", f"means nothing for {space.family}")
            for name, _ in self.structure.rules()
            for space in self.space.spaces
            if space.part_values(name) is None
        ]
        if self.diversity not in ("none", "shape"):
            problems.append(Problem("diversity", "unknown_choice", "must be none or shape"))
        if isinstance(self.objective, Pareto) and self.diversity != "none":
            problems.append(Problem("diversity", "conflicts_with_objective", "does not apply to a Pareto front"))
        if self.spend is not None and not (
            isinstance(self.objective, Maximize) and self.objective.quantity == "nn_mass"
        ):
            problems.append(Problem("spend", "conflicts_with_objective", "applies only where NN-Mass is maximized"))
        problems += [*self._latency_problems(), *self._depth_problems(), *self._memory_problems()]
        problems += [*self._size_problems(), *self._mass_problems(), *self._kept_problems()]
        if self.diversity != "none" and len(self.space.spaces) > 1:
            problems.append(Problem("diversity", "conflicts_with_spaces", "does not apply to several spaces"))
        for space in self.space.spaces if self.budget.density_limits() else ():
            if not has_densities(space):
                message = f"is not available for {space.family}, whose networks have no cells with a density"
                problems.append(Problem(f"budget.{MOST_DENSITY}", "no_density", message))
        limit = self.time_limit_seconds
        if not is_number(limit) or not 0 < limit <= LONGEST_SECONDS:
            message = f"must be above 0 and at most {LONGEST_SECONDS}"
            problems.append(Problem("time_limit_seconds", "out_of_range", message))
        if problems:
            raise DefinitionError(problems)

    @classmethod
    def from_json(
        cls,
        data: Mapping[str, Any],
        find: Find = lambda arch_id: None,
        find_device: FindDevice = lambda name: None,
        *,
        version: int = VERSION,
    ) -> Self:
        """Read a request from parsed JSON: a body of `POST /v1/searches`, or what `to_json` wrote.

        A field that is left out has its default; unknown fields are ignored.

        Args:
            data: the fields of the request.
            find: looks up the `arch_id` that a reference may give in place of a definition.
            find_device: looks up the name that a budget may give in place of a profile.
            version: the version of the form, which is stored next to it.

        Raises:
            UnknownVersion: another release wrote the form.
            DefinitionError: names the field, as `budget.max_params`.
        """
        if not 1 <= version <= VERSION:
            raise UnknownVersion(version, VERSION)
        limits = data.get("budget", {})
        if not isinstance(limits, Mapping):
            raise DefinitionError.at("budget", "not_an_object", "must be an object")
        known = _under("budget", lambda: _with_network(_with_profile(limits, find_device), "within", find))
        budget, within = _under("budget", lambda: budget_within(known))
        asked = _under("space", lambda: {"space": _with_around(data["space"], find)} if "space" in data else {})
        space = _under("space", lambda: space_or_preset(asked, within))
        wanted = data.get("objective", {"maximize": "nn_mass"})
        objective = _under("objective", lambda: decode_objective(_with_network(wanted, "reference", find)))
        ratio = _under("objective.ratio", lambda: _limits_of_ratio(wanted, objective, known))
        if ratio:
            budget, within = _under("budget", lambda: budget_within({**known, **ratio}))
        if isinstance(objective, Pareto):
            for name in ("top_k", "first_rank"):
                if name in data:
                    raise DefinitionError.at(name, "conflicts_with_objective", NO_RANKS)
        exclude = _under("exclude", lambda: decode_excluded(data.get("exclude", []), find))
        spend = _under("spend", lambda: decode_spend(data.get("spend")))
        ranked = {name: data[name] for name in RANKED if name in data}
        structure = _under("structure", lambda: decode_structure(data.get("structure")))
        rest = {"spend": spend, "exclude": exclude, "structure": structure, "within": within, **ranked}
        return cls(space=space, budget=budget, objective=objective, **rest)

    @classmethod
    def asked(
        cls,
        data: Mapping[str, Any],
        find: Find = lambda arch_id: None,
        find_device: FindDevice = lambda name: None,
    ) -> Self:
        """Read a question from outside: as `from_json`, and where it has no field `spend`, with the usual one.

        That applies where NN-Mass is maximized within a limit on MACs or params, in a space that keeps proportions.
        What was stored has the answer to this already, and is read by `from_json`.

        Args:
            data: the fields of the request.
            find: as of `from_json`.
            find_device: as of `from_json`.

        Raises:
            DefinitionError: names the field, as `budget.max_params`.
        """
        request = cls.from_json(data, find, find_device)
        usual = "spend" not in data and request.usually_spends(data.get("space"))
        return replace(request, spend=USUAL_SPEND) if usual else request

    def usually_spends(self, space: object) -> bool:
        """Return whether a question without the field `spend` has the usual one.

        Args:
            space: The space as the question gives it, a preset's name for example; None where it gives none.
        """
        limited = {name for name, _ in self.budget.bounds} & {COSTS[name].limit for name in ("macs", "params")}
        return bool(limited) and self.objective == Maximize() and keeps_proportions(space)

    @cached_property
    def costs(self) -> tuple[tuple[str, Cost], ...]:
        """The costs that the answer depends on, each after the field of the request that names it."""
        limited = [(f"budget.{limit.name}", limit.cost) for limit in self.budget.limits()]
        limited += [(f"budget.{floor.name}", floor.cost) for floor in self.budget.floors()]
        if self.spend is not None:
            limited.append(("spend.quantity", COSTS[self.spend.quantity]))
        match self.objective:
            case Maximize(quantity=name) if name in COSTS:
                return (*limited, ("objective.maximize", COSTS[name]))
            case Minimize(cost=name):
                return (*limited, ("objective.minimize", COSTS[name]))
            case Pareto(costs=names):
                return (*limited, *(("objective.pareto", COSTS[name]) for name in names))
        return tuple(limited)

    def _rank_problems(self, *, complete: bool) -> Iterator[Problem]:
        """Yield the problems of the first rank and of excluded networks. complete: `top_k` is correct."""
        last = LAST_RANK + 1 - self.top_k if complete else LAST_RANK
        yield from check_integer(self.first_rank, 1, last, "first_rank")
        if len(self.exclude) > MOST_EXCLUDED:
            yield _too_many("exclude")
        if isinstance(self.objective, Pareto) and self.first_rank != 1:
            yield Problem("first_rank", "conflicts_with_objective", NO_RANKS)

    def _depth_problems(self) -> Iterator[Problem]:
        """Yield where the depth is named, for families that do not define the layers of their options."""
        for space in (space for space in self.space.spaces if not space.counts_layers):
            message = f"is not available for {space.family}, which does not define the layers of its options"
            yield from (Problem(name, "no_depth", message) for name, cost in self.costs if cost.layers)

    def _memory_problems(self) -> Iterator[Problem]:
        """Yield the limit on weights and activations together where the objective is a front."""
        if isinstance(self.objective, Pareto):
            message = "does not go with a Pareto front"
            named = (name for name, cost in self.costs if cost.together)
            yield from (Problem(name, "conflicts_with_objective", message) for name in named)

    def _too_many_bytes(self) -> Iterator[Problem]:
        """Yield the batch, or the limit on weights and activations together, if a network can have too many bytes."""
        together = [name for name, cost in self.costs if cost.together]
        if self.budget.batch == 1 and not together:
            return
        counted = self.budget.element_bytes, self.budget.batch
        largest = [space.largest().evaluation for space in self.space.spaces]
        most = [COSTS["memory_bytes"].value(replace(one, indices=one.weights), None, *counted) for one in largest]
        if any(bytes_of_one is not None and bytes_of_one > LARGEST_INTEGER for bytes_of_one in most):
            message = "makes more than 2**53 - 1 bytes of memory for networks of this space"
            yield Problem("budget.batch" if self.budget.batch > 1 else together[0], "too_large", message)

    def _size_problems(self) -> Iterator[Problem]:
        """Yield the costs that some network of the space has too much of to be exact: computed ones, and of a batch."""
        yield from self._too_many_bytes()
        computed = [(name, cost.compute) for name, cost in self.costs if cost.compute is not None]
        if not computed:
            return
        largest = [space.largest().evaluation for space in self.space.spaces]
        # others may sample more channels, but never more than there are weights
        mosts = [counts_of(replace(one, indices=one.weights), self.budget.element_bytes) for one in largest]
        for name, compute in computed:
            if max(map(compute, mosts)) > LARGEST_INTEGER:
                yield Problem(name, "too_large", "is more than 2**53 - 1 elements for networks of this space")

    def _mass_problems(self) -> Iterator[Problem]:
        """Yield the objective's least NN-Mass where it is above the budget's greatest."""
        most = next((limit for limit in self.budget.mass_limits() if limit.name == MOST_MASS), None)
        least = self.objective.least_mass if isinstance(self.objective, Minimize) else None
        if most is None or least is None or least <= most.mass:
            return
        assert isinstance(self.objective, Minimize)
        field = LEAST_MASS if self.objective.reference is None else "reference"
        message = f"must have at most the budget's {MOST_MASS}, which is {most.bound}"
        yield Problem(f"objective.{field}", "min_above_max", message)

    def _kept_problems(self) -> Iterator[Problem]:
        """Yield what is kept of a reference where networks of the space cannot be compared with it."""
        for limit in self.kept_limits:
            if isinstance(limit, KeptStages):
                found = [
                    problem for space in self.space.spaces for problem in check_stages_kept(space, limit.reference)
                ]
                yield from (Problem(f"objective.{one.field}", one.code, one.message) for one in dict.fromkeys(found))

    @property
    def reference(self) -> Architecture | None:
        """The architecture that is compressed; None of other requests."""
        return None if isinstance(self.objective, Pareto) else self.objective.reference

    @property
    def kept_limits(self) -> tuple[KeptStages | KeptParams, ...]:
        """The hard limits that follow from what is kept of the reference."""
        if isinstance(self.objective, Pareto) or self.objective.reference is None:
            return ()
        return self.objective.kept.limits(self.objective.reference)

    def _latency_problems(self) -> list[Problem]:
        fields = [field for field, cost in self.costs if cost.timed]
        if not fields:
            return []
        field, timed = fields[0], self.budget.timed_devices()
        if not timed:
            return [
                Problem(field, "needs_device", "requires a device with a latency profile at this precision and batch")
            ]
        ambiguous = [name for name in fields if name != f"budget.{COSTS['latency_ms'].limit}"] if len(timed) > 1 else []
        if ambiguous:
            message = f"applies to one device with a latency profile, and the budget has {len(timed)}"
            return [Problem(name, "conflicts_with_devices", message) for name in ambiguous]
        spaces = self.space.spaces
        problems = [
            Problem(field, "no_latency", f"is not available for {space.family}, which does not report its operations")
            for space in spaces
            if space.work() is None
        ]
        several = [
            problem
            for device, model in timed
            for space in spaces
            for problem in self._profile_problems(device, model, space)
        ]
        return problems or [*dict.fromkeys(several)]

    def _profile_problems(self, device: Device, model: LatencyModel, space: Space) -> Iterator[Problem]:
        """Yield why a device's profile has no latency for the networks of a space."""
        several = len(self.budget.devices) > 1
        field = f"budget.devices.{self.budget.devices.index(device)}" if several else "budget.device"
        if not model.covers(space.family):
            known = ", ".join(each.family for each in model.fitted_to)
            message = f"has a profile fitted to networks of {known}, which says nothing about {space.family}"
            yield Problem(field, "unknown_family", message)
        elif lacking := model.lacks(space.work() or ()):
            yield Problem(field, "unknown_operator", f"has a profile without times for {', '.join(lacking)}")

    def latency_of(self, architecture: Architecture) -> Latency | None:
        """Return the latency of an architecture as the budget's device estimates it; of several devices the greatest.

        Args:
            architecture: An architecture of any space.

        Returns:
            The estimate; None if no device of the budget has a latency profile at its precision, if the profile lacks
            an operator of the architecture or was fitted to other families, or if the family does not define its
            operators.
        """
        return greatest(self.latencies_of(architecture))

    def latencies_of(self, architecture: Architecture) -> list[Latency]:
        """Return the latency of an architecture on each of the budget's devices that estimates it.

        Args:
            architecture: An architecture of any space.
        """
        timed = self.budget.timed_devices()
        work = architecture.work() if timed else None
        if work is None:
            return []
        family = architecture.family
        return [
            estimate(model, device.name, work, model.outside(family, architecture))
            for device, model in timed
            if model.covers(family) and not model.lacks(work)
        ]

    def to_json(self) -> JsonObject:
        """Write the complete request: presets and references resolved, defaults filled in."""
        ranked: JsonObject = {"top_k": self.top_k, "diversity": self.diversity}
        return {
            "space": self.space.form,
            "budget": self.budget.to_json() | ({} if self.within is None else self.within.to_json()),
            "objective": self.objective.to_json(),
            **({} if isinstance(self.objective, Pareto) else ranked),
            "time_limit_seconds": float(self.time_limit_seconds),
            **self._spend_form(),
            **({"exclude": [architecture.definition() for architecture in self.exclude]} if self.exclude else {}),
            **({} if self.first_rank == 1 else {"first_rank": self.first_rank}),
            **({} if self.structure == ANY else {"structure": self.structure.to_json()}),
        }

    def _spend_form(self) -> JsonObject:
        """Return the field `spend`: null where a question without it would have the usual one, so that none is kept."""
        if self.spend is not None:
            return {"spend": self.spend.to_json()}
        return {"spend": None} if self.usually_spends(self.space.form) else {}

    @property
    def version(self) -> int:
        """The version of the JSON form: the earliest that has all of the request, so that earlier releases read it."""
        later = self.exclude or self.first_rank != 1 or self.structure != ANY or self.space.form_version > 1
        if self.spend is not None or self.within is not None or later:
            return 2
        first = {name for name, cost in costs_by_limit().items() if cost.name not in LATER_LIMITED}
        if {name for name, _ in self.budget.bounds} - first or len(self.budget.devices) > 1 or self.budget.batch > 1:
            return 2
        match self.objective:
            case Maximize(quantity="nn_mass", reference=None):
                return 1
            case Minimize(cost=name, min_nn_mass=least, reference=reference, kept=kept):
                early = least is not None if reference is None else not has_later_fields(reference)
                early &= kept == NOTHING_KEPT
                return 1 if early and name not in LATER_COSTS else 2
            case Pareto(costs=names, points=None):
                return 2 if LATER_COSTS & {*names} or (len(names) > 1 and names not in FIRST_PAIRS) else 1
        return 2

    @property
    def digest(self) -> str:
        """The request's identity: equal requests to the same core, by the same rules of costs, have equal digests."""
        form = self.to_json()
        if self.spend is not None:  # who asked for it changes no answer
            form["spend"] = replace(self.spend, default=False).to_json()
        return f"sha256:{sha256_of({'core_version': __version__, 'rules': RULES, 'request': form})}"


def following_ranks(request: Mapping[str, Any], count: int) -> tuple[int, int] | None:
    """Return the first and the last of the ranks that follow a ranking; None where there are none.

    A front has no ranks, and after a ranking that is not full there are none.

    Args:
        request: The complete request of the ranking, as `to_json` writes it.
        count: The number of architectures in the ranking.
    """
    if "top_k" not in request:
        return None
    first, top_k = request.get("first_rank", 1), request["top_k"]
    if count < top_k or first + top_k > LAST_RANK:
        return None
    return first + top_k, min(first + 2 * top_k - 1, LAST_RANK)


def _under(field: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except DefinitionError as error:
        raise error.under(field) from error


def _with_profile(budget: Mapping[str, Any], find_device: FindDevice) -> Mapping[str, Any]:
    """Return the budget with the names of devices that do not come with the core looked up."""
    several = budget.get("devices")
    found = {} if "device" not in budget else {"device": _profile(budget["device"], find_device, "device")}
    if isinstance(several, list):
        found["devices"] = [_profile(one, find_device, f"devices.{place}") for place, one in enumerate(several)]
    return {**budget, **found}


def _profile(device: Any, find_device: FindDevice, field: str) -> Any:
    other = isinstance(device, str) and device not in devices()
    profile = _under(field, lambda: find_device(device)) if other else None
    return device if profile is None else profile


def _with_network(data: Any, field: str, find: Find) -> Any:
    """Return an objective or a budget with an `arch_id` in place of a definition in its field looked up."""
    if not isinstance(data, Mapping) or field not in data:
        return data
    return {**data, field: _under(field, lambda: _looked_up(data[field], find))}


def _with_around(space: Any, find: Find) -> Any:
    """Return the space, or the list of several, with an `arch_id` to look around looked up."""
    if isinstance(space, list):
        return [_under(str(place), partial(_with_around, one, find)) for place, one in enumerate(space)]
    if not is_around(space):
        return space
    return {**space, "around": _under("around", lambda: _looked_up(space["around"], find))}


def _looked_up(network: Any, find: Find) -> Any:
    """Return a network with an `arch_id` in place of a definition looked up."""
    if not (isinstance(network, Mapping) and set(network) == {"arch_id"}):
        return network
    definition = find(network["arch_id"]) if isinstance(network["arch_id"], str) else None
    if definition is None:
        raise DefinitionError.at("arch_id", "unknown_architecture", "names an unknown architecture")
    return definition
