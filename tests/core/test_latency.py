"""Latency: a sum over stages, used as a limit and as an objective, reported with its device and band."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product
from random import Random
from typing import Any

import numpy as np
import pytest

from nnmass_core.architecture import Architecture
from nnmass_core.budget import Budget
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.families.densenet_cnn import DenseNetCnn
from nnmass_core.hardware.devices import devices, read_device
from nnmass_core.hardware.latency import KINDS, LONGEST, estimate
from nnmass_core.named.presets import presets, resolve_space
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import chain_of, search
from nnmass_core.spaces.base import Space
from nnmass_core.verification.controls import random_control
from tests.core.brute import architectures
from tests.core.latencies import DEVICE, model, profile
from tests.core.problems import OTHER_FAMILIES, random_space
from tests.parsed import parsed

LATENCY = 4
"""The column of a stage's additive quantities."""


def nanoseconds(network: Architecture) -> int:
    work = network.work()
    assert work is not None
    return estimate(model(), "", work).nanoseconds


def paths(space: Space, count: int) -> Any:
    """Yield random networks of a space, each with the latency that the engine's tables say."""
    chain, rng = chain_of(space, model()), Random(space.digest)
    for _ in range(count):
        node, path, total = 0, list[int](), 0.0
        for stage in chain.stages:
            option = rng.choice(np.flatnonzero(stage.source == node).tolist())
            path.append(option)
            node, total = int(stage.target[option]), total + float(stage.additive[option, LATENCY])
        yield space.architecture(chain.path_integers(np.array([path]))[0].tolist()), total


@pytest.mark.parametrize("name", presets())
def test_latency_tables_equal_the_latency_of_each_network(name: str) -> None:
    for network, total in paths(resolve_space(name), 20):
        assert total == nanoseconds(network)
        assert sum(each.macs for part in network.work() for each in part) == network.evaluation.macs


KERNELS: dict[str, Any] = {
    "family": "mobilenet_v2",
    "input": {"channels": 3, "height": 33, "width": 40},
    "num_classes": 7,
    "stem_channels": [4, 8],
    "last_channels": 16,
    "stem_stride": 1,
    "activation": "silu",
    "stages": [
        {"expansion": [1, 3], "channels": [4, 8], "repeats": [0, 1, 2], "stride": 1, "kernel": [3, 5, 7], "se": [0, 4]},
        {"expansion": [1, 3], "channels": 8, "repeats": [1, 3], "stride": [1, 2], "kernel": [3, 5], "se": [0, 2]},
    ],
}
"""A space of inverted residuals whose kernels, squeeze-and-excitation and number of stages vary."""


def test_latency_tables_include_kernels_and_squeeze_and_excitation() -> None:
    for network, total in paths(decode_space(KERNELS), 100):
        assert total == nanoseconds(network)
        assert sum(each.macs for part in network.work() for each in part) == network.evaluation.macs


@pytest.mark.parametrize(("kernels", "refused"), [(3, False), ([3, 7], False), ([3, 5, 7], True)])
def test_a_limit_on_the_latency_of_kernels_that_a_profile_lacks_is_refused(kernels: Any, refused: bool) -> None:
    stages = [stage | {"kernel": kernels} for stage in KERNELS["stages"]]
    lacking = replace(DEVICE, latency=model(tuple(kind for kind in KINDS if kind != "depthwise_5x5")))
    space, budget = decode_space(KERNELS | {"stages": stages}), Budget(device=lacking, max_latency_ms=1000)
    if refused:
        with pytest.raises(DefinitionError, match="has a profile without times for depthwise_5x5"):
            SearchRequest(space=space, budget=budget)
    else:
        assert search(SearchRequest(space=space, budget=budget)).ranking


def every(space: dict[str, Any]) -> list[Architecture]:
    """Return the whole space in ranking order."""
    form = {"depth": 0, "skip_channels": 0}
    assert form.keys() <= space.keys()
    read = decode_space(space)
    found = [read.architecture([n for cell in cells for n in cell]) for cells in architectures(space)]
    return sorted(found, key=place)


def place(network: Architecture) -> tuple[Any, ...]:
    figures = network.evaluation
    cells = [n for part in figures.parts for n in vars(part.definition).values()]
    return -figures.mass, figures.macs, figures.params, cells


def run(space: dict[str, Any], objective: Objective, **budget: Any) -> Any:
    requested = Budget(device=DEVICE, **budget)
    return search(SearchRequest(space=decode_space(space), budget=requested, objective=objective, top_k=5))


