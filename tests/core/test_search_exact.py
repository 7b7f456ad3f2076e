"""The engine against brute force: ranking, certificate and side questions, on hundreds of small random problems."""

from __future__ import annotations

import itertools
import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmass_core import search as search_module
from nnmass_core.budget import Budget
from nnmass_core.certificate import Certificate, Ranked
from nnmass_core.engine import enumeration
from nnmass_core.engine.control import Control
from nnmass_core.engine.problem import ChainProblem
from nnmass_core.engine.solver import Solution, Solver
from nnmass_core.engine.sums import limited
from nnmass_core.errors import DefinitionError, Interrupted
from nnmass_core.families import decode_space
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import Maximize, Minimize, Objective, Pareto
from nnmass_core.search import SearchRequest, SearchResult, search
from tests.core.brute import LIMITS, Answer, Row, answer, ranked
from tests.core.problems import OTHER_FAMILIES, combinations, random_budget, random_space

TOP_K = (1, 2, 3, 10, 50, 1000)


def request(
    space: dict[str, Any], budget: dict[str, Any] | None = None, top_k: int = 10, diversity: str = "none"
) -> SearchRequest:
    return SearchRequest(space=decode_space(space), budget=Budget(**(budget or {})), top_k=top_k, diversity=diversity)


def as_row(place: Ranked) -> Row:
    """What the product says of one place of its ranking."""
    found = place.evaluation
    cells = tuple((c["width"], c["depth"], c["skip_channels"]) for c in found.report("fp32")["cells"])
    return Row(cells, found.mass, found.params, found.macs, found.weights, found.peak_elements, found.indices)


def check_ranking(result: SearchResult, expected: Answer, budget: dict[str, Any]) -> None:
    assert [as_row(place) for place in result.ranking] == list(expected.ranking)
    assert [place.rank for place in result.ranking] == list(range(1, len(expected.ranking) + 1))
    for place, row in zip(result.ranking, expected.ranking, strict=True):
        left = {name: budget[name] - row.use(name, budget["precision"]) for name in LIMITS if name in budget}
        assert place.slack == left


def check_certificate(found: Certificate, expected: Answer, size: int) -> None:
    best = float(expected.ranking[0].mass) if expected.ranking else None
    assert found.optimal is True
    assert found.count == len(expected.ranking)
    assert found.feasible is bool(expected.ranking)
    assert (found.objective_value, found.bound) == (best, best)
    assert found.gap == (None if best is None else 0.0)
    assert found.space_size == size
    assert found.relaxation == expected.relaxation
    joint = found.joint_relaxation
    assert (None if joint is None else (joint.factor, joint.limits)) == expected.joint
    assert found.binding is not None
    assert set(found.binding) == set(expected.binding)
    assert len(found.binding) == len(expected.binding)


def check(space: dict[str, Any], rows: list[Row], budget: dict[str, Any], top_k: int, diversity: str) -> SearchResult:
    """Search once and compare everything with brute force."""
    result = search(request(space, budget, top_k, diversity))
    expected = answer(rows, budget, top_k, diversity)
    check_ranking(result, expected, budget)
    check_certificate(result.certificate, expected, len(rows))
    return result


def check_some(rng: Random, space: dict[str, Any], times: int) -> None:
    """Search a space under several random budgets."""
    rows = ranked(space)
    for _ in range(times):
        check(space, rows, random_budget(rng, rows), rng.choice(TOP_K), rng.choice(("none", "none", "shape")))


@pytest.mark.random_cases(240)
def test_search_equals_brute_force(seed: int) -> None:
    rng = Random(seed)
    check_some(rng, random_space(rng), times=4)


@pytest.mark.parametrize("family", OTHER_FAMILIES)
@pytest.mark.random_cases(120)
def test_other_families_equal_brute_force(seed: int, family: str) -> None:
    rng = Random(f"{family} {seed}")
    check_some(rng, random_space(rng, family=family), times=4)


@pytest.mark.parametrize("family", OTHER_FAMILIES)
@pytest.mark.parametrize("seed", range(8))
def test_other_families_equal_brute_force_in_small_blocks(
    seed: int, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enumeration, "BLOCK", 5)
    rng = Random(f"block {family} {seed}")
    check_some(rng, random_space(rng, 120, family), times=3)


