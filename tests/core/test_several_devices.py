"""Budgets of several devices: networks fit each of them, against brute force on the oracle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.certificate import Certificate, Ranked
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.hardware.devices import Device
from nnmass_core.hardware.latency import LatencyModel, estimate
from nnmass_core.named.presets import resolve_space
from nnmass_core.named.spending import Spend
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import search
from nnmass_core.verification.controls import params_control, random_control
from tests.core.brute import Row
from tests.core.every_limit import FAMILIES, Small, flat, found, random_small
from tests.core.latencies import model, profile

MEMORY = {"max_weight_bytes": "flash_bytes", "max_peak_activation_bytes": "ram_bytes"}


def random_model(rng: Random) -> LatencyModel:
    """Return a model whose operators have random prices, so that devices order networks differently."""
    plain = model()
    operators = tuple(
        replace(one, call=rng.uniform(10, 3000), mac=rng.uniform(0, 0.3), weight=rng.uniform(0, 0.5))
        for one in plain.operators
    )
    return replace(plain, operators=operators)


def use(row: Row, limit: str) -> int:
    return row.weight_bytes("fp32") if limit == "max_weight_bytes" else 4 * row.peak


def random_devices(rng: Random, small: Small) -> list[Device]:
    """Return two or three devices, each with any of flash, RAM and latencies."""
    devices = []
    for number in range(rng.choice((2, 2, 3))):
        sizes: dict[str, int | None] = {"flash_bytes": None, "ram_bytes": None}
        for limit, field in MEMORY.items():
            if rng.random() < 0.6:
                used = sorted(use(row, limit) for row in small.rows)
                sizes[field] = rng.choice(used[len(used) // 3 :]) + rng.choice((0, 0, -1, 1))
        latency = random_model(rng) if rng.random() < 0.7 else None
        devices.append(Device(f"board-{number}", "", sizes["flash_bytes"], sizes["ram_bytes"], "", "", latency))
    return devices


def latencies(small: Small, devices: list[Device]) -> dict[Any, dict[str, int]]:
    """Return the nanoseconds of every network on every device that has latencies."""
    read = decode_space(small.space)
    timed = [(one.name, one.latency) for one in devices if one.latency is not None]
    return {
        row.cells: {name: estimate(latency, "", work).nanoseconds for name, latency in timed}
        for row in small.rows
        if (work := read.architecture(flat(row)).work()) is not None
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(20)
def test_networks_fit_each_of_several_devices(family: str, seed: int) -> None:
    check(Random(f"devices {family} {seed}"), family)


@pytest.mark.listed
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(8)
def test_listed_networks_fit_each_of_several_devices(family: str, seed: int) -> None:
    check(Random(f"listed devices {family} {seed}"), family)


@dataclass(frozen=True)
class Several:
    """A small space, several devices, the nanoseconds of each network on each, and the budget's own limits."""

    small: Small
    devices: list[Device]
    times: dict[Any, dict[str, int]]
    own: dict[str, Any]

    @staticmethod
    def random(rng: Random, family: str) -> Several:
        """Return a random one; its limits may admit nothing."""
        small = random_small(rng, family)
        devices = random_devices(rng, small)
        times = latencies(small, devices)
        own: dict[str, Any] = {}
        if any(one.latency for one in devices) and rng.random() < 0.7:
            worst = sorted(max(each.values()) for each in times.values())
            own["max_latency_ms"] = rng.choice(worst[len(worst) // 4 :]) / 1e6 * rng.choice((1, 1, 0.9))
        if rng.random() < 0.4:
            own["max_params"] = rng.choice(small.rows).params
        return Several(small, devices, times, own)

    @property
    def limits(self) -> dict[str, Any]:
        """The least of each limit."""
        sizes = {
            limit: [size for one in self.devices if (size := getattr(one, field)) is not None]
            for limit, field in MEMORY.items()
        }
        return self.own | {limit: min(found) for limit, found in sizes.items() if found}

    def value(self, row: Row, limit: str) -> float:
        """Return what a network has of a limit, in its unit: of latency the most on any device."""
        if limit == "max_latency_ms":
            return max(self.times[row.cells].values()) / 1e6
        return row.params if limit == "max_params" else use(row, limit)

    def within(self, limits: dict[str, Any]) -> list[Row]:
        """Return the networks that keep limits, in ranking order."""
        return [row for row in self.small.rows if all(self.value(row, name) <= limits[name] for name in limits)]

    def without(self, name: str) -> list[Row]:
        """Return the networks that keep all limits but one."""
        return self.within({limit: bound for limit, bound in self.limits.items() if limit != name})

    def slack_on(self, device: Device, row: Row) -> dict[str, float]:
        """Return what a network leaves of a device."""
        sizes = {limit: getattr(device, field) for limit, field in MEMORY.items()}
        left = {limit: size - use(row, limit) for limit, size in sizes.items() if size is not None}
        if device.latency is None or "max_latency_ms" not in self.own:
            return left
        return left | {"max_latency_ms": self.own["max_latency_ms"] - self.times[row.cells][device.name] / 1e6}


def ordered(rows: list[Row], objective: Objective) -> list[Row]:
    """Return the ranking or the front of rows."""
    if isinstance(objective, Minimize):
        return sorted(rows, key=lambda row: (row.params, *row.place))
    if isinstance(objective, Maximize):
        return rows
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.macs, *row.place)):
        front += [] if front and row.mass <= front[-1].mass else [row]
    return front