@pytest.mark.parametrize("family", ["densenet_cnn", *OTHER_FAMILIES])
@pytest.mark.random_cases(20)
def test_a_limit_on_latency_equals_brute_force(family: str, seed: int) -> None:
    rng = Random(f"{family} {seed}")
    space = random_space(rng, most=150, family=family)
    networks = every(space)
    bound = nanoseconds(rng.choice(networks)) / 1e6
    fitting = [network for network in networks if nanoseconds(network) / 1e6 <= bound]
    found = run(space, Maximize(), max_latency_ms=bound)
    assert [ranked.architecture for ranked in found.ranking] == fitting[:5]
    assert found.certificate.optimal
    best_without = networks[0].evaluation.mass > fitting[0].evaluation.mass
    assert found.certificate.binding == (("max_latency_ms",) if best_without else ())
    for ranked in found.ranking:
        assert ranked.latency is not None
        assert ranked.slack["max_latency_ms"] == pytest.approx(bound - ranked.latency.milliseconds)
        assert ranked.slack["max_latency_ms"] >= 0


@pytest.mark.parametrize("family", ["densenet_cnn", *OTHER_FAMILIES])
@pytest.mark.random_cases(10)
def test_the_least_latency_and_the_front_equal_brute_force(family: str, seed: int) -> None:
    rng = Random(f"least {family} {seed}")
    space = random_space(rng, most=150, family=family)
    networks = every(space)
    wanted = rng.choice(networks).evaluation.mass
    able = sorted((n for n in networks if n.evaluation.mass >= wanted), key=lambda n: (nanoseconds(n), place(n)))
    found = run(space, Minimize("latency_ms", float(wanted)))
    assert [nanoseconds(ranked.architecture) for ranked in found.ranking] == [nanoseconds(n) for n in able[:5]]
    assert found.ranking[0].architecture == able[0]
    assert found.certificate.objective_value == found.certificate.bound == nanoseconds(able[0]) / 1e6
    front, best = list[tuple[int, Fraction]](), Fraction(-1)
    for network in sorted(networks, key=lambda n: (nanoseconds(n), -n.evaluation.mass)):
        if network.evaluation.mass > best:
            best = network.evaluation.mass
            front.append((nanoseconds(network), best))
    request = SearchRequest(space=decode_space(space), budget=Budget(device=DEVICE), objective=Pareto(("latency_ms",)))
    answer = search(request)
    assert [(nanoseconds(r.architecture), r.evaluation.mass) for r in answer.ranking] == front
    assert answer.certificate.optimal


SMALL = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 16, "width": 16},
    "num_classes": 4,
    "cells": 2,
    "width": [8, 16],
    "depth": {"min": 3, "max": 6},
    "skip_channels": {"min": 0, "max": 16, "step": 8},
}


def test_an_infeasible_limit_on_latency_reports_the_least_sufficient_one() -> None:
    least = min(map(nanoseconds, every(SMALL)))
    found = run(SMALL, Maximize(), max_latency_ms=least / 2e6)
    assert found.certificate.feasible is False
    assert found.certificate.relaxation == {"max_latency_ms": least / 1e6}
    assert run(SMALL, Maximize(), max_latency_ms=least / 1e6).certificate.count > 0


def test_an_estimate_has_its_device_and_band() -> None:
    (best, *_) = run(SMALL, Maximize(), max_macs=10**9).ranking
    figures = best.figures("fp32")
    assert figures["latency_ms"] == nanoseconds(best.architecture) / 1e6
    assert figures["latency"] == {
        "kind": "estimated",
        "device": "my-board",
        "low_ms": pytest.approx(figures["latency_ms"] * 0.8),
        "high_ms": pytest.approx(figures["latency_ms"] * 1.25),
        "median_error": 0.1,
    }
    plain = search(SearchRequest(space=decode_space(SMALL), budget=Budget(), top_k=1)).ranking[0].figures("fp32")
    assert (plain["latency_ms"], plain["latency"]) == (None, None)


def test_a_control_respects_the_limit_on_latency() -> None:
    bound = sorted(nanoseconds(network) for network in every(SMALL))[30] / 1e6
    request = SearchRequest(space=decode_space(SMALL), budget=Budget(device=DEVICE, max_latency_ms=bound))
    candidate = search(request).ranking[0].architecture
    for seed in range(20):
        control = random_control(request, candidate, frozenset(), seed)
        assert control is None or nanoseconds(control) / 1e6 <= bound


