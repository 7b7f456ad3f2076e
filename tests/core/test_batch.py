"""Several inputs at a time: peaks, limits on them, and latencies of profiles, against single inputs and brute force."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget, check_batch
from nnmass_core.certificate import SearchResult
from nnmass_core.costs import COSTS
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.hardware.latency import estimate
from nnmass_core.named.networks import named_network
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import search
from tests.core.brute import BYTES, Row
from tests.core.every_limit import FAMILIES, Small, found, random_small
from tests.core.latencies import model, profile

PEAK = "max_peak_activation_bytes"


def ask(small: Small, budget: dict[str, Any], objective: Objective, **more: Any) -> SearchResult:
    request = SearchRequest(space=decode_space(small.space), budget=Budget(**budget), objective=objective, **more)
    return search(request)


def peak_bytes(row: Row, batch: int, precision: str) -> int:
    return row.peak * BYTES[precision] * batch


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(15)
def test_the_peak_of_a_batch_is_limited_as_brute_force_says(family: str, seed: int) -> None:
    rng = Random(f"batch {family} {seed}")
    small, batch, precision = random_small(rng, family), rng.choice((2, 3, 8, 100)), rng.choice(list(BYTES))
    bound = peak_bytes(rng.choice(small.rows), batch, precision) + rng.choice((0, 0, -1, 1, batch))
    budget: dict[str, Any] = {"batch": batch, "precision": precision, PEAK: bound}
    if rng.random() < 0.5:
        budget["max_weight_bytes"] = rng.choice(small.rows).weight_bytes(precision)
    most = budget.get("max_weight_bytes", float("inf"))
    light = [row for row in small.rows if row.weight_bytes(precision) <= most]
    rows = [row for row in light if peak_bytes(row, batch, precision) <= bound]
    by_peak = rng.random() < 0.3
    rows = sorted(rows, key=lambda row: (row.peak, *row.place)) if by_peak else rows
    answer = ask(small, budget, Minimize("peak_activation_bytes") if by_peak else Maximize(), top_k=4)
    assert found(small, answer) == rows[:4]
    for place, row in zip(answer.ranking, rows, strict=False):
        used = peak_bytes(row, batch, precision)
        assert place.to_json(precision)["peak_activation_bytes"] == used
        assert (place.slack[PEAK], place.to_json(precision)["batch"]) == (bound - used, batch)
    certificate = answer.certificate
    assert certificate.optimal
    if by_peak and rows:
        assert certificate.objective_value == peak_bytes(rows[0], batch, precision)
    if not rows and light:
        assert certificate.relaxation is not None
        assert certificate.relaxation[PEAK] == min(peak_bytes(row, batch, precision) for row in light)


def test_a_batch_of_one_is_the_request_without_it() -> None:
    space = resolve_space("densenet-tiny-free")
    plain, one = (
        SearchRequest(space=space, budget=Budget(max_params=50_000, **{PEAK: 600_000}, **more))  # type: ignore[arg-type]
        for more in ({}, {"batch": 1})
    )
    assert plain.digest == one.digest
    assert (plain.version, "batch" in plain.to_json()["budget"]) == (1, False)  # type: ignore[operator]
    assert search(plain).digest == search(one).digest
    assert "batch" not in search(one).ranking[0].to_json("fp32")
    several = SearchRequest(space=space, budget=Budget(batch=4, max_params=50_000))
    assert (several.version, several.to_json()["budget"]) == (
        2,
        {"max_params": 50_000, "precision": "fp32", "batch": 4},
    )
    assert SearchRequest.from_json(several.to_json(), version=2) == several


def test_a_front_in_the_peak_is_that_of_one_input_times_the_batch() -> None:
    space = resolve_space("resnet-tiny-free")
    single, several = (
        search(SearchRequest(space=space, budget=Budget(batch=batch), objective=Pareto(("peak_activation_bytes",))))
        for batch in (1, 5)
    )
    peaks = [[place.to_json("fp32")["peak_activation_bytes"] for place in one.ranking] for one in (single, several)]
    assert peaks[1] == [5 * peak for peak in peaks[0]]  # type: ignore[operator]


def test_a_latency_is_that_of_a_profile_of_the_same_batch() -> None:
    space = resolve_space("densenet-tiny-free")
    eight = profile("board")
    eight["latency"]["batch"] = 8
    best = search(SearchRequest(space=space, budget=Budget(device=eight, batch=8, max_latency_ms=5), top_k=1))
    (first,) = best.ranking
    work = first.architecture.work()
    assert work is not None
    assert first.latency is not None
    assert first.latency.nanoseconds == estimate(model(), "board", work).nanoseconds
    for device, batch in ((eight, 4), (profile("board"), 8)):
        with pytest.raises(DefinitionError) as refused:
            Budget(device=device, batch=batch, max_latency_ms=5)
        (problem,) = refused.value.problems
        assert (problem.field, problem.code) == ("batch", "conflicts_with_device")
        assert problem.message == f"must be {8 if batch == 4 else 1}, the batch of the device's latency profile"
        other = search(SearchRequest(space=space, budget=Budget(device=device, batch=batch, max_params=50_000)))
        assert other.ranking[0].latency is None
    with pytest.raises(DefinitionError, match="requires a device with a latency profile at this precision and batch"):
        SearchRequest(space=space, budget=Budget(device=eight, batch=4), objective=Minimize("latency_ms"))
    plain = Budget(device=eight, max_latency_ms=5)
    assert len(plain.timed_devices()) == 1, "a profile is taken as it is by a budget of single inputs"


@pytest.mark.parametrize("batch", [0, -1, 65_537, 1.5, "8", True])
def test_a_wrong_batch_is_refused(batch: Any) -> None:
    with pytest.raises(DefinitionError) as refused:
        Budget(batch=batch)
    assert [problem.field for problem in refused.value.problems] == ["batch"]


def test_a_batch_whose_bytes_are_not_exact_is_refused() -> None:
    space = resolve_space("densenet-tiny-free").to_json() | {"input": {"channels": 1024, "height": 8192, "width": 8192}}
    with pytest.raises(DefinitionError) as refused:
        SearchRequest(space=decode_space(space), budget=Budget(batch=65_536))
    assert [(problem.field, problem.code) for problem in refused.value.problems] == [("budget.batch", "too_large")]


def test_a_batch_of_networks_must_leave_their_bytes_exact() -> None:
    small, large = named_network("resnet18").evaluation, named_network("resnet50").evaluation
    huge = replace(large, weights=2**53 // 4 - large.peak_elements)
    assert COSTS["memory_bytes"].value(huge, None, 4, 1) == 2**53
    check_batch(65_536, "fp32", [small, large])
    check_batch(1, "fp32", [huge])  # the network itself is out of range, whatever the batch
    check_batch(2, "fp16", [huge])
    for batch, code in ((2, "too_large"), (0, "too_small"), (65_537, "too_large"), (True, "not_an_integer")):
        with pytest.raises(DefinitionError) as refused:
            check_batch(batch, "fp32", [small, huge])
        assert [(problem.field, problem.code) for problem in refused.value.problems] == [("batch", code)]