def check(rng: Random, family: str) -> None:
    """Compare a random question about a random space and random devices with brute force."""
    asked = Several.random(rng, family)
    objective: Objective = rng.choice((Maximize(), Maximize(), Minimize("params"), Pareto(("macs",))))
    budget = Budget(devices=asked.devices, precision="fp32", **asked.own)
    more: dict[str, Any] = {} if isinstance(objective, Pareto) else {"top_k": rng.choice((1, 5, 1000))}
    answer = search(SearchRequest(space=decode_space(asked.small.space), budget=budget, objective=objective, **more))
    expected = ordered(asked.within(asked.limits), objective)
    assert found(asked.small, answer) == expected[: more.get("top_k", len(expected))]
    certificate = answer.certificate
    assert (certificate.optimal, certificate.feasible) == (True, bool(expected))
    for place, row in zip(answer.ranking, expected, strict=False):
        check_place(asked, place, row)
    if not expected:
        check_relaxation(asked, certificate)
    elif objective == Maximize():
        binding = [name for name in asked.limits if asked.without(name)[0].mass > expected[0].mass]
        assert sorted(certificate.binding or ()) == sorted(binding)


def check_place(asked: Several, place: Ranked, row: Row) -> None:
    """Compare the slack of a network, on all devices and on each, with brute force."""
    assert place.slack == {name: bound - asked.value(row, name) for name, bound in asked.limits.items()}
    assert [fit.name for fit in place.devices] == [one.name for one in asked.devices]
    for fit, one in zip(place.devices, asked.devices, strict=True):
        assert fit.slack == asked.slack_on(one, row)
        took = None if fit.latency is None else fit.latency.nanoseconds
        assert took == asked.times[row.cells].get(one.name)


def check_relaxation(asked: Several, certificate: Certificate) -> None:
    """Compare what would admit a network with brute force."""
    assert certificate.relaxation is not None
    for name, nearest in certificate.relaxation.items():
        assert nearest == min((asked.value(row, name) for row in asked.without(name)), default=None)
    joint = certificate.joint_relaxation
    if joint is not None:
        assert joint.factor == min(
            max(exact(asked.value(row, name), name) / Fraction(bound) for name, bound in asked.limits.items())
            for row in asked.small.rows
        )


def exact(value: float, limit: str) -> Fraction:
    """Return a value without the error of its double: a latency is a whole number of nanoseconds."""
    return Fraction(round(value * 1e6), 10**6) if limit == "max_latency_ms" else Fraction(value)


