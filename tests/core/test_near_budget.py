"""Random controls near the budget against the list of a space, and what pairs of accuracies say."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from nnmass_core.architecture import Architecture
from nnmass_core.budget import Budget
from nnmass_core.named.presets import resolve_space
from nnmass_core.search import SearchRequest, search
from nnmass_core.verification import controls
from nnmass_core.verification.controls import NEAR, near_budget_control
from nnmass_core.verification.pairs import difference_in_words, difference_of
from nnmass_core.verification.tilted import tilt_below
from tests.core.brute import Row
from tests.core.test_controls import FAMILIES, TINY, networks, request, small_space


def near_budget(found: list[tuple[Architecture, Row]], budget: dict[str, int]) -> set[str]:
    """Networks near a budget by the words of the definition."""
    kept: set[str] = set()
    for network, row in found:
        used = {
            "max_params": row.params,
            "max_macs": row.macs,
            "max_weight_bytes": row.weight_bytes("fp32"),
            "max_peak_activation_bytes": 4 * row.peak,
            "max_memory_bytes": row.weight_bytes("fp32") + 4 * row.peak,
        }
        shares = {name: used[name] / bound for name, bound in budget.items() if name in used}
        counted = [share for name, share in shares.items() if name not in AT_ONE_LAYER] or shares.values()
        if max(shares.values()) <= 1 and max(counted) >= NEAR:
            kept.add(network.arch_id)
    return kept


AT_ONE_LAYER = ("max_peak_activation_bytes", "max_memory_bytes")

BUDGETS: tuple[tuple[str, ...], ...] = (
    ("max_params",),
    ("max_params", "max_macs"),
    ("max_peak_activation_bytes",),
    ("max_macs", "max_memory_bytes"),
    ("max_weight_bytes", "max_peak_activation_bytes"),
)


@pytest.mark.parametrize("listed", [0, controls.LISTED])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_control_near_the_budget_uses_most_of_a_limit(
    family: str, listed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controls, "LISTED", listed)
    monkeypatch.setattr(controls, "BATCH", 4_000)
    rng = Random(f"near the budget {family}")
    space = small_space(rng, family)
    found = networks(space)
    for names in BUDGETS:
        candidate, own = rng.choice(found)
        used = {
            "max_params": own.params,
            "max_macs": own.macs,
            "max_weight_bytes": own.weight_bytes("fp32"),
            "max_peak_activation_bytes": 4 * own.peak,
            "max_memory_bytes": own.weight_bytes("fp32") + 4 * own.peak,
        }
        # the sums get some room, so that networks that use up nothing but the memory are tried too
        budget = {name: used[name] * (4 if name in AT_ONE_LAYER or len(names) == 1 else 5) // 4 for name in names}
        expected = {
            arch_id
            for arch_id in near_budget(found, budget) - {candidate.arch_id}
            if next(n for n, _ in found if n.arch_id == arch_id).input_shape == candidate.input_shape
        }
        control = near_budget_control(request(space, budget), candidate, frozenset(), 0)
        assert (control is not None) == bool(expected)
        if control is not None:
            assert control.arch_id in expected
            others = near_budget_control(request(space, budget), candidate, frozenset(expected), 0)
            assert others is None


@pytest.mark.parametrize("listed", [0, controls.LISTED])
def test_controls_near_the_budget_are_drawn_uniformly(listed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "LISTED", listed)
    monkeypatch.setattr(controls, "BATCH", 4_000)
    monkeypatch.setattr(controls, "ENOUGH_HITS", 300)
    space = TINY | {"depth": [4, 5]}
    found = networks(space)
    candidate, own = sorted(found, key=lambda one: one[1].params)[len(found) // 3]
    budget = {"max_params": own.params, "max_macs": own.macs}
    asked = request(space, budget)
    expected = near_budget(found, budget) - {candidate.arch_id}
    drawn = [near_budget_control(asked, candidate, frozenset(), n) for n in range(6 * len(expected))]
    counts = Counter(control.arch_id for control in drawn if control is not None)
    assert set(counts) <= expected
    assert len(expected) > 10
    assert chisquare([counts[arch_id] for arch_id in sorted(expected)]).pvalue > 0.01


@pytest.mark.parametrize(
    ("preset", "limits"),
    [
        ("mobilenet-v2-tiny-free", {"max_params": 100_000, "max_macs": 8_000_000}),
        ("resnet-imagenet-free", {"max_macs": 10**9}),
        ("densenet-cifar-free", {"max_params": 10**6, "max_peak_activation_bytes": 500_000}),
    ],
)
def test_a_control_near_the_budget_is_found_in_large_spaces(preset: str, limits: dict[str, Any]) -> None:
    asked = SearchRequest(space=resolve_space(preset), budget=Budget(**limits), top_k=1)
    candidate = search(asked).ranking[0].architecture
    control = near_budget_control(asked, candidate, frozenset(), 1)
    assert control is not None
    shares = [limit.used(control.evaluation) / limit.bound for limit in asked.budget.limits()]
    assert NEAR <= max(shares) <= 1


@pytest.mark.parametrize("limits", [{}, {"max_depth": 9}, {"min_params": 100}, {"max_nn_mass": 5.0}])
def test_without_a_limit_on_a_cost_nothing_is_near_the_budget(limits: dict[str, Any]) -> None:
    assert near_budget_control(request(TINY, limits), networks(TINY)[0][0], frozenset(), 0) is None


def test_costs_below_the_aim_are_not_raised_but_for_the_nearest() -> None:
    chain = resolve_space("densenet-tiny-free").chain()
    columns = [chain.quantities.index(name) for name in ("params", "macs")]
    usual = tilt_below(chain, columns, np.array([1e15, 1e15]), 0.95)
    assert sorted(usual.tilt != 0) == [False, True]
    tight = tilt_below(chain, columns, np.array([20_000.0, 1e15]), 0.95)
    assert tight.tilt[0] < 0
    assert tight.tilt[1] == 0


def test_differences_have_an_interval_from_five_pairs_on() -> None:
    assert difference_of([]) is None
    few = difference_of([0.02, 0.01, -0.01])
    assert few == {"n": 3, "value": pytest.approx(0.02 / 3), "low": None, "high": None}
    many = difference_of([0.02, 0.03, 0.025, 0.01, 0.04])
    assert many is not None
    assert many["low"] is not None
    assert many["high"] is not None
    assert 0.01 <= many["low"] < many["value"] < many["high"] <= 0.04
    assert difference_in_words(few, "random networks near the budget") == (
        "The networks of rankings are on average 0.7 points more accurate than random networks near the budget "
        "(3 pairs: no interval)."
    )
    assert "does not include 0" in difference_in_words(many, "others")
    mixed = difference_of([-0.02, 0.03, -0.025, 0.01, -0.04])
    assert mixed is not None
    words = difference_in_words(mixed, "others")
    assert "0.9 points less accurate than others (5 pairs: 95 % interval -" in words
    assert "includes 0, so the difference may be chance" in words