@pytest.mark.parametrize("block", [1, 5, 40])
@pytest.mark.parametrize("seed", range(25))
def test_search_in_small_blocks_equals_brute_force(seed: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small spaces fit in one block; with small blocks what was found early cuts what comes late, as in large ones."""
    monkeypatch.setattr(enumeration, "BLOCK", block)
    rng = Random(f"block {seed}")
    check_some(rng, random_space(rng, 120), times=3)


@pytest.mark.parametrize("seed", range(10))
def test_search_of_larger_spaces_equals_brute_force(seed: int) -> None:
    rng = Random(f"larger {seed}")
    space = random_space(rng, 4000)
    while combinations(space) < 1000:
        space = random_space(rng, 4000)
    check_some(rng, space, times=8)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False))
def test_search_equals_brute_force_on_problems_from_hypothesis(rng: Random) -> None:
    check_some(rng, random_space(rng, 60), times=2)


@pytest.mark.parametrize("seed", range(60))
def test_search_is_exact_for_a_budget_on_the_edge_of_large_costs(seed: int) -> None:
    """Costs of up to 1e13 next to an NN-Mass of a few units: sums of prices must not drown the mass in rounding."""
    rng = Random(f"edge {seed}")
    space = large_image_space(rng)
    rows = ranked(space)
    for name in rng.sample(LIMITS, 2):
        used = sorted(row.use(name, "int8") for row in rows)
        for bound in {used[0] - 1, used[0], used[0] + 1, used[1], used[len(used) // 20]}:
            check(space, rows, {"precision": "int8", name: bound}, 5, "none")


def large_image_space(rng: Random) -> dict[str, Any]:
    cells = rng.randint(1, 2)
    side = rng.choice((32, 224, 1024, 4096, 8192))
    return {
        "family": "densenet_cnn",
        "input": {"channels": 3, "height": side, "width": side},
        "num_classes": 10,
        "cells": cells,
        "width": sorted(rng.sample(range(1, 300), 2 if cells == 2 else 4)),
        "depth": sorted(rng.sample(range(1, 12), 3)),
        "skip_channels": sorted(rng.sample(range(200), 3)),
    }


SMALL = {
    "family": "densenet_cnn",
    "input": {"channels": 1, "height": 8, "width": 8},
    "num_classes": 2,
    "cells": 2,
    "width": [2, 3, 4],
    "depth": {"min": 1, "max": 5},
    "skip_channels": [0, 2, 5, 99],
}


@pytest.mark.parametrize("diversity", ["none", "shape"])
@pytest.mark.parametrize(
    "fields",
    [
        {"skip_channels": 0},
        {"depth": [1, 2]},
        {"depth": 1, "width": {"min": 1, "max": 20}},
        {"depth": 2, "width": {"min": 1, "max": 20}, "skip_channels": {"min": 0, "max": 99}},
        {"cells": 3, "depth": [1, 2, 3], "skip_channels": [0, 1]},
        {"cells": 3, "width": {"min": 4, "max": 8}, "depth": [3, 4], "skip_channels": [2, 3]},
        {"cells": 1, "width": 3, "depth": 4, "skip_channels": 5},
    ],
)
def test_large_ties_are_settled_by_the_whole_order(fields: dict[str, Any], diversity: str) -> None:
    space = SMALL | fields
    rows = ranked(space)
    rng = Random(7)
    budgets = [random_budget(rng, rows) for _ in range(10)]
    for budget in ({"precision": "fp32"}, *budgets):
        for top_k in (1, 7, min(len(rows) + 1, 1000)):
            check(space, rows, budget, top_k, diversity)


def test_the_whole_space_is_ranked_when_top_k_exceeds_its_size() -> None:
    space = SMALL | {"width": [2, 4]}
    rows = ranked(space)
    for top_k in (len(rows), len(rows) + 1, 1000):
        result = check(space, rows, {"precision": "fp32"}, top_k, "none")
        assert len(result.ranking) == len(rows) < 1000


def test_equal_nn_mass_from_different_fractions_ties_exactly() -> None:
    """Sums such as 14/3 + 1/3 and 5 differ in doubles; the order between them must come from MACs."""
    space = SMALL | {"cells": 3, "width": [3, 4, 6], "depth": [5, 6, 8], "skip_channels": [1, 2, 3, 5]}
    rows = ranked(space)
    tied = [a for a, b in itertools.pairwise(rows) if a.mass == b.mass and a.cells != b.cells]
    assert len(tied) > 1000
    middle = rows[len(rows) // 2]
    for budget in (
        {"precision": "fp32"},
        {"precision": "fp32", "max_macs": rows[len(rows) // 3].macs},
        {
            "precision": "int8",
            "max_weight_bytes": middle.weight_bytes("int8"),
            "max_params": rows[-9].params,
        },
    ):
        check(space, rows, budget, 1000, "none")


@pytest.mark.parametrize("budget", [{}, {"max_params": 1200}, {"max_weight_bytes": 7000, "max_macs": 4600}])
def test_ties_in_nn_mass_and_macs_are_settled_by_params(
    budget: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Width 4 at depth d costs the MACs of width 2 at depth 4 d - 2, and from d = 9 on fewer params: it is found later.

    Every cut of the ranking must fall in the right place.
    """
    image = {"channels": 1, "height": 2, "width": 2}
    one_cell = {"cells": 1, "width": [2, 4], "depth": {"min": 1, "max": 44}, "skip_channels": 0}
    space = SMALL | {"input": image, "num_classes": 36} | one_cell
    rows = ranked(space)
    tied = [a for a, b in itertools.pairwise(rows) if (a.mass, a.macs) == (b.mass, b.macs)]
    assert len(tied) > 5
    monkeypatch.setattr(enumeration, "BLOCK", 2)
    for top_k in range(1, len(rows) + 1):
        check(space, rows, {"precision": "fp32"} | budget, top_k, "none")


@pytest.mark.parametrize("top_k", [1, 1000])
def test_a_limit_of_zero_is_infeasible(top_k: int) -> None:
    rows = ranked(SMALL)
    check(SMALL, rows, {"precision": "fp16"} | dict.fromkeys(LIMITS, 0), top_k, "none")
    for name in LIMITS:
        check(SMALL, rows, {"precision": "fp16", name: 0}, top_k, "shape")


def test_limits_equal_to_the_costs_of_an_architecture_admit_it() -> None:
    rows = ranked(SMALL)
    for row in rows[:: len(rows) // 40]:
        budget = {"precision": "fp32"} | {name: row.use(name, "fp32") for name in LIMITS}
        result = check(SMALL, rows, budget, 3, "none")
        assert result.certificate.count >= 1


def test_a_rerun_gives_the_same_digest() -> None:
    for seed in range(20):
        rng = Random(f"digest {seed}")
        space = random_space(rng, 100)
        wanted = request(space, random_budget(rng, ranked(space)), 5, rng.choice(("none", "shape")))
        first, again = search(wanted), search(wanted)
        assert first.digest == again.digest
        assert first.certificate == again.certificate
        assert json.loads(json.dumps(first.certificate.to_json()))["space_size"] == str(first.certificate.space_size)


def test_different_requests_and_results_have_different_digests() -> None:
    one, other = request(SMALL), request(SMALL, top_k=9)
    assert one.digest != other.digest
    assert one.digest == request(SMALL).digest
    assert search(one).digest != search(other).digest


def test_the_bound_is_valid_without_any_time() -> None:
    proved = 0
    for seed in range(60):
        rng = Random(f"expired {seed}")
        space = random_space(rng, 100)
        rows = ranked(space)
        budget = random_budget(rng, rows)
        best = answer(rows, budget, 1, "none").ranking
        found = search(request(space, budget), Control(expired=lambda: True)).certificate
        proved += found.optimal
        if found.optimal:
            assert (found.count, found.feasible) == (0, False)
            assert not best
        else:
            assert found.bound is not None
            assert not best or found.bound >= float(best[0].mass)
    assert proved < 60


def out_of_time_after(looks: int) -> Control:
    """A time limit without a clock: it ends after a number of checks."""
    counter = itertools.count()
    return Control(expired=lambda: next(counter) >= looks)


def test_a_search_stopped_by_its_time_limit_reports_it() -> None:
    best = answer(ranked(SMALL), {"max_params": 900}, 10, "none")
    seen: set[bool] = set()
    for patience in range(200):
        found = search(request(SMALL, {"max_params": 900}), out_of_time_after(patience))
        certificate = found.certificate
        seen.add(certificate.optimal)
        if certificate.optimal:
            assert [as_row(place) for place in found.ranking] == list(best.ranking)
        assert certificate.bound is not None
        assert certificate.bound >= float(best.ranking[0].mass)
        assert certificate.binding in (None, best.binding)
        if found.ranking:
            assert certificate.objective_value == float(found.ranking[0].evaluation.mass)
            assert all(place.slack["max_params"] >= 0 for place in found.ranking)
    assert seen == {False, True}


def test_a_search_stopped_by_its_time_limit_says_whether_its_value_is_proved() -> None:
    seen: set[bool | None] = set()
    for seed in range(12):
        space = random_space(Random(f"value proved {seed}"), 100_000)
        limit = search(request(space)).ranking[0].evaluation.params * 2 // 3
        complete = search(request(space, {"max_params": limit}))
        for patience in range(0, 60, 3):
            found = search(request(space, {"max_params": limit}), out_of_time_after(patience))
            certificate = found.certificate
            seen.add(certificate.value_proved)
            assert (certificate.value_proved is None) == (certificate.optimal or not found.ranking)
            if certificate.value_proved:
                assert certificate.gap == 0.0
                assert certificate.objective_value == complete.certificate.objective_value
            if found.ranking:
                assert certificate.unfinished == (() if certificate.binding is not None else ("binding",))
                assert (found.digest == complete.digest) == (certificate.optimal and not certificate.unfinished)
    assert seen == {None, False, True}


@pytest.mark.parametrize("limit", [900, 0])
def test_no_solve_is_prepared_after_the_time_limit(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[ChainProblem] = []
    solved: list[Solution] = []

    class Counted(Solver):
        def __init__(self, problem: ChainProblem, *args: Any, **kwargs: Any) -> None:
            prepared.append(problem)
            super().__init__(problem, *args, **kwargs)

        def solve(self) -> Solution:
            solved.append(super().solve())
            return solved[-1]

    for module in (search_module, limited):
        if hasattr(module, "Solver"):
            monkeypatch.setattr(module, "Solver", Counted)
    found = search(request(SMALL, {"max_params": limit}), Control(expired=lambda: bool(solved))).certificate
    assert len(prepared) == 1
    assert found.feasible == (limit > 0)
    assert found.unfinished == (("binding",) if limit else ("relaxation",))


def test_an_infeasible_search_without_time_for_its_relaxation_reports_it() -> None:
    budget = {"max_params": 0, "max_macs": 0}
    found = search(request(SMALL, budget), Control(expired=lambda: True)).certificate
    assert (found.count, found.feasible, found.bound) == (0, False, None)


class Cancelled(Interrupted):
    """Raised by a test's report."""


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_exception_in_the_progress_callback_ends_the_search(at: int) -> None:
    seen: list[float] = []

    def stop(fraction: float, message: str) -> None:
        seen.append(fraction)
        if len(seen) > at:
            raise Cancelled(message)

    with pytest.raises(Cancelled):
        search(request(SMALL, {"max_params": 900}), Control(report=stop))
    assert len(seen) == at + 1


def progress_of(wanted: SearchRequest) -> list[float]:
    """Run a search and return the fractions it reported."""
    fractions: list[float] = []

    def note(fraction: float, message: str) -> None:
        assert message
        fractions.append(fraction)

    search(wanted, Control(report=note))
    return fractions


def check_progress(fractions: list[float]) -> None:
    assert fractions[0] == 0
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert fractions == sorted(fractions)


@pytest.mark.parametrize("seed", range(40))
def test_progress_never_falls_and_stays_between_zero_and_one(seed: int) -> None:
    rng = Random(f"progress {seed}")
    space = random_space(rng, 400)
    check_progress(progress_of(request(space, random_budget(rng, ranked(space)), rng.choice(TOP_K))))


@pytest.mark.parametrize(
    ("preset", "budget"),
    [
        ("densenet-cifar-free", Budget(max_params=1_000_000, max_macs=150_000_000)),
        ("densenet-tiny-free", Budget(max_params=200_000)),
        ("densenet-tiny-free", Budget(max_params=0)),
    ],
)
def test_progress_never_falls_during_the_computation_of_binding_limits(preset: str, budget: Budget) -> None:
    """Which limits bind and what would fit are separate searches; their progress continues from the first one's."""
    check_progress(progress_of(SearchRequest(space=resolve_space(preset), budget=budget, top_k=1000)))


def test_progress_never_falls_when_all_nn_mass_is_zero() -> None:
    space = resolve_space("densenet-cifar-free").to_json() | {"skip_channels": 0}
    budget = {"max_params": 1_000_000, "max_macs": 150_000_000}
    check_progress(progress_of(request(space, budget, 1000)))


PLATEAU = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "cells": 3,
}


def span(low: int, high: int) -> dict[str, int]:
    return {"min": low, "max": high}


@pytest.mark.parametrize(
    ("fields", "near"),
    [
        (
            {"width": span(1, 300), "depth": [1, 2], "skip_channels": span(0, 40)},
            {"width": span(1, 12), "depth": [1, 2], "skip_channels": 0},
        ),
        (
            {"width": span(1, 300), "depth": span(1, 32), "skip_channels": 0},
            {"width": [[1, 2], [1, 2], span(1, 4)], "depth": [[1, 2], span(1, 6), span(1, 12)], "skip_channels": 0},
        ),
        (
            {"width": span(8, 300), "depth": [3, 4], "skip_channels": [0, 2, 4, 8]},
            {"width": span(8, 19), "depth": [3, 4], "skip_channels": 8},
        ),
        (
            {"width": span(8, 300), "depth": span(3, 32), "skip_channels": [0, 2, 4, 8]},
            {"width": span(8, 19), "depth": [3, 4], "skip_channels": 8},
        ),
    ],
)
@pytest.mark.parametrize("budget", [{}, {"max_params": 1_000_000, "max_macs": 150_000_000}])
def test_ties_of_millions_of_architectures_are_settled_with_little_work(
    fields: dict[str, Any], near: dict[str, Any], budget: dict[str, int]
) -> None:
    """NN-Mass does not grow with width once w >= t, so whole ranges of widths tie; the cheapest are the narrowest.

    Costs grow with every width and depth, so the first ten lie in `near`, the corner that brute force ranks.
    """
    found = search(request(PLATEAU | fields, budget), out_of_time_after(500))
    assert found.certificate.optimal
    assert found.certificate.labels < 500_000
    assert [as_row(place) for place in found.ranking] == ranked(PLATEAU | near)[:10]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"top_k": 0}, "top_k"),
        ({"top_k": 1001}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"diversity": "all"}, "diversity"),
        ({"diversity": ["none"]}, "diversity"),
        ({"time_limit_seconds": 0}, "time_limit_seconds"),
        ({"time_limit_seconds": 3601}, "time_limit_seconds"),
        ({"time_limit_seconds": float("nan")}, "time_limit_seconds"),
        ({"time_limit_seconds": True}, "time_limit_seconds"),
        ({"time_limit_seconds": "60"}, "time_limit_seconds"),
    ],
)
def test_an_invalid_request_names_its_field(fields: dict[str, Any], field: str) -> None:
    given_fields: dict[str, Any] = {"space": decode_space(SMALL), "budget": Budget()} | fields
    with pytest.raises(DefinitionError) as refused:
        SearchRequest(**given_fields)
    assert [p.field for p in refused.value.problems] == [field]


