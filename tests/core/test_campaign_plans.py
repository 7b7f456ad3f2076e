"""What a campaign trains next: its rounds, its controls, and its answer to repeated calls."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest

from nnmass_core.campaigns.plan import Measured, Proposal, leaders, plan, share_of_round
from nnmass_core.campaigns.pool import Candidates, ListPool, Score, costs_of
from nnmass_core.campaigns.spread import in_order


def networks(count: int, seed: int = 0) -> Candidates:
    """Return networks of three stages within a limit on MACs, whose terms are their repeats."""
    repeats = np.random.default_rng(seed).integers(1, 6, size=(4 * count, 3)).astype(np.float64)
    macs = repeats @ [9e4, 8e4, 3e4] + np.arange(len(repeats))
    repeats, macs = repeats[macs <= 6e5][:count], macs[macs <= 6e5][:count]
    return Candidates(
        keys=tuple(f"n{number:04}" for number in range(count)),
        params=repeats @ [1e3, 4e3, 9e3] + np.arange(count),
        macs=macs,
        nn_mass=repeats @ [30.0, 20.0, 70.0],
        depth=repeats.sum(axis=1),
        width=np.full(count, 4.0),
        share=macs / 6e5,
        terms=np.log(repeats),
    )


def accuracy_of(pool: ListPool, key: str) -> float:
    """Return an accuracy that is not linear in the costs."""
    one = pool.describe([key])
    return float(80 + 3 * one.terms[0, 0] + 2 * one.terms[0, 1] - (one.terms[0, 2] - 1) ** 2)


def run(pool: ListPool, trainings: int, rounds: int) -> list[list[Proposal]]:
    """Run a campaign with the made-up accuracy and return its rounds."""
    done: list[list[Proposal]] = []
    measured: list[Measured] = []
    while count := share_of_round(trainings, len(measured), rounds, len(done)):
        proposals = plan(pool, measured, count, seed=0).proposals
        done.append(proposals)
        measured += [Measured(one.key, accuracy_of(pool, one.key)) for one in proposals]
    return done


@pytest.mark.parametrize(
    ("trainings", "rounds", "sizes"),
    [(16, 2, [8, 8]), (9, 3, [5, 2, 2]), (16, 5, [8, 2, 2, 2, 2]), (8, 1, [8]), (1, 2, [1]), (3, 9, [2, 1])],
)
def test_rounds_spend_the_trainings_and_never_repeat_a_network(trainings: int, rounds: int, sizes: list[int]) -> None:
    done = run(ListPool(networks(60)), trainings, rounds)
    assert [len(proposals) for proposals in done] == sizes
    keys = [one.key for proposals in done for one in proposals]
    assert len({*keys}) == len(keys)


def test_the_first_round_has_every_control() -> None:
    pool = ListPool(networks(60))
    listed = pool.candidates(0)
    begun = plan(pool, [], 8, 0)
    first = {one.key: one.role for one in begun.proposals}
    mass, macs = listed.nn_mass, listed.macs
    full = np.flatnonzero(macs >= 0.95 * macs.max())
    rows = {
        "most_macs": int(np.argmax(macs)),
        "spend": min(full.tolist(), key=lambda row: (-mass[row], macs[row])),
        "most_params": int(np.argmax(listed.params)),
        "most_nn_mass": min(range(60), key=lambda row: (-mass[row], macs[row])),
    }
    assert len({*rows.values()}) == 3
    assert begun.controls == {role: listed.keys[row] for role, row in rows.items()}
    for role, row in rows.items():
        same = [other for other in rows if rows[other] == row]
        assert first[listed.keys[row]] == same[0], role
    assert {"random", "spread"} <= {*first.values()}


def test_a_spread_covers_the_networks_near_the_budget_better_than_chance() -> None:
    pool = ListPool(networks(400))
    listed = pool.candidates(0)
    near = listed.take(np.flatnonzero(listed.share >= 0.9))
    places = np.log(np.column_stack([near.macs, near.params, near.nn_mass]))
    places = (places - places.mean(axis=0)) / places.std(axis=0)

    def gap(keys: Collection[str]) -> float:
        rows = [row for row, key in enumerate(near.keys) if key in keys]
        return float(((places[:, None] - places[rows][None]) ** 2).sum(axis=2).min(axis=1).max())

    drawn = [listed.keys[row] for row in in_order(listed, "random", 0, ())[:12]]
    assert gap([one.key for one in plan(pool, [], 12, 0).proposals]) < 0.8 * gap(drawn)


def test_a_plan_depends_on_the_results_alone_not_on_their_order() -> None:
    pool = ListPool(networks(60))
    first = plan(pool, [], 8, 3)
    assert first == plan(pool, [], 8, 3)
    results = [Measured(one.key, accuracy_of(pool, one.key)) for one in first.proposals]
    second = plan(pool, results, 8, 3)
    assert second.fit is not None
    assert second == plan(ListPool(networks(60)), results[::-1], 8, 3)


def test_known_results_are_free_and_never_trained_again() -> None:
    pool = ListPool(networks(60))
    known = [Measured(key, accuracy_of(pool, key), known=True) for key in pool.candidates(0).keys[:10]]
    first = plan(pool, known, 8, 0)
    free = [one for one in first.proposals if one.key in {one.key for one in known}]
    assert len(first.proposals) - len(free) == 8
    assert {one.key for one in free} == {*first.controls.values()} & {one.key for one in known}
    assert not {"spread", "random"} & {one.role for one in free}


def test_a_control_that_is_known_is_in_the_first_round_at_no_cost() -> None:
    pool = ListPool(networks(60))
    most = plan(pool, [], 8, 0).controls["most_macs"]
    first = plan(pool, [Measured(most, accuracy_of(pool, most), known=True)], 8, 0)
    assert first.proposals[0] == Proposal(most, "most_macs")
    assert len(first.proposals) == 9


def test_a_training_without_a_result_is_spent() -> None:
    pool = ListPool(networks(60))
    results = [Measured(one.key, None) for one in plan(pool, [], 8, 0).proposals]
    second = plan(pool, results, 8, 0)
    assert len(second.proposals) == 8
    assert {one.role for one in second.proposals} == {"spend"}
    assert second.fit is None
    assert {one.predicted for one in second.proposals} == {None}


def test_a_small_pool_ends_a_campaign_early() -> None:
    assert sum(map(len, run(ListPool(networks(5)), 16, 2))) == 5


def test_leaders_are_ordered_by_their_mean_over_seeds() -> None:
    measured = [Measured("a", 90.0), Measured("b", 91.0), Measured("b", 88.0, seed=1), Measured("c", 80.0)]
    assert leaders(measured) == [("a", 90.0), ("b", 89.5), ("c", 80.0)]


def test_the_list_gives_the_greatest_scores() -> None:
    pool = ListPool(networks(60))
    listed = pool.candidates(0)
    score = Score(np.array([1e-4, 1e-5, 0.01]), np.array([1.0, -2.0, 0.5]), 1e-4)
    scores = score.of(costs_of(listed), listed.terms)
    taken = {listed.keys[np.argmax(scores)]}
    best = pool.best(score, 5, taken)
    assert best.proved
    assert best.scores.tolist() == sorted(scores.tolist(), reverse=True)[1:6]
    assert best.bound == best.scores[0]