@pytest.mark.parametrize(
    ("budget", "problem"),
    [
        ({"max_latency_ms": 5}, "budget.max_latency_ms: requires a device"),
        ({"max_latency_ms": 5, "device": "stm32f746"}, "budget.max_latency_ms: requires a device"),
        ({"max_latency_ms": 0, "device": profile()}, "budget.max_latency_ms: must be a number above 0"),
        ({"max_latency_ms": True, "device": profile()}, "budget.max_latency_ms: must be a number above 0"),
        ({"max_latency_ms": 5, "device": profile(), "precision": "int8"}, "budget.precision: must be fp32"),
        ({"max_latency_ms": 5, "device": "toaster"}, "budget.device: must be one of stm32f407"),
        ({"device": profile("Bad Name")}, "budget.device.name: must be a letter"),
        ({"device": profile(ram_bytes=-1)}, "budget.device.ram_bytes: must be at least 0"),
        ({"device": profile(color="red")}, 'budget.device.color: Unknown field "color"'),
        ({"device": profile(title="a\nb")}, "budget.device.title: must be one line"),
        ({"device": profile(latency={"runtime": "x"})}, "budget.device.latency.threads: is required"),
    ],
)
def test_an_invalid_request_on_latency_names_its_field(budget: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        SearchRequest.from_json({"space": SMALL, "budget": budget})


def test_an_operator_that_is_not_in_the_profile_is_reported() -> None:
    without = read_device({**profile(), "latency": None})
    part = model(("convolution_3x3", "linear"))
    device = type(without)(**{**vars(without), "latency": part})
    with pytest.raises(DefinitionError, match=r"budget.device: has a profile without times for activate, .*, send"):
        SearchRequest(space=decode_space(SMALL), budget=Budget(device=device, max_latency_ms=5))
    # without a limit it is no more than an estimate that is missing
    answer = search(SearchRequest(space=decode_space(SMALL), budget=Budget(device=device), top_k=1))
    assert answer.ranking[0].latency is None


def test_a_family_that_lists_no_operators_has_no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    space = decode_space(SMALL)
    monkeypatch.setattr(DenseNetCnn, "work", lambda self: None)
    with pytest.raises(DefinitionError, match=r"budget\.max_latency_ms: is not available for densenet_cnn"):
        SearchRequest(space=space, budget=Budget(device=DEVICE, max_latency_ms=5))
    with pytest.raises(DefinitionError, match=r"objective\.pareto: is not available for densenet_cnn"):
        SearchRequest(space=space, budget=Budget(device=DEVICE), objective=Pareto(("latency_ms",)))
    assert search(SearchRequest(space=space, budget=Budget(device=DEVICE), top_k=1)).ranking[0].latency is None


@pytest.mark.parametrize("objective", [Minimize("latency_ms", 1.0), Pareto(("latency_ms",))])
def test_minimizing_latency_requires_a_device_with_a_profile(objective: Objective) -> None:
    with pytest.raises(DefinitionError, match=r"objective\.(minimize|pareto): requires a device"):
        SearchRequest(space=decode_space(SMALL), budget=Budget(), objective=objective)


def test_a_request_stores_its_latency_profile() -> None:
    """A profile measured again under its old name makes another request; a shipped device is known by its name."""
    requested = SearchRequest.from_json({"space": SMALL, "budget": {"device": profile(), "max_latency_ms": 5}})
    stored = parsed(requested.to_json())["budget"]
    assert stored["device"]["latency"]["operators"][0]["kind"] == "convolution_1x1"
    assert Budget(**stored) == requested.budget
    again = profile()
    again["latency"]["operators"][0]["mac"] *= 2
    other = SearchRequest.from_json({"space": SMALL, "budget": {"device": again, "max_latency_ms": 5}})
    assert other.digest != requested.digest
    for name in devices():
        assert Budget(device=name).to_json()["device"] == name


def test_very_large_latencies_stay_exact() -> None:
    dear = profile()
    dear["latency"]["operators"] = [one | {"mac": 1e9} for one in dear["latency"]["operators"]]
    device = read_device(dear)
    assert device.latency is not None
    space = decode_space(SMALL)
    chain = chain_of(space, device.latency)
    assert max(float(stage.additive[:, LATENCY].max()) for stage in chain.stages) <= LONGEST
    assert sum(float(stage.additive[:, LATENCY].max()) for stage in chain.stages) < 2**53


def test_every_combination_of_precision_and_device_reads_back() -> None:
    for name, precision in product(devices(), ("fp32", "fp16", "int8")):
        budget = Budget(device=name, precision=precision, max_macs=5)
        assert Budget(**parsed(budget.to_json())) == budget
