"""The result of a search: the ranking, and what is claimed and proved about it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

from nnmass_core.architecture import BYTES_PER_ELEMENT, Architecture, Evaluation, id_of
from nnmass_core.budget import Budget
from nnmass_core.codec import JsonObject, sha256_of
from nnmass_core.costs import COSTS
from nnmass_core.hardware.devices import Device
from nnmass_core.hardware.latency import Latency


def place_of(position: int, *, of_front: bool) -> JsonObject:
    """Return the place of an architecture as in public JSON: its rank or, on a front, the number of the point.

    Args:
        position: The position in the ranking or along the front, from 1.
        of_front: Whether it is a point of a Pareto front.
    """
    return {"rank": None, "point": position} if of_front else {"rank": position, "point": None}


@dataclass(frozen=True)
class DeviceFit:
    """How a network fits one of several devices of a budget.

    Args:
        name: The device.
        slack: The distance to each limit of the device, and to the budget's limit on latency, by the limit's name.
        latency: The estimated latency on the device, where its profile has times at the budget's precision.
    """

    name: str
    slack: dict[str, float]
    latency: Latency | None

    @classmethod
    def of(cls, device: Device, budget: Budget, evaluation: Evaluation, latency: Latency | None) -> DeviceFit:
        """Return how a network fits a device.

        Args:
            device: A device of the budget.
            budget: The budget.
            evaluation: The figures of the network.
            latency: Its latency on the device.
        """
        limits = [limit for limit in budget.limits() if limit.name in device.limits() or (limit.cost.timed and latency)]
        own = [replace(limit, bound=device.limits().get(limit.name, limit.bound)) for limit in limits]
        return cls(device.name, {limit.name: limit.slack(evaluation, latency) for limit in own}, latency)

    def to_json(self) -> JsonObject:
        """Write it as JSON-ready objects."""
        return {
            "device": self.name,
            "slack": self.slack,
            "latency_ms": None if self.latency is None else self.latency.milliseconds,
        }


@dataclass(frozen=True)
class Ranked:
    """One rank of the ranking, or one point of a Pareto front.

    Args:
        rank: The position in the ranking or along the front, from 1.
        architecture: The architecture.
        evaluation: Its NN-Mass and costs.
        slack: Its distance to each limit of the budget, by the limit's name, in the limit's unit.
        unused: The share of each upper limit that it leaves unused, by the limit's name.
        latency: Its estimated latency, where the budget's device has a latency profile.
        caveats: Codes of what makes the network unusual: docs/theory.md (36).
        of_front: Whether it is a point of a front. No point of a front is better than another, so it has no rank.
        devices: Of a budget with several devices, how it fits each of them.
        batch: The inputs of the budget, whose activations and latency the figures are for.
        space: Of a request with several spaces, the position of the first that has it, from 1.
    """

    rank: int
    architecture: Architecture
    evaluation: Evaluation
    slack: dict[str, float]
    unused: dict[str, float]
    latency: Latency | None = None
    caveats: tuple[str, ...] = ()
    of_front: bool = False
    devices: tuple[DeviceFit, ...] = ()
    batch: int = 1
    space: int | None = None

    def figures(self, precision: str) -> JsonObject:
        """Return a rank's figures without its definition, JSON-ready.

        Args:
            precision: The precision at which bytes are counted: `fp32`, `fp16` or `int8`.
        """
        return self._figures(precision, self.architecture.arch_id)

    def _figures(self, precision: str, arch_id: str) -> JsonObject:
        return {
            **place_of(self.rank, of_front=self.of_front),
            "arch_id": arch_id,
            **({} if self.space is None else {"space": self.space}),
            **self.evaluation.report(precision, self.batch),
            "nn_mass_per_width": float(self.evaluation.mass_per_width),
            **{
                cost.name: cost.value(self.evaluation, self.latency, BYTES_PER_ELEMENT[precision])
                for cost in COSTS.values()
                if cost.timed
            },
            "latency": None if self.latency is None else self.latency.to_json(),
            "slack": self.slack,
            "unused": self.unused,
            **({"devices": [fit.to_json() for fit in self.devices]} if self.devices else {}),
            **({} if self.batch == 1 else {"batch": self.batch}),
            "caveats": list(self.caveats),
        }

    def to_json(self, precision: str) -> JsonObject:
        """Write the rank with its definition as JSON-ready objects.

        Args:
            precision: The precision at which bytes are counted: `fp32`, `fp16` or `int8`.
        """
        definition = self.architecture.definition()
        return {**self._figures(precision, id_of(definition)), "architecture": definition}


@dataclass(frozen=True)
class Share:
    """What is proved of one of several spaces.

    Args:
        space: The position of the space in the request, from 1.
        networks: The exact number of its networks.
        count: The networks of the ranking that are listed under it; one of several spaces is under the first.
        bound: None of its networks within the limits has a better objective value: the value of its best where that is
            in the ranking or before it, else of the last. None where none fits, and for a front.
    """

    space: int
    networks: int
    count: int
    bound: float | None

    def to_json(self) -> JsonObject:
        """Write it as JSON-ready objects."""
        return {"space": self.space, "networks": str(self.networks), "count": self.count, "bound": self.bound}


@dataclass(frozen=True)
class JointRelaxation:
    """The least factor that makes an infeasible request feasible when it multiplies all limits: docs/theory.md (37).

    Args:
        factor: The factor, exactly; None when no factor makes the request feasible.
        limits: Each limit times the factor, by its name, in its unit; None without a factor.
        unchanged: The limits of the request that stay as they are: floors and limits on NN-Mass.
    """

    factor: Fraction | None
    limits: dict[str, float] | None
    unchanged: tuple[str, ...] = ()

    def to_json(self) -> JsonObject:
        """Write it as JSON-ready objects; the factor is the least double that is not below it."""
        return {
            "factor": None if self.factor is None else _not_below(self.factor),
            "limits": self.limits,
            "unchanged": list(self.unchanged),
        }


def _not_below(value: Fraction) -> float:
    nearest = float(value)
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)


@dataclass(frozen=True)
class Spent:
    """The first solve of a request with a `spend`: the most of a cost, and what follows from it.

    Args:
        quantity: The name of the cost.
        share: The share of the most that networks must use.
        most: The most units of the cost that a network within the limits uses, as far as found.
        bound: No network within the limits uses more.
        optimal: `most` is proved.
        least: The fewest units that networks of the ranking use.
        network: The network that uses the most; of several the one that ranks first.
        precision: The precision at which bytes are counted: `fp32`, `fp16` or `int8`.
        batch: The inputs whose activations are counted.
    """

    quantity: str
    share: float
    most: float
    bound: float
    optimal: bool
    least: float
    network: Architecture
    precision: str
    batch: int

    def to_json(self) -> JsonObject:
        """Write it as JSON-ready objects."""
        figures = {name: getattr(self, name) for name in ("quantity", "share", "most", "bound", "optimal", "least")}
        return {**figures, "network": _with_figures(self.network, self.precision, self.batch)}


@dataclass(frozen=True)
class Taken:
    """What a budget has from its reference.

    Args:
        reference: The network.
        limits: The limits that are its costs, by their names; those that others replaced are not among them.
        ratio: Of each of these costs, the ratio of the limit to it.
    """

    reference: Architecture
    limits: dict[str, float]
    ratio: dict[str, float]

    def to_json(self) -> JsonObject:
        """Write it as JSON-ready objects."""
        return {"reference": _summary(self.reference), "limits": self.limits, "ratio": self.ratio}


@dataclass(frozen=True)
class Uniform:
    """The network of one multiplier of the width that needs at most the MACs of the best: docs/theory.md (93).

    Args:
        width: The multiplier of the reference's channels.
        network: The network.
        precision: The precision at which bytes are counted: `fp32`, `fp16` or `int8`.
        batch: The inputs whose activations are counted.
    """

    width: float
    network: Architecture
    precision: str
    batch: int

    def to_json(self) -> JsonObject:
        """Write it as JSON-ready objects."""
        return {"width": self.width, **_with_figures(self.network, self.precision, self.batch)}


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a search claims and can prove; docs/reference/bodies.md lists the fields as JSON.

    Args:
        count: The number of architectures in the ranking, from `first_rank` on.
        optimal: The ranking (or front) is proved to be the true one.
        objective_value: The objective's value of the best; None for a front, or when nothing was found.
        bound: No architecture within the budget has a better objective value.
        best_nn_mass: The NN-Mass of the best (of a front: the greatest); None when nothing was found.
        upper_bound: The same as `bound` when NN-Mass is maximized.
        space_size: The exact number of distinct architectures in the space, or the spaces; see `space_size_exact`. None
            when the time ran out before the tables of the space existed.
        feasible: Whether an architecture fits; None when the time ran out before one was found.
        binding: The limits whose removal would improve the optimum; None when the time ran out.
        relaxation: For an infeasible request, the nearest value of each limit that makes it feasible with the other
            limits unchanged: the smallest of an upper limit, the largest of a lower one (None: no value does).
        caveats: Codes of what makes the comparison by NN-Mass less fair, such as `widths_differ`: docs/theory.md (36).
        labels: The number of partial architectures that the engine created.
        pruned: The number of options and partial architectures that it excluded by a bound.
        reference: For compression, the reference.
        savings: For compression, how many times fewer params and MACs the best has than the reference.
        uniform: For compression, the network of one width multiplier that needs at most the MACs of the best, where
            the family has one.
        front: Whether the result is a Pareto front.
        resolution: For an incomplete Pareto front, by cost: each missing point has one here with as much NN-Mass that
            costs at most this much more.
        thinned_from: For a front that was thinned, the number of points that were found; all else is said of these.
        joint_relaxation: For an infeasible request that no single limit makes feasible, the least common factor on all
            limits that does; None for other requests, and when the time ran out.
        unfinished: What the time limit left open besides the ranking: `binding`, `relaxation`, `joint_relaxation`, or
            `tables` where there was no time to search.
        spent: For a request with a `spend`, the proof of the most of its cost; None for others, and if nothing was
            found.
        first_rank: The rank at which the ranking starts. What is said of the best is said of rank 1.
        spaces: For a request with several spaces, what is proved of each.
        space_size_exact: Whether `space_size` is exact. Otherwise it is at most that: several spaces may share networks
            that count more than once.
        within: For a budget within a reference, the reference and the limits that are its costs; None for others.
    """

    count: int
    optimal: bool
    objective_value: float | None
    bound: float | None
    best_nn_mass: float | None
    upper_bound: float | None
    space_size: int | None
    feasible: bool | None
    binding: tuple[str, ...] | None
    relaxation: dict[str, float | None] | None
    caveats: tuple[str, ...]
    labels: int
    pruned: int
    reference: Architecture | None = None
    savings: dict[str, float] | None = None
    uniform: Uniform | None = None
    front: bool = False
    resolution: dict[str, float] | None = None
    thinned_from: int | None = None
    joint_relaxation: JointRelaxation | None = None
    unfinished: tuple[str, ...] = ()
    spent: Spent | None = None
    first_rank: int = 1
    spaces: tuple[Share, ...] = ()
    space_size_exact: bool = True
    within: Taken | None = None

    @property
    def value_proved(self) -> bool | None:
        """Whether the value of the best is proved where the ranking is not; None where it is, or there is no value.

        Then no architecture is better than the best, but others may have its value and precede it, or be missing below.
        """
        return None if self.optimal or self.objective_value is None else self.bound == self.objective_value

    @property
    def gap(self) -> float | None:
        """The distance between value and bound, relative to the value, docs/theory.md (35); None without both."""
        if self.objective_value is None or self.bound is None:
            return None
        if self.bound == self.objective_value:
            return 0.0
        return abs(self.bound - self.objective_value) / self.objective_value if self.objective_value else None

    def to_json(self) -> JsonObject:
        """Write the certificate as JSON-ready objects."""
        return {
            "count": self.count,
            "optimal": self.optimal,
            "objective_value": self.objective_value,
            "bound": self.bound,
            "gap": self.gap,
            "best_nn_mass": self.best_nn_mass,
            "upper_bound": self.upper_bound,
            "space_size": None if self.space_size is None else str(self.space_size),
            "feasible": self.feasible,
            "binding": None if self.binding is None else list(self.binding),
            "relaxation": self.relaxation,
            **({} if self.joint_relaxation is None else {"joint_relaxation": self.joint_relaxation.to_json()}),
            **({} if self.value_proved is None else {"value_proved": self.value_proved}),
            **({"unfinished": list(self.unfinished)} if self.unfinished else {}),
            "caveats": list(self.caveats),
            "explored": {"labels": self.labels, "pruned_by_bound": self.pruned},
            **({} if self.reference is None else {"reference": _summary(self.reference), "savings": self.savings}),
            **({} if self.uniform is None else {"uniform": self.uniform.to_json()}),
            **({"resolution": self.resolution} if self.front else {}),
            **({} if self.thinned_from is None else {"thinned_from": self.thinned_from}),
            **({} if self.spent is None else {"spent": self.spent.to_json()}),
            **({} if self.first_rank == 1 else {"first_rank": self.first_rank}),
            **({} if self.within is None else {"within": self.within.to_json()}),
            **self._of_spaces(),
        }

    def _of_spaces(self) -> JsonObject:
        said: JsonObject = {"spaces": [share.to_json() for share in self.spaces]} if self.spaces else {}
        return said if self.space_size_exact else {**said, "space_size_exact": False}