@pytest.mark.parametrize("family", ["densenet_cnn", "resnet"])
def test_controls_fit_every_device(family: str) -> None:
    seen = 0
    for seed in range(12):
        rng = Random(f"controls {family} {seed}")
        small = random_small(rng, family)
        devices = [replace(one, latency=random_model(rng)) for one in random_devices(rng, small)[:2]]
        times = latencies(small, devices)
        bound = sorted(max(one.values()) for one in times.values())[len(times) // 2] / 1e6
        budget = Budget(devices=devices, max_latency_ms=bound, precision="fp32")
        request = SearchRequest(space=decode_space(small.space), budget=budget, top_k=1)
        best = [place.architecture for place in search(request).ranking]
        for candidate in best:
            for control in (
                params_control(request, candidate, frozenset()),
                random_control(request, candidate, frozenset(), 1),
            ):
                if control is not None:
                    seen += 1
                    assert all(one.milliseconds <= bound for one in request.latencies_of(control))
    assert seen > 2


def test_the_default_precision_of_several_devices_is_that_of_least_bytes() -> None:
    assert Budget(devices=["rp2040", "stm32f746"]).precision == "int8"
    assert Budget(devices=["rtx-4090", "raspberry-pi-5-8gb"]).precision == "fp32"
    assert Budget(devices=["rtx-4090", "rp2040"]).precision == "int8"
    assert Budget(devices=["rtx-4090", "rp2040"], precision="fp16").precision == "fp16"
    assert Budget(devices=[]).precision == Budget().precision == "fp32"


def test_one_device_in_a_list_is_that_device() -> None:
    assert Budget(devices=["rp2040"]) == Budget(device="rp2040")
    assert Budget(devices=["rp2040"]).to_json() == {"precision": "int8", "device": "rp2040"}
    assert Budget(devices=[]) == Budget()
    both = Budget(devices=["rp2040", "stm32f746"])
    assert both.to_json() == {"precision": "int8", "devices": ["rp2040", "stm32f746"]}
    assert {limit.name: limit.bound for limit in both.limits()} == {
        "max_weight_bytes": 2**20,
        "max_peak_activation_bytes": 264 * 2**10,
    }
    space = resolve_space("densenet-tiny-free")
    requests = [SearchRequest(space=space, budget=budget) for budget in (both, Budget(device="rp2040"))]
    assert [one.version for one in requests] == [2, 1]
    assert SearchRequest.from_json(requests[0].to_json()) == requests[0]
    assert "devices" not in search(requests[1]).ranking[0].figures("int8")


TWO = [profile("a"), profile("b")]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"budget": {"device": "rp2040", "devices": ["rp2040"]}}, "budget.devices"),
        ({"budget": {"devices": "rp2040"}}, "budget.devices"),
        ({"budget": {"devices": ["rp2040"] * 9}}, "budget.devices"),
        ({"budget": {"devices": ["rp2040", "rp2040"]}}, "budget.devices"),
        ({"budget": {"devices": ["rp2040", "toaster"]}}, "budget.devices.1"),
        ({"budget": {"devices": ["rp2040", {"name": "A"}]}}, "budget.devices.1.name"),
        ({"budget": {"devices": ["rp2040", "stm32f746"], "max_latency_ms": 5}}, "budget.max_latency_ms"),
        ({"budget": {"devices": ["rp2040", *TWO], "max_latency_ms": 5}}, "budget.precision"),
        ({"budget": {"devices": TWO, "min_latency_ms": 5}}, "budget.min_latency_ms"),
        ({"budget": {"devices": TWO}, "objective": {"minimize": "latency_ms"}}, "objective.minimize"),
        ({"budget": {"devices": TWO}, "objective": {"maximize": "latency_ms"}}, "objective.maximize"),
        ({"budget": {"devices": TWO}, "objective": {"pareto": ["nn_mass", "latency_ms"]}}, "objective.pareto"),
        ({"budget": {"devices": TWO}, "spend": {"quantity": "latency_ms", "share": 1}}, "spend.quantity"),
    ],
)
def test_an_invalid_field_is_named(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        SearchRequest.from_json({"space": "densenet-tiny-free", **asked})
    assert [problem.field for problem in refused.value.problems] == [field]


def test_a_profile_without_an_operator_is_named_by_its_place() -> None:
    lacking = profile("b")
    lacking["latency"]["operators"] = lacking["latency"]["operators"][:1]
    asked = {"space": "densenet-tiny-free", "budget": {"devices": [profile("a"), lacking], "max_latency_ms": 5}}
    with pytest.raises(DefinitionError) as refused:
        SearchRequest.from_json(asked)
    assert [problem.field for problem in refused.value.problems] == ["budget.devices.1"]
    budget = Budget(devices=[profile("a"), profile("b")])
    with pytest.raises(DefinitionError, match="applies to one device"):
        SearchRequest(space=resolve_space("densenet-tiny-free"), budget=budget, spend=Spend("latency_ms", 0.5))
