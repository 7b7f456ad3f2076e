"""The profiles that are shipped: what they state, searches with them, and the table that they are fitted to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import timings
from bench.replay.benchmarks import rows_of
from nnmass_core.budget import Budget
from nnmass_core.codec import encode
from nnmass_core.families import decode_space
from nnmass_core.hardware.devices import devices
from nnmass_core.hardware.fitting import error_of, families_of, fit_networks
from nnmass_core.hardware.latency import OperatorTime, estimate
from nnmass_core.request import Maximize, Minimize, Objective, SearchRequest
from nnmass_core.search import search
from tests.core.same_networks import every_path
from tests.core.test_fitting import network_of, space

DATA = Path(__file__).parents[3] / "shared" / "benchmarks" / timings.FILE
NAMES = [board.name for board in timings.BOARDS]


@pytest.mark.parametrize("objective", [Maximize(), Minimize("latency_ms", 100.0)])
@pytest.mark.parametrize("name", NAMES)
def test_a_search_with_a_shipped_profile_is_exact(name: str, objective: Objective) -> None:
    device = devices()[name]
    assert device.latency is not None
    read = decode_space(space())
    chain = read.chain()
    every = [read.architecture(path) for path in chain.path_integers(np.array(every_path(chain))).tolist()]
    assert len(every) == 36 * 4
    times = {one: estimate(device.latency, name, one.work() or ()).nanoseconds for one in every}
    limit = sorted(times.values())[len(every) // 3] / 1e6
    fitting = [one for one in every if times[one] <= limit * 1e6]
    wanted = [one for one in fitting if isinstance(objective, Maximize) or one.evaluation.mass >= 100]
    assert 10 < len(wanted) < len(every)
    budget = Budget(device=name, max_latency_ms=limit)
    result = search(SearchRequest(space=read, budget=budget, objective=objective, top_k=len(every)))
    assert result.certificate.optimal
    found = [(place.architecture, place.evaluation.mass, place.latency) for place in result.ranking]
    assert {one for one, _, _ in found} == set(wanted)
    assert all(latency is not None and latency.nanoseconds == times[one] for one, _, latency in found)
    assert not any(latency.outside for _, _, latency in found if latency is not None)
    by_objective = [-mass if isinstance(objective, Maximize) else times[one] for one, mass, _ in found]
    assert by_objective == sorted(by_objective)


def by_quantity(operators: Iterable[OperatorTime]) -> dict[tuple[str, int], float]:
    return {(one.kind, place): price for one in operators for place, price in enumerate((*one.prices, one.off_chip))}


@pytest.mark.skipif(not DATA.is_file(), reason="the table of the public benchmark is not here")
def test_the_shipped_profiles_are_those_of_the_table() -> None:
    table = timings.Table.of(rows_of(DATA))
    (ranges,) = families_of([("mobilenet_v2", network_of([choice] * 7)) for choice in timings.CHOICES])
    for board in timings.BOARDS:
        milliseconds = board.milliseconds(table.rows)
        timed = np.flatnonzero(np.isfinite(milliseconds))
        fit = fit_networks([table.works[place] for place in timed], milliseconds[timed].tolist())
        kept = devices()[board.name].latency
        assert kept is not None
        assert kept.on_chip_elements == fit.on_chip
        assert by_quantity(kept.operators) == pytest.approx(by_quantity(fit.operators), rel=1e-4, abs=1e-12)
        assert encode(kept.held_out) == pytest.approx(encode(error_of(fit.estimates, milliseconds[timed], 1)), rel=1e-4)
        assert kept.fitted_to == (replace(ranges, networks=len(timed)),)


def test_a_shipped_profile_states_what_was_measured() -> None:
    for board in timings.BOARDS:
        device = devices()[board.name]
        assert device.latency is not None
        (family,) = device.latency.fitted_to
        assert family.networks > 5_000
        ranges = {each.field: (each.least, each.greatest) for each in family.fields}
        assert (ranges["input.height"], ranges["stages.kernel"], ranges["stages"]) == ((224, 224), (3, 5), (7, 7))
        batched = board.name.endswith("-batched")
        assert (device.latency.measure == "throughput") is batched
        assert "batches" in device.title if batched else "batch" not in device.latency.measure
        assert device.latency.held_out.median_error <= board.most
        assert device.latency.held_out.coverage == pytest.approx(0.95, abs=0.001)


def test_the_profiles_that_are_shipped_are_devices() -> None:
    assert [name for name, device in devices().items() if device.latency] == NAMES
    for name in NAMES:
        assert devices()[name].named() == name
