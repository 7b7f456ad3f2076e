"""Profiles fitted to timed networks: the fit, its error, its range, and the profiles that are shipped."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from bench import timings
from nnmass_core.budget import Budget
from nnmass_core.codec import decode, encode
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_architecture, decode_space
from nnmass_core.hardware.devices import devices
from nnmass_core.hardware.fitting import (
    COLUMNS,
    OFF_CHIP,
    SEED,
    Floats,
    error_of,
    families_of,
    figures_of,
    fit_networks,
)
from nnmass_core.hardware.latency import LatencyModel, convolution, estimate
from nnmass_core.request import SearchRequest
from nnmass_core.search import search
from tests.core.latencies import DEVICE, model
from tests.parsed import parsed

# untyped: spaces and profiles as JSON has them

ROOT = Path(__file__).parents[2]
TRUE = {
    ("convolution_1x1", "mac"): 0.004,
    ("convolution_1x1", "call"): 700.0,
    ("depthwise_3x3", "written"): 0.3,
    ("depthwise_5x5", "written"): 0.5,
    ("add", "call"): 2000.0,
    ("convolution_3x3", "call"): 90_000.0,
}
"""Times in nanoseconds of a device that nobody has."""


def drawn(rng: Random) -> list[timings.Choice]:
    """Return the stages of a network of the space of the shipped profiles."""
    return [(rng.choice((1, 4, 6)), rng.choice((3, 5)), rng.randint(1, 3), rng.randint(0, 1)) for _ in range(7)]


def network_of(choices: list[timings.Choice]) -> Any:
    return decode_architecture(timings.definition_of(timings.row_of(choices)))


@cache
def networks() -> list[Any]:
    rng = Random(1)
    return list({network.arch_id: network for network in (network_of(drawn(rng)) for _ in range(50))}.values())


def true_milliseconds(works: Any) -> Floats:
    milliseconds: Floats = figures_of(works) @ np.array([TRUE.get(column, 0.0) for column in COLUMNS]) / 1e6
    return milliseconds


def test_a_fit_recovers_an_additive_model() -> None:
    works = [network.work() for network in networks()]
    fitted_to, others = works[:40], works[40:]
    assert len(others) > 5
    times = true_milliseconds(fitted_to)
    fit = fit_networks(fitted_to, times.tolist())
    assert fit.estimates == pytest.approx(times, rel=1e-9)
    assert figures_of(others) @ fit.prices / 1e6 == pytest.approx(true_milliseconds(others), rel=1e-9)
    found = {(one.kind, name): getattr(one, name) for one in fit.operators for name in ("call", "mac", "written")}
    for column in (("convolution_1x1", "mac"), ("depthwise_3x3", "written"), ("depthwise_5x5", "written")):
        assert found[column] == pytest.approx(TRUE[column], rel=1e-6)  # calls of different kinds depend on each other
    assert error_of(fit.estimates, times, 1).median_error < 1e-9


def more_networks() -> list[Any]:
    """Return enough networks for elements on the chip to be tried."""
    rng = Random(2)
    return [*networks(), *(network_of(drawn(rng)) for _ in range(30))]


@pytest.mark.parametrize("on_chip", [2**17, 2**19])
def test_a_fit_recovers_the_elements_on_the_chip(on_chip: int) -> None:
    works = [network.work() for network in more_networks()]
    true = TRUE | {("depthwise_3x3", OFF_CHIP): 0.9, ("convolution_1x1", OFF_CHIP): 0.1}
    prices = np.array([true.get(column, 0.0) for column in COLUMNS])
    times = figures_of(works, on_chip) @ prices / 1e6
    fit = fit_networks(works[:60], times[:60].tolist())
    assert fit.on_chip == on_chip
    assert figures_of(works[60:], on_chip) @ fit.prices / 1e6 == pytest.approx(times[60:], rel=1e-6)
    fitted = LatencyModel(
        runtime="", threads=1, operators=fit.operators, on_chip_elements=fit.on_chip, held_out=model().held_out
    )
    estimated = [estimate(fitted, "", work).milliseconds for work in works[60:]]
    assert estimated == pytest.approx(times[60:], rel=1e-4)


def test_elements_on_the_chip_are_tried_with_enough_networks() -> None:
    works = [network.work() for network in networks()]
    prices = np.array([(TRUE | {("depthwise_3x3", OFF_CHIP): 2.0}).get(column, 0.0) for column in COLUMNS])
    times = (figures_of(works, 2**18) @ prices / 1e6).tolist()
    assert len(works) >= 43  # 27 times need 34 networks of four fifths, and so 43; the 22 beyond 2^21 need 35
    assert fit_networks(works[:34], times[:34]).on_chip == 0
    assert fit_networks(works, times).on_chip == 2**18


def test_elements_beyond_those_on_the_chip_count_for_each_call() -> None:
    layer = convolution(1, 4, 6, 10, 10)
    assert [layer.off_chip(on_chip) for on_chip in (0, 50, 60, 61)] == [60, 10, 0, 0]
    assert layer.times(3).off_chip(50) == 30
    counts = np.array([0, 1, 3])
    assert layer.times(counts).off_chip(50).tolist() == [0, 10, 30]


def test_the_estimate_of_a_network_is_not_fitted_to_it() -> None:
    """A wrong time changes the estimates of the networks of other parts, and none of its own part."""
    works = [network.work() for network in networks()]
    times = true_milliseconds(works)
    wrong = times.copy()
    part = np.array_split(np.random.default_rng(SEED).permutation(len(times)), 5)[0]
    wrong[part[0]] *= 3
    changed = fit_networks(works, wrong.tolist()).estimates
    assert changed[part] == pytest.approx(times[part], rel=1e-9)
    assert np.abs(changed / times - 1).max() > 0.01


@pytest.mark.parametrize("count", [1, 26, 27])
def test_a_fit_needs_as_many_networks_as_times_when_a_fifth_is_held_out(count: int) -> None:
    works = [network.work() for network in networks()[:count]]
    if count == 27:
        fit_networks(works, [1.0] * count)
    else:
        with pytest.raises(DefinitionError, match=rf"needs at least \d+ networks to fit \d+ times, and has {count}$"):
            fit_networks(works, [1.0] * count)


@pytest.mark.parametrize(("n", "left_out"), [(12, 0), (78, 0), (79, 1), (199, 4)])
def test_a_band_leaves_out_a_fortieth_at_each_end(n: int, left_out: int) -> None:
    shares = np.linspace(0.5, 2.0, n)
    band = error_of(np.ones(n), np.random.default_rng(0).permutation(shares), 1)
    assert (band.band_low, band.band_high) == (shares[left_out], shares[n - 1 - left_out])
    assert band.coverage == pytest.approx((n + 1 - 2 * (left_out + 1)) / (n + 1))


# ranges


def fitted_model() -> LatencyModel:
    """Return a model that was fitted to two networks of the space of the shipped profiles."""
    timed = families_of([(network.family, network) for network in networks()[:2]])
    return replace(model(), fitted_to=timed, measure="throughput", batch=8)


def test_a_profile_of_operators_has_the_form_of_earlier_releases() -> None:
    operators = tuple(replace(operator, off_chip=0.0) for operator in model().operators)
    written = parsed(encode(replace(model(), operators=operators, on_chip_elements=0)))
    assert written.keys() == {"runtime", "machine", "threads", "precision", "operators", "held_out"}
    quantities = {"kind", "call", "mac", "read", "written", "weight", "piece"}
    assert all(operator.keys() == quantities for operator in written["operators"])
    assert decode(LatencyModel, encode(model())) == model()
    assert decode(LatencyModel, encode(fitted_model())) == fitted_model()
    assert model().outside("resnet", networks()[0]) == ()


@pytest.mark.parametrize(
    ("change", "outside"),
    [
        ({}, ()),
        ({"num_classes": 10}, ("num_classes",)),
        ({"input": {"channels": 3, "height": 224, "width": 225}}, ("input.width",)),
        ({"activation": "silu"}, ()),
    ],
)
def test_fields_outside_the_range_of_the_timed_networks_are_named(
    change: dict[str, Any], outside: tuple[str, ...]
) -> None:
    timed = networks()[0]
    network = decode_architecture(timed.definition() | change)
    assert fitted_model().outside("mobilenet_v2", network) == outside
    shorter = decode_architecture(timed.definition() | {"stages": timed.definition()["stages"][:3]})
    assert fitted_model().outside("mobilenet_v2", shorter) == ("stages",)


def space(**more: Any) -> dict[str, Any]:
    """Return a small space around the first stages of the networks of the shipped profiles."""
    whole: dict[str, Any] = timings.space()
    stages = [stage | {"expansion": 4, "repeats": 1, "se": 0, "kernel": 3} for stage in whole["stages"]]
    stages[2] |= {"expansion": [1, 4, 6], "kernel": [3, 5], "repeats": [1, 2, 3], "se": [0, 4]}
    stages[5] |= {"kernel": [3, 5], "repeats": [1, 2]}
    return whole | {"stages": stages} | more


@pytest.mark.parametrize("side", [224, 192])
def test_a_search_says_where_a_latency_is_extrapolated(side: int) -> None:
    device = replace(DEVICE, latency=fitted_model())
    small = space(input={"channels": 3, "height": side, "width": side})
    small["stages"] = [stage | {"expansion": 6, "se": 0, "kernel": 3, "repeats": 1} for stage in small["stages"]]
    result = search(SearchRequest(space=decode_space(small), budget=Budget(device=device, max_latency_ms=1e6)))
    (best,) = result.ranking
    assert best.latency is not None
    said = best.latency.to_json()
    assert (said["measure"], said["batch"]) == ("throughput", 8)
    outside = [] if side == 224 else ["input.height", "input.width"]
    assert said["outside"] == outside
    for caveats in (best.caveats, result.certificate.caveats):
        assert ("latency_outside_range" in caveats) is bool(outside)


def test_a_profile_fitted_to_one_family_says_nothing_about_another() -> None:
    other = decode_space(
        {
            "family": "densenet_cnn",
            "input": {"channels": 3, "height": 8, "width": 8},
            "num_classes": 2,
            "cells": 1,
            "width": 8,
            "depth": 4,
            "skip_channels": 8,
        }
    )
    device = replace(DEVICE, latency=fitted_model())
    with pytest.raises(DefinitionError, match=r"^budget\.device: has a profile fitted to networks of mobilenet_v2, wh"):
        SearchRequest(space=other, budget=Budget(device=device, max_latency_ms=5))
    request = SearchRequest(space=other, budget=Budget(device=device, max_macs=10**9))
    assert search(request).ranking[0].latency is None


# the stored check


def test_the_page_of_the_check_is_that_of_its_results() -> None:
    results = json.loads((ROOT / "bench/results/timings.json").read_text(encoding="utf-8"))
    assert timings.page_of(results) == (ROOT / "bench/results/timings.md").read_text(encoding="utf-8")
    assert [*results] == [board.name for board in timings.BOARDS]
    for found in results.values():
        assert found["draws"]["median_error"] <= found["draws"]["most"]
        for name in timings.SETS:
            assert found[name]["searches"] == timings.DRAWS * timings.LIMITS == 200
            assert found[name]["within_by_operator"] >= 0.9 * found[name]["searches"]
    searches = [found[name] for found in results.values() for name in timings.SETS]
    assert sum(one["within"] for one in searches) >= 0.9 * sum(one["searches"] for one in searches)


def test_the_guide_has_the_figures_of_the_check() -> None:
    results = json.loads((ROOT / "bench/results/timings.json").read_text(encoding="utf-8"))
    guide = (ROOT / "docs/tasks/latency.md").read_text(encoding="utf-8")
    for board in timings.BOARDS:
        found, device = results[board.name], devices()[board.name].latency
        assert device is not None
        (row,) = re.findall(rf"^\| `{board.name}` \|.*$", guide, re.MULTILINE)
        errors = [timings.percent(error, 1) for error in (found["draws"]["median_error"], device.held_out.median_error)]
        counts = [str(found[name]["within"]) for name in timings.SETS]
        assert [cell.strip() for cell in row.split("|")[3:-1]] == [*errors, *counts]


def test_a_row_of_the_table_is_the_network_that_it_names() -> None:
    choices = [(1, 3, 1, 0)] * 6 + [(6, 5, 2, 1)]
    network = network_of(choices)
    assert [stage.repeats for stage in network.stages] == [1, 1, 1, 1, 1, 1, 2]
    last = network.stages[-1]
    assert (last.expansion, last.kernel, last.se, last.channels) == (6, 5, 4, 320)
    assert timings.one_hot(choices).sum() == 8
    for seed in range(20):
        choices = drawn(Random(seed))
        assert timings.work_of(choices) == network_of(choices).work()