@pytest.mark.parametrize("bound", [-1, 2**53, 10**400, 1.5, True, "1", float("nan")])
@pytest.mark.parametrize("name", LIMITS)
def test_an_invalid_limit_names_its_field(name: str, bound: Any) -> None:
    with pytest.raises(DefinitionError) as refused:
        Budget(**{name: bound})
    assert [p.field for p in refused.value.problems] == [name]


@pytest.mark.parametrize("precision", ["fp64", "", ["fp32"], 32])
def test_an_invalid_precision_names_its_field(precision: Any) -> None:
    with pytest.raises(DefinitionError) as refused:
        Budget(precision=precision)
    assert [p.field for p in refused.value.problems] == ["precision"]


def test_caveats_warn_of_differing_widths_and_high_density() -> None:
    large = {"input": {"channels": 3, "height": 16, "width": 16}}
    dense = SMALL | large | {"width": 8, "depth": 5, "skip_channels": 99}
    thin = SMALL | large | {"width": 8, "depth": 5, "skip_channels": 1}
    assert search(request(dense)).certificate.caveats == ("no_limits", "density_above_evidence")
    assert search(request(thin)).certificate.caveats == ("no_limits",)
    assert search(request(thin | {"width": [8, 9]})).certificate.caveats == ("no_limits", "widths_differ")


@pytest.mark.parametrize(
    ("limits", "objective", "warns"),
    [
        ({}, Maximize(), True),
        ({"precision": "int8"}, Maximize(), True),
        ({"device": {"name": "mine", "ram_bytes": None}}, Maximize(), True),
        ({"device": {"name": "mine", "ram_bytes": 10**9}}, Maximize(), False),
        ({"max_macs": 10**9}, Maximize(), False),
        ({}, Pareto(("params",)), True),
        ({"max_macs": 10**9}, Pareto(("params",)), False),
        ({}, Minimize("params", min_nn_mass=1.0), False),
    ],
)
def test_a_search_without_limits_has_a_caveat(limits: dict[str, Any], objective: Objective, *, warns: bool) -> None:
    thin = decode_space(SMALL | {"width": 4, "depth": 5, "skip_channels": 1})
    found = search(SearchRequest(space=thin, budget=Budget(**limits), objective=objective)).certificate
    assert ("no_limits" in found.caveats) == warns
