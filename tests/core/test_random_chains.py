"""The engine on random chains: what it answers, and what it claims wherever it is cut short."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from nnmass_core.engine.chain import QUANTITIES, Chain, Stage, make_stage
from nnmass_core.engine.control import Control, OutOfTime
from nnmass_core.engine.fronts import ceilings, dominance, labels, optima
from nnmass_core.engine.fronts.labels import whole_front
from nnmass_core.engine.fronts.optima import ends_of_front, front_of_optima
from nnmass_core.engine.listing import Listing, listed_best, listed_front
from nnmass_core.engine.pareto import Point
from nnmass_core.engine.peaks import least_peaks
from nnmass_core.engine.problem import RANKING, ChainProblem, maximize, minimize
from nnmass_core.engine.solver import Solver
from tests.core.random_chains import Path, every_path, first_of_each_shape, out_of_time_after, random_chain


def front_of(paths: list[Path], costs: tuple[str, ...]) -> list[Point]:
    """Return the front of paths in ranking order, ascending in its costs; of equal ones the first."""
    rows = [([getattr(path, cost) for cost in costs], path) for path in paths]
    points: list[Point] = []
    for own, path in rows:
        others = [(cost, other) for cost, other in rows if all(a <= b for a, b in zip(cost, own, strict=True))]
        if all(other.mass < path.mass or (cost == own and other.mass == path.mass) for cost, other in others):
            points.append(Point(tuple(own), path.mass, path.integers))
    first: dict[tuple[int, ...], Point] = {}
    for point in points:
        first.setdefault(point.costs, point)
    return [first[key] for key in sorted(first)]


def random_problem(rng: Random, most_shapes: int = 4, most_denominator: int = 24) -> tuple[ChainProblem, list[Path]]:
    """Return a problem with some limits, and the paths that keep them."""
    chain = random_chain(rng, most_shapes=most_shapes, most_denominator=most_denominator)
    paths = every_path(chain)
    caps: list[tuple[int, int]] = []
    for name in rng.sample(("params", "macs", "weights"), rng.choice((0, 1, 2))):
        bound = sorted(getattr(path, name) for path in paths)[int(rng.choice((0.3, 0.7)) * (len(paths) - 1))]
        caps.append((chain.quantities.index(name), bound))
        paths = [path for path in paths if getattr(path, name) <= bound]
    floors: list[tuple[int, int]] = []
    for name in rng.sample(("params", "macs", "latency"), rng.choice((0, 0, 0, 1))):
        bound = sorted(getattr(path, name) for path in paths)[int(0.3 * (len(paths) - 1))] if paths else 0
        floors.append((chain.quantities.index(name), bound))
        paths = [path for path in paths if getattr(path, name) >= bound]
    most = rng.choice(paths).mass if paths and rng.random() < 0.1 else None
    paths = [path for path in paths if most is None or path.mass <= most]
    peak = rng.choice(chain.peaks) if rng.random() < 0.2 else None
    least = rng.choice(paths).mass if paths and rng.random() < 0.4 else None
    paths = [path for path in paths if peak is None or path.peak <= peak]
    paths = [path for path in paths if least is None or path.mass >= least]
    bounds = tuple(caps), peak, least, tuple(floors), most
    return ChainProblem(chain, RANKING, *bounds), paths


def moments(rng: Random) -> Iterator[int]:
    """Yield after how many looks at the time limit it ends: all of the first, then ever fewer of the others."""
    looks = 0.0
    while looks < 10**6:
        yield int(looks)
        looks += 1 + rng.random() * looks / 2


@pytest.mark.parametrize("distinct_shapes", [False, True])
@pytest.mark.random_cases(30)
def test_a_least_peak_cut_at_any_point_claims_no_more_than_it_knows(distinct_shapes: bool, seed: int) -> None:
    rng = Random(f"cut peak {distinct_shapes} {seed}")
    problem, able = random_problem(rng, most_shapes=2)
    able.sort(key=lambda path: (path.peak, path.place))
    k = rng.choice((2, 3, 5, 1000))
    expected = (first_of_each_shape(able) if distinct_shapes else able)[:k]
    known = {path.integers: path for path in able}
    for looks in moments(rng):
        found = least_peaks(problem, k, out_of_time_after(looks), distinct_shapes=distinct_shapes)
        paths = [known[tuple(integers)] for integers in found.integers.tolist()]
        assert paths == sorted(paths, key=lambda path: (path.peak, path.place))
        assert -found.bound <= (able[0].peak if able else float("inf"))
        assert found.masses == [path.mass for path in paths]
        if found.complete:
            assert paths == expected
            assert found.bound == (-able[0].peak if able else float("-inf"))
            return
    raise AssertionError


@pytest.mark.parametrize("distinct_shapes", [False, True])
@pytest.mark.random_cases(60)
def test_the_listing_agrees_with_the_engine(distinct_shapes: bool, seed: int) -> None:
    rng = Random(f"listing {distinct_shapes} {seed}")
    problem, _ = random_problem(rng)
    listing, k = Listing(problem.chain, Control()), rng.choice((1, 2, 5, 1000))
    first = rng.choice((maximize("nn_mass"), minimize("nn_mass"), maximize("macs"), minimize("params")))
    problem = replace(problem, keys=(first, *(key for key in RANKING if key.column != first.column)))
    for of_peak in (False, True):
        if of_peak:
            problem = replace(problem, keys=RANKING)
            engine = least_peaks(problem, k, Control(), distinct_shapes=distinct_shapes)
        else:
            engine = Solver(problem, k, Control(), distinct_shapes=distinct_shapes).solve()
        listed = listed_best(listing, problem, k, of_peak=of_peak, distinct_shapes=distinct_shapes)
        assert listed.complete
        assert engine.complete
        assert listed.integers.tolist() == engine.integers.tolist()
        assert listed.masses == engine.masses
        assert listed.additive.tolist() == engine.additive.tolist()
        assert listed.bound == pytest.approx(engine.bound)
    assert len(listing) == len(every_path(problem.chain))


SINGLE = ("params", "macs", "weights", "latency", "peak")
COSTS = [*((cost,) for cost in SINGLE), *itertools.combinations(SINGLE, 2), ("macs", "params"), ("peak", "latency")]


@pytest.mark.parametrize("costs", COSTS)
@pytest.mark.parametrize(("least", "most_denominator"), [(2**62, 1000), (2**123, 10**8)])
@pytest.mark.random_cases(8)
def test_the_front_with_masses_of_several_words_equals_brute_force(
    costs: tuple[str, ...], least: int, most_denominator: int, seed: int
) -> None:
    rng = Random(f"words {costs} {seed}")
    while True:
        problem, able = random_problem(rng, most_denominator=most_denominator)
        if problem.chain.largest_mass >= least and problem.most_mass is None:
            break
    assert labels.fits(problem)
    assert whole_front(problem, costs, Control()).points == front_of(able, costs)


@pytest.mark.parametrize("costs", COSTS)
@pytest.mark.random_cases(30)
def test_the_front_by_labels_equals_brute_force(
    costs: tuple[str, ...], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = Random(f"labels {costs} {seed}")
    problem, able = random_problem(rng)
    if seed % 2:
        for name, sizes in {"CHUNK": (1, 3, 20), "NEIGHBORS": (1, 4), "LINES": (2, 5, 512)}.items():
            monkeypatch.setattr(dominance, name, rng.choice(sizes))
        monkeypatch.setattr(labels, "ROWS", rng.choice((1, 5, 40)))
        monkeypatch.setattr(labels, "MOST_PLACES", rng.choice((1, 50)))
    front = whole_front(problem, costs, Control())
    assert front.gaps is None
    assert front.points == front_of(able, costs)


def test_the_first_of_equal_networks_stays_where_one_of_two_limits_no_longer_binds() -> None:
    # of the first two at the output, both keep the limit on MACs whatever precedes; one leaves more params
    inputs = options(params=[0, 6], macs=[0, 10], latency=[0, 5], mass=[0, 9])
    outputs = options(params=[7, 6, 1], macs=[5, 6, 100], latency=[0, 0, 0], mass=[3, 3, 1])
    chain = Chain((inputs, outputs), (1, 1, 1), (0, 1))
    problem = ChainProblem(chain, RANKING, caps=((QUANTITIES.index("params"), 12), (QUANTITIES.index("macs"), 50)))
    able = [path for path in every_path(chain) if path.params <= 12 and path.macs <= 50]
    points = whole_front(problem, ("latency",), Control()).points
    assert points == front_of(able, ("latency",))
    assert [point.integers for point in points] == [(0, 0), (1, 1)]


@pytest.mark.random_cases(60)
def test_a_grid_drops_only_what_a_label_of_more_mass_replaces(seed: int) -> None:
    rng = np.random.default_rng(seed)
    largest = int(rng.choice([3, 10**12]))
    (mass, *figures), (other, *own) = (rng.integers(-largest, largest, (3, n)) for n in (rng.integers(1, 90), 400))
    lines = np.column_stack(figures)
    beaten = dominance.Grid(mass, lines).beats(other, np.column_stack(own))
    replaced = ((mass > other[:, None]) & (lines <= np.column_stack(own)[:, None]).all(axis=2)).any(axis=1)
    assert not (beaten & ~replaced).any()
    assert 2 * beaten.sum() >= replaced.sum()


def options(*, mass: list[int], **figures: list[int]) -> Stage:
    """Return a stage between single nodes, with options that are numbered."""
    n = len(mass)
    none, columns = np.zeros(n, np.int64), {name: np.array(column) for name, column in figures.items()}
    terms, number = (np.array(mass), none + 1), np.arange(n)[:, None]
    return make_stage(source=none, target=none, weights=none, peak=none, mass_terms=terms, integers=number, **columns)


@pytest.mark.parametrize("costs", [costs for costs in COSTS if sum(cost != "peak" for cost in costs) == 1])
@pytest.mark.random_cases(30)
def test_the_front_by_bounded_labels_equals_brute_force(
    costs: tuple[str, ...], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = Random(f"bounded {costs} {seed}")
    problem, able = random_problem(rng)
    for name in ("CELLS", "LEVELS", "BEAM"):
        monkeypatch.setattr(labels, name, rng.choice((1, 3, 9)))
    monkeypatch.setattr(ceilings, "AT_ONCE", rng.choice((1, 40)))
    ends = ends_of_front(problem, costs, Control()).points
    assert whole_front(problem, costs, Control(), ends, many=0).points == front_of(able, costs)


@pytest.mark.parametrize("costs", COSTS)
@pytest.mark.random_cases(20)
def test_the_listed_front_equals_brute_force(costs: tuple[str, ...], seed: int) -> None:
    problem, able = random_problem(Random(f"front {costs} {seed}"))
    front = listed_front(Listing(problem.chain, Control()), problem, costs)
    assert front.gaps is None
    assert front.points == front_of(able, costs)


OF_OPTIMA = [costs for costs in COSTS if costs != ("peak",)]


@pytest.mark.parametrize("costs", OF_OPTIMA)
@pytest.mark.random_cases(3)
def test_a_front_of_optima_has_true_points_near_those_that_it_lacks(
    costs: tuple[str, ...], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = Random(f"optima {costs} {seed}")
    monkeypatch.setattr(optima, "ROUNDS", rng.choice((1, 2)))
    problem, able = random_problem(rng)
    whole = front_of(able, costs)
    for looks in (rng.randrange(100), rng.randrange(1000), 10**6):
        control = out_of_time_after(looks)
        try:
            ends = ends_of_front(problem, costs, control)
        except OutOfTime:
            continue
        front = front_of_optima(problem, costs, ends, control)
        assert {point.costs for point in ends.points} <= {point.costs for point in front.points}
        assert [point for point in whole if point in front.points] == front.points
        if front.gaps is None:
            assert front.points == whole
        else:
            widest = [front.gaps[cost] for cost in costs]
            for missing in (point for point in whole if point not in front.points):
                near = [one for one in front.points if one.mass >= missing.mass]
                more = [[a - b for a, b in zip(one.costs, missing.costs, strict=True)] for one in near]
                assert any(all(a <= gap for a, gap in zip(one, widest, strict=True)) for one in more)
