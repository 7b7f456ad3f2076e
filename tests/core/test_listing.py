"""The list of a space against the engine on the same questions: the same networks in the same order, to the last digit.

`--random-cases 500` tries that many spaces, those after the first ones of up to a million networks.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from nnmass_core import search
from nnmass_core.budget import Budget
from nnmass_core.certificate import SearchResult
from nnmass_core.engine.control import Control
from nnmass_core.engine.listing import Listing
from nnmass_core.families import decode_space
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from tests.core import residual_problems
from tests.core.every_limit import FAMILIES, random_small
from tests.core.problems import random_space
from tests.core.random_chains import out_of_time_after

FIRST = 12
"""The number of small spaces, which come first."""


def any_space(rng: Random, seed: int) -> dict[str, Any]:
    family = rng.choice(FAMILIES)
    most = 2000 if seed < FIRST else 10 ** rng.randint(4, 6)
    if family in residual_problems.FAMILIES:
        return residual_problems.random_space(rng, family, most)
    if family == "densenet_mlp" or seed < FIRST:
        return random_space(rng, most, family)
    cells = rng.randint(2, 3)
    return {
        "family": family,
        "input": {"channels": 3, "height": 32, "width": 32},
        "num_classes": 10,
        "cells": cells,
        "width": rng.sample(range(4, 40), rng.randint(1, 4)),
        "depth": rng.sample(range(3, 12), rng.randint(1, 3)),
        "skip_channels": rng.sample(range(200), round((most / 12**cells) ** (1 / cells)) + 1),
    }


def any_budget(rng: Random, space: dict[str, Any]) -> dict[str, Any]:
    """Return limits within the figures of a few random networks."""
    chain = decode_space(space).chain()
    able = Listing(chain, Control())
    rows = [rng.randrange(len(able)) for _ in range(3)]
    params = [int(able.additive[row, chain.quantities.index("params")]) for row in rows]
    macs = [int(able.additive[row, chain.quantities.index("macs")]) for row in rows]
    budget = {
        "max_params": max(params),
        "max_macs": max(macs),
        "max_peak_activation_bytes": 4 * int(max(able.peaks)) - 4,
    }
    return {name: budget[name] for name in rng.sample(sorted(budget), rng.randint(0, 2))}


OBJECTIVES: tuple[Objective, ...] = (
    Maximize(),
    Minimize("params", 1.0),
    Minimize("macs", 2.0),
    Minimize("peak_activation_bytes", 1.5),
    Pareto(("params",)),
    Pareto(("macs",)),
    Pareto(("peak_activation_bytes",)),
)


def asked(request: SearchRequest, listed: int, monkeypatch: pytest.MonkeyPatch) -> SearchResult:
    monkeypatch.setattr(search, "LISTED", listed)
    return search.search(request)


@pytest.mark.random_cases(FIRST)
def test_the_listing_and_the_engine_agree(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(f"listing {seed}")
    space = any_space(rng, seed)
    while decode_space(space).chain().count() > 10**6:
        space = any_space(rng, seed)
    for objective in rng.sample(OBJECTIVES, 3):
        budget = Budget(**any_budget(rng, space))
        ranks: dict[str, Any] = {} if isinstance(objective, Pareto) else {"top_k": rng.choice((1, 10, 200))}
        if ranks and rng.random() < 0.5:
            ranks |= {"diversity": "shape"}
        request = SearchRequest(space=decode_space(space), budget=budget, objective=objective, **ranks)
        results = [asked(request, most, monkeypatch) for most in (0, 10**6)]
        ids = [[(one.rank, one.architecture.arch_id) for one in result.ranking] for result in results]
        assert ids[0] == ids[1]
        claims = [
            (c.optimal, c.objective_value, c.bound, c.best_nn_mass, c.feasible, c.binding, c.relaxation, c.space_size)
            for c in (result.certificate for result in results)
        ]
        assert claims[0] == claims[1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.listed
def test_a_list_that_is_cut_short_leaves_the_engine_what_it_can_find_at_once(family: str) -> None:
    small = random_small(Random(f"cut list {family}"), family)
    within = {"precision": "fp32"}
    for looks in (0, 1):
        best = small.search(within, control=out_of_time_after(looks)).certificate
        assert best.bound is not None
        assert best.bound >= float(small.rows[0].mass)
        least = small.search(within, Minimize("peak_activation_bytes", 0.0), out_of_time_after(looks)).certificate
        assert least.bound is not None
        assert least.bound <= 4 * min(row.peak for row in small.rows)
    front = small.search(within, Pareto(("params", "macs")), out_of_time_after(0))
    assert (front.certificate.optimal, front.certificate.feasible, len(front.ranking)) == (False, None, 0)


@pytest.mark.listed
def test_small_spaces_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A front in two costs of a space of three networks takes no grid of solves."""
    listed: list[int] = []

    class Counted(Listing):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            listed.append(len(self))

    monkeypatch.setattr(search, "Listing", Counted)
    small = random_small(Random("listed"), "densenet_cnn")
    result = small.search({"precision": "fp32"}, Pareto(("params", "macs")))
    assert listed == [len(small.rows)]
    assert (result.certificate.optimal, result.certificate.resolution) == (True, None)
    assert result.certificate.labels == len(small.rows)


@pytest.mark.listed
@pytest.mark.parametrize("objective", [Maximize(), Minimize("macs", 1200.0)])
def test_a_list_proves_the_rank_and_which_limits_bind(objective: Objective) -> None:
    space = resolve_space("resnet-tiny-free")
    budget = Budget(max_params=1_000_000, max_macs=100_000_000)
    certificate = search.search(SearchRequest(space=space, budget=budget, objective=objective)).certificate
    assert certificate.labels == certificate.space_size == 28_672
    assert certificate.binding == ("max_params",)
