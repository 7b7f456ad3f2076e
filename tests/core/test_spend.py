"""The most NN-Mass among networks that use a share of the most of a cost, against brute force on the oracle."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.engine.control import Control
from nnmass_core.errors import DefinitionError
from nnmass_core.named.presets import resolve_space
from nnmass_core.named.spending import Spend
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import search
from tests.core.brute import Row, first_of_each_shape
from tests.core.every_limit import FAMILIES, Small, found, random_small
from tests.parsed import parsed

SUMS = ("params", "macs", "weight_bytes", "latency_ms", "depth")
SHARES = ("1", "0.99", "0.95", "0.9", "0.7", "0.3", "0.07", "0.000001")


def spending(small: Small, rows: list[Row], quantity: str, share: str) -> list[Row]:
    """Return the rows that use a share of the most that a row uses."""
    most = max((small.cost(row, quantity) for row in rows), default=0)
    return [row for row in rows if Fraction(share) * most <= small.cost(row, quantity)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(20)
def test_a_ranking_of_networks_that_spend_a_share_equals_brute_force(family: str, seed: int) -> None:
    rng = Random(f"spend {family} {seed}")
    small = random_small(rng, family)
    budget = small.budget(rng)
    quantity, share = rng.choice(SUMS), rng.choice(SHARES)
    top_k, diversity = rng.choice((1, 3, 1000)), rng.choice(("none", "none", "shape"))
    asked: dict[str, Any] = {"top_k": top_k, "diversity": diversity, "spend": Spend(quantity, float(share))}
    answer = small.search(budget, **asked)
    within = small.within(budget)
    expected = spending(small, within, quantity, share)
    shown = first_of_each_shape(expected) if diversity == "shape" else expected
    assert found(small, answer) == shown[:top_k]
    certificate, spent = answer.certificate, answer.certificate.spent
    assert (certificate.optimal, certificate.feasible) == (True, bool(within))
    if not within:
        assert spent is None
        return
    unit = 1e6 if quantity == "latency_ms" else 1
    most = max(small.cost(row, quantity) for row in within)
    assert spent is not None
    assert (spent.most, spent.bound, spent.optimal) == (most / unit, most / unit, True)
    assert spent.least == math.ceil(Fraction(share) * most) / unit
    dearest = min((row for row in within if small.cost(row, quantity) == most), key=lambda row: row.place)
    assert spent.network.evaluation.mass == dearest.mass
    binding = ["spend"] if within[0].mass > expected[0].mass else []
    for name in budget:
        others = small.within({k: v for k, v in budget.items() if k != name or k == "precision"})
        if name != "precision" and spending(small, others, quantity, share)[0].mass > expected[0].mass:
            binding.append(name)
    assert sorted(certificate.binding or ()) == sorted(binding)


def test_a_share_is_the_decimal_that_it_is_written_as() -> None:
    # 0.07 as a double is above 7/100, and 0.95 is below 95/100
    assert (Spend("macs", 0.07).least(100), Spend("macs", 0.95).least(100)) == (7, 95)
    assert (Spend("macs", 0.95).least(101), Spend("macs", 1).least(101)) == (96, 101)
    assert Spend("macs", 1e-6).least(10**6 + 1) == 2


def test_a_spend_that_is_cut_short_claims_no_more_than_it_proves() -> None:
    small = random_small(Random(11), "densenet_cnn", 300)
    best = spending(small, small.rows, "macs", "0.9")[0]
    seen = set()
    for patience in range(0, 60, 2):
        looks = itertools.count()
        control = Control(expired=lambda looks=looks, patience=patience: next(looks) >= patience)  # type: ignore[misc]
        answer = small.search({"precision": "fp32"}, control=control, spend=Spend("macs", 0.9), top_k=3)
        certificate, spent = answer.certificate, answer.certificate.spent
        seen.add((certificate.optimal, None if spent is None else spent.optimal))
        if spent is not None:
            assert spent.bound >= max(row.macs for row in small.rows) >= spent.most
            assert spent.optimal or not certificate.optimal
        if certificate.optimal:
            assert found(small, answer)[0] == best
        elif certificate.bound is not None:
            assert certificate.bound >= float(best.mass)
    assert (True, True) in seen
    assert len(seen) > 1


def test_a_request_without_a_spend_keeps_its_form_and_its_digest() -> None:
    space = resolve_space("densenet-tiny-free")
    plain = SearchRequest(space=space, budget=Budget(max_params=100_000))
    spending_some = SearchRequest(space=space, budget=Budget(max_params=100_000), spend=Spend("macs", 0.95))
    assert (plain.version, spending_some.version) == (1, 2)
    assert "spend" not in plain.to_json()
    assert spending_some.to_json() == plain.to_json() | {"spend": {"quantity": "macs", "share": 0.95}}
    assert plain.digest != spending_some.digest
    assert SearchRequest.from_json(spending_some.to_json()) == spending_some
    off: dict[str, Any] = {**plain.to_json(), "spend": None}
    assert SearchRequest.from_json(off).digest == plain.digest


def test_the_proof_of_the_most_is_part_of_the_certificate_and_of_its_digest() -> None:
    space = resolve_space("densenet-tiny-free")
    results = [
        search(SearchRequest(space=space, budget=Budget(max_params=100_000), top_k=1, spend=spend))
        for spend in (None, Spend("macs", 0.5), Spend("macs", 0.51))
    ]
    assert "spent" not in results[0].certificate.to_json()
    spent = parsed(results[1].certificate.to_json())["spent"]
    assert (spent["quantity"], spent["share"], spent["optimal"]) == ("macs", 0.5, True)
    assert spent["network"]["macs"] == spent["most"] == spent["bound"] == 2 * spent["least"]
    assert len({result.digest for result in results}) == 3


@pytest.mark.parametrize(
    ("spend", "field"),
    [
        ({"quantity": "macs"}, "spend.share"),
        ({"share": 0.5}, "spend.quantity"),
        ({"quantity": "peak_activation_bytes", "share": 0.5}, "spend.quantity"),
        ({"quantity": ["macs"], "share": 0.5}, "spend.quantity"),
        ({"quantity": "macs", "share": 0}, "spend.share"),
        ({"quantity": "macs", "share": 1.01}, "spend.share"),
        ({"quantity": "macs", "share": "0.5"}, "spend.share"),
        ({"quantity": "macs", "share": True}, "spend.share"),
        ({"quantity": "macs", "share": 0.5, "cost": 1}, "spend.cost"),
        ({"quantity": "latency_ms", "share": 0.5}, "spend.quantity"),
        (0.5, "spend"),
    ],
)
def test_an_invalid_spend_names_its_field(spend: Any, field: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        SearchRequest.from_json({"space": "densenet-tiny-free", "spend": spend})
    assert [problem.field for problem in refused.value.problems] == [field]


@pytest.mark.parametrize("objective", [Minimize("macs", 5.0), Pareto(("macs",)), Maximize("params")])
def test_a_spend_applies_only_where_nn_mass_is_maximized(objective: Objective) -> None:
    with pytest.raises(DefinitionError) as refused:
        SearchRequest(
            space=resolve_space("densenet-tiny-free"), budget=Budget(), objective=objective, spend=Spend("macs", 0.5)
        )
    assert [problem.field for problem in refused.value.problems] == ["spend"]