def _with_figures(network: Architecture, precision: str, batch: int) -> JsonObject:
    """Return a network that stands beside a ranking: its id, its figures and its definition."""
    definition, figures = network.definition(), network.evaluation.report(precision, batch)
    return {"arch_id": id_of(definition), **figures, "batch": batch, "architecture": definition}


def _summary(reference: Architecture) -> JsonObject:
    evaluation = reference.evaluation
    figures = {"nn_mass": float(evaluation.mass), "params": evaluation.params, "macs": evaluation.macs}
    return {"arch_id": reference.arch_id, **figures}


@dataclass(frozen=True)
class SearchResult:
    """The ranking, best first (for a front: ascending in its first cost), with its certificate.

    Args:
        ranking: The architectures in order.
        certificate: What is claimed and proved about the ranking.
    """

    ranking: tuple[Ranked, ...]
    certificate: Certificate

    def report(self, elapsed_seconds: float) -> JsonObject:
        """Return the certificate as it is stored and returned.

        Args:
            elapsed_seconds: The elapsed time in seconds, measured by the caller.
        """
        return {**self.certificate.to_json(), "elapsed_seconds": round(elapsed_seconds, 4)}

    @property
    def digest(self) -> str:
        """A hash of ranking and certificate without counters: equal for every complete run of one request."""
        certificate = {key: value for key, value in self.certificate.to_json().items() if key != "explored"}
        ranking = [ranked.architecture.arch_id for ranked in self.ranking]
        return f"sha256:{sha256_of({'certificate': certificate, 'ranking': ranking})}"
