"""Weights and activations in one memory, against every network of small spaces, listed and by the engine."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.engine.control import Control
from nnmass_core.engine.sums import limited, shared_memory
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.named.presets import resolve_space
from nnmass_core.named.spending import Spend
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import search
from nnmass_core.verification.controls import params_control, random_control
from tests.core.brute import BYTES, Row, first_of_each_shape
from tests.core.every_limit import FAMILIES, Small, found, random_small

TOGETHER = "max_memory_bytes"
PEAK, WEIGHTS, PARAMS = "max_peak_activation_bytes", "max_weight_bytes", "max_params"


def use(row: Row, name: str, precision: str, batch: int) -> int:
    activations = row.peak * BYTES[precision] * batch
    return {
        TOGETHER: activations + row.weight_bytes(precision),
        PEAK: activations,
        WEIGHTS: row.weight_bytes(precision),
        PARAMS: row.params,
    }[name]


def within(rows: list[Row], limits: dict[str, int], precision: str, batch: int) -> list[Row]:
    return [row for row in rows if all(use(row, name, precision, batch) <= bound for name, bound in limits.items())]


def a_question(rng: Random, family: str, most: int = 150) -> tuple[Small, dict[str, int], str, int]:
    small, precision, batch = random_small(rng, family, most), rng.choice(list(BYTES)), rng.choice((1, 1, 3))
    names = [TOGETHER, *rng.sample((PEAK, WEIGHTS, PARAMS), rng.randint(0, 2))]
    limits = {}
    for name in names:
        uses = sorted(use(row, name, precision, batch) for row in small.rows)
        limits[name] = uses[int(rng.choice((0.0, 0.0, 0.1, 0.4, 0.8)) * (len(uses) - 1))] + rng.choice((0, 0, 0, -1, 1))
    return small, {name: max(bound, 0) for name, bound in limits.items()}, precision, batch


def ask(small: Small, limits: dict[str, Any], precision: str, batch: int, objective: Objective, **more: Any) -> Any:
    budget = Budget(precision=precision, batch=batch, **limits)
    return search(SearchRequest(space=decode_space(small.space), budget=budget, objective=objective, **more))


def in_order(rows: list[Row], objective: Objective) -> list[Row]:
    match objective:
        case Minimize(cost="peak_activation_bytes"):
            return sorted(rows, key=lambda row: (row.peak, *row.place))
        case Minimize(cost="macs"):
            return sorted(rows, key=lambda row: (row.macs, *row.place))
        case Maximize(quantity="params"):
            return sorted(rows, key=lambda row: (-row.params, *row.place))
    return rows


def better(one: Row, other: Row, objective: Objective) -> bool:
    match objective:
        case Minimize(cost="peak_activation_bytes"):
            return one.peak < other.peak
        case Minimize(cost="macs"):
            return one.macs < other.macs
        case Maximize(quantity="params"):
            return one.params > other.params
    return one.mass > other.mass


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(25)
def test_rankings_in_one_memory_equal_brute_force(family: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(f"memory {family} {seed}")
    if rng.random() < 0.7:
        monkeypatch.setattr("nnmass_core.search.LISTED", 0)
    halving = shared_memory.best_in_memory
    few = rng.choice((0, 1, 5, 1 << 16))  # with few, ranges are halved down to single peaks
    monkeypatch.setattr(limited, "best_in_memory", lambda *given, **more: halving(*given, few=few, **more))
    small, limits, precision, batch = a_question(rng, family)
    objective: Objective = rng.choice(
        (Maximize(), Maximize(), Maximize("params"), Minimize("macs"), Minimize("peak_activation_bytes"))
    )
    top_k, diversity = rng.choice((1, 3, 1000)), rng.choice(("none", "none", "shape"))
    answer = ask(small, limits, precision, batch, objective, top_k=top_k, diversity=diversity)
    rows = in_order(within(small.rows, limits, precision, batch), objective)
    shown = first_of_each_shape(rows) if diversity == "shape" else rows
    assert found(small, answer) == shown[:top_k]
    certificate = answer.certificate
    assert (certificate.optimal, certificate.feasible) == (True, bool(rows))
    for place, row in zip(answer.ranking, shown, strict=False):
        used = use(row, TOGETHER, precision, batch)
        assert place.slack[TOGETHER] == limits[TOGETHER] - used
        assert place.to_json(precision)["memory_bytes"] == used
    others = {
        name: in_order(within(small.rows, {k: v for k, v in limits.items() if k != name}, precision, batch), objective)
        for name in limits
    }
    if rows:
        assert set(certificate.binding) == {n for n, kept in others.items() if better(kept[0], rows[0], objective)}
        return
    least = {n: min((use(row, n, precision, batch) for row in kept), default=None) for n, kept in others.items()}
    assert certificate.relaxation == least
    if all(bound is None for bound in least.values()) and all(limits.values()):
        factor = min(
            max(use(row, name, precision, batch) / bound for name, bound in limits.items()) for row in small.rows
        )
        assert float(certificate.joint_relaxation.factor) == pytest.approx(factor, rel=1e-12)


@pytest.mark.random_cases(10)
def test_a_share_is_spent_in_one_memory_as_brute_force_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(f"spent memory {seed}")
    monkeypatch.setattr("nnmass_core.search.LISTED", 0)
    small, limits, precision, batch = a_question(rng, rng.choice(FAMILIES))
    answer = ask(small, limits, precision, batch, Maximize(), spend=Spend("macs", 0.9), top_k=5)
    rows = within(small.rows, limits, precision, batch)
    most = max((row.macs for row in rows), default=0)
    assert found(small, answer) == [row for row in rows if 10 * row.macs >= 9 * most][:5]
    assert answer.certificate.optimal


def test_a_preset_is_proved_and_uses_the_memory_exactly() -> None:
    request = SearchRequest(space=resolve_space("densenet-tiny-free"), budget=Budget(max_memory_bytes=500_000), top_k=3)
    answer = search(request)
    assert answer.certificate.optimal
    assert answer.certificate.binding == (TOGETHER,)
    for place in answer.ranking:
        figures = place.evaluation.report("fp32")
        assert figures["memory_bytes"] == figures["weight_bytes"] + figures["peak_activation_bytes"] <= 500_000
    # no limit on both of them admits the best: neither alone says what one memory holds
    best = answer.ranking[0].evaluation.report("fp32")
    halves = Budget(max_weight_bytes=250_000, max_peak_activation_bytes=250_000)
    assert max(best["weight_bytes"], best["peak_activation_bytes"]) > 250_000
    assert search(SearchRequest(space=request.space, budget=halves)).certificate.best_nn_mass < best["nn_mass"]


def test_a_search_in_one_memory_that_is_cut_short_claims_no_more_than_it_proves() -> None:
    request = SearchRequest(space=resolve_space("densenet-tiny-free"), budget=Budget(max_memory_bytes=500_000), top_k=1)
    true = search(request).ranking[0].evaluation.mass
    for patience in (0, 1, 3, 10, 30):
        looks = iter(range(10**6))
        cut = search(request, Control(expired=lambda looks=looks, patience=patience: next(looks) >= patience))  # type: ignore[misc]
        if cut.certificate.bound is not None:
            assert cut.certificate.bound >= float(true) - 1e-9
        assert not cut.certificate.optimal or cut.ranking[0].evaluation.mass == true


def test_a_front_does_not_go_with_one_memory() -> None:
    for costs in (("params",), ("peak_activation_bytes",), ("macs", "params")):
        with pytest.raises(DefinitionError) as refused:
            SearchRequest(
                space=resolve_space("resnet-tiny-free"), budget=Budget(max_memory_bytes=5), objective=Pareto(costs)
            )
        problems = [(problem.field, problem.code) for problem in refused.value.problems]
        assert problems == [("budget.max_memory_bytes", "conflicts_with_objective")]


def test_a_question_of_one_memory_has_version_2_of_the_form() -> None:
    request = SearchRequest(space=resolve_space("resnet-tiny-free"), budget=Budget(max_memory_bytes=10**6))
    assert request.version == 2
    assert SearchRequest.from_json(request.to_json(), version=2) == request


@pytest.mark.random_cases(10)
def test_controls_keep_one_memory(seed: int) -> None:
    rng = Random(f"memory controls {seed}")
    space = resolve_space(rng.choice(("densenet-tiny-free", "resnet-tiny-free", "mobilenet-v2-tiny-free")))
    least = search(SearchRequest(space=space, budget=Budget(max_memory_bytes=1))).certificate.relaxation
    assert least is not None
    bound = int(float(least[TOGETHER] or 0) * rng.choice((1.1, 1.5, 3)))
    request = SearchRequest(space=space, budget=Budget(max_memory_bytes=bound), top_k=1)
    candidate = search(request).ranking[0].architecture
    by_params = params_control(request, candidate, frozenset())
    drawn = random_control(request, candidate, frozenset(), seed)
    for control in (by_params, drawn):
        if control is not None:
            assert control.evaluation.report("fp32")["memory_bytes"] <= bound
