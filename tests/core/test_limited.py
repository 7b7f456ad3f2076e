"""The best paths by a sum that its own limit bounds: against brute force, lists, and a table of sums."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import pytest

from nnmass_core.budget import Budget
from nnmass_core.engine import solver
from nnmass_core.engine.bounds import best_prices
from nnmass_core.engine.chain import Chain, Ints
from nnmass_core.engine.control import Control
from nnmass_core.engine.listing import Listing, listed_best
from nnmass_core.engine.problem import RANKING, ChainProblem, Key
from nnmass_core.engine.sums.limited import Effort, _Walk, beats, best_paths
from nnmass_core.engine.sums.reach import NONE, Reach
from nnmass_core.named.presets import resolve_space
from nnmass_core.named.spending import Spend
from nnmass_core.request import Maximize, Minimize, SearchRequest
from nnmass_core.search import chain_of, search
from tests.core.random_chains import Path, every_path, first_of_each_shape, out_of_time_after, random_chain
from tests.core.test_random_chains import moments

SUMS = ("params", "macs", "latency", "nn_mass")


def random_effort(rng: Random) -> Effort:
    """Return an effort that sends even small spaces through windows, lists, remainders and halving."""
    return Effort(
        few=rng.choice((0, 1, 3, 10)),
        single=rng.choice((0, 1, 3)),
        most_sums=rng.choice((0, 2, 10, 1000)),
        most_remainders=rng.choice((0, 2, 10, 1000)),
        most_endings=rng.choice((0, 2, 10, 1000)),
    )


def value(path: Path, name: str) -> Fraction:
    return path.mass if name == "nn_mass" else Fraction(getattr(path, name))


def limiting_mass(problem: ChainProblem, bound: Fraction, sign: int) -> ChainProblem:
    return replace(problem, most_mass=bound) if sign > 0 else replace(problem, least_mass=bound)


def limited(rng: Random, name: str, sign: int) -> tuple[ChainProblem, list[Path]]:
    """Return a problem with a limit on its first key's sum and perhaps others; its paths, the best first."""
    chain = random_chain(rng)
    paths = every_path(chain)
    bound = rng.choice(paths)
    near = value(bound, name) + (rng.choice((0, 0, 1)) if name != "nn_mass" else Fraction(rng.choice((0, 1)), 7))
    problem = ChainProblem(chain)
    column = chain.quantities.index(name)
    if name == "nn_mass":
        problem = limiting_mass(problem, near, sign)
    elif sign > 0:
        problem = problem.capped(column, int(near))
    else:
        problem = replace(problem, floors=((column, int(near)),))
    able = [path for path in paths if sign * value(path, name) <= sign * near]
    if rng.random() < 0.6:
        other = rng.choice([o for o in ("params", "macs", "weights") if o != name])
        most = getattr(rng.choice(paths), other)
        problem = problem.capped(chain.quantities.index(other), most)
        able = [path for path in able if getattr(path, other) <= most]
    if rng.random() < 0.2:
        far = value(rng.choice(paths), name)
        far = min(far, near) if sign > 0 else max(far, near)
        if name == "nn_mass":
            problem = limiting_mass(problem, far, -sign)
        elif sign > 0:
            problem = replace(problem, floors=((column, int(far)),))
        else:
            problem = problem.capped(column, int(far))
        able = [path for path in able if sign * value(path, name) >= sign * far]
    if rng.random() < 0.3:  # the rest of the ranking order may go towards a limit too
        other = rng.choice([o for o in ("params", "macs") if o != name])
        least = getattr(rng.choice(paths), other)
        problem = replace(problem, floors=(*problem.floors, (chain.quantities.index(other), least)))
        able = [path for path in able if getattr(path, other) >= least]
    if rng.random() < 0.2:
        peak = rng.choice(chain.peaks)
        problem = replace(problem, peak=peak)
        able = [path for path in able if path.peak <= peak]
    keys = (Key(column, sign), *(key for key in RANKING if key.column != column))
    able.sort(key=lambda path: (-sign * value(path, name), path.place))
    return replace(problem, keys=keys), able


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", SUMS)
@pytest.mark.random_cases(40)
def test_the_best_by_a_limited_sum_equal_brute_force(name: str, sign: int, seed: int) -> None:
    rng = Random(f"limited {name} {sign} {seed}")
    problem, able = limited(rng, name, sign)
    k, distinct = rng.choice((1, 2, 5, 1000)), rng.random() < 0.3
    found = best_paths(problem, k, Control(), distinct_shapes=distinct, effort=random_effort(rng))
    expected = (first_of_each_shape(able) if distinct else able)[:k]
    assert found.complete
    assert [tuple(integers) for integers in found.integers.tolist()] == [path.integers for path in expected]
    assert found.masses == [path.mass for path in expected]
    assert found.bound == (pytest.approx(float(sign * value(able[0], name))) if able else -np.inf)
    if able:
        best = sign * value(able[0], name)
        assert beats(problem, best, Control()) is False
        assert beats(problem, best - Fraction(1, 1000), Control()) is True


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.random_cases(8)
def test_a_limited_sum_cut_at_any_point_claims_no_more_than_it_knows(name: str, seed: int) -> None:
    rng = Random(f"limited cut {name} {seed}")
    sign = rng.choice((1, -1))
    problem, able = limited(rng, name, sign)
    known, effort, k = {path.integers: path for path in able}, random_effort(rng), rng.choice((1, 3))
    for looks in moments(rng):
        found = best_paths(problem, k, out_of_time_after(looks), effort=effort)
        paths = [known[tuple(integers)] for integers in found.integers.tolist()]
        if able:
            best = float(sign * value(able[0], name))
            assert found.bound >= best - 1e-9 * abs(best)
        if found.complete:
            assert paths == able[:k]
            return
    raise AssertionError


@pytest.mark.random_cases(60)
def test_the_sums_that_may_follow_are_a_superset_exact_where_listed(seed: int) -> None:
    rng = Random(f"reach {seed}")
    chain = random_chain(rng)
    name, sign = rng.choice(SUMS), rng.choice((1, -1))
    key = Key(chain.quantities.index(name), sign)
    most_sums = rng.choice((0, 3, 10**6))
    reach = Reach(chain, key, most_sums=most_sums, most_remainders=rng.choice((0, 3, 10**6)))
    unit = chain.common_denominator if name == "nn_mass" else 1
    distances = sorted({reach.distance(int(value(path, name) * unit)) for path in every_path(chain)})
    assert distances[0] >= 0
    assert distances[-1] <= reach.farthest
    for start in [-1, 0, *distances, *(distance + 1 for distance in distances)]:
        following = next((distance for distance in distances if distance >= start), NONE)
        assert reach.first(start) <= following
        if most_sums == 10**6:
            assert reach.first(start) == following


def most_macs(chain: Chain, macs: int, params: int) -> int:
    """Return the most MACs of a path within both limits: the fewest params of every sum of MACs, without the engine."""
    scale = 2**21
    assert params < scale
    columns = [chain.quantities.index(name) for name in ("macs", "params")]
    reached = {0: np.zeros(1, np.int64)}
    for this in chain.stages:
        sums, fewest = this.additive[:, columns].astype(np.int64).T
        found: dict[int, list[Ints]] = {}
        for group in np.split(np.arange(len(this)), this.groups.starts[1:]):
            source, target = int(this.source[group[0]]), int(this.target[group[0]])
            few = group[fewest[group] <= params]
            own = cheapest(sums[few] * scale + fewest[few], scale)
            both = (reached.get(source, np.zeros(0, np.int64))[:, None] + own).ravel()
            fits = (both // scale <= macs) & (both % scale <= params)
            found.setdefault(target, []).append(cheapest(both[fits], scale))
        reached = {node: cheapest(np.concatenate(parts), scale) for node, parts in found.items()}
    return int(reached[0].max() // scale)


def cheapest(numbers: Ints, scale: int) -> Ints:
    """Return, of the numbers sum x scale + params, the one of the fewest params for each sum."""
    numbers = np.sort(numbers)
    return numbers[np.diff(numbers // scale, prepend=-1) > 0]


LARGE: tuple[str, dict[str, Any]] = ("densenet-cifar-free", {"max_params": 1_000_000, "max_macs": 150_000_000})


def large(objective: Maximize | Minimize, k: int = 1) -> SearchRequest:
    name, limits = LARGE
    return SearchRequest(space=resolve_space(name), budget=Budget(**limits), objective=objective, top_k=k)


def test_the_most_macs_of_a_space_of_1e14_networks_is_proved() -> None:
    result = search(large(Maximize("macs"), k=3))
    chain = chain_of(resolve_space(LARGE[0]))
    most = most_macs(chain, 150_000_000, 1_000_000)
    assert [place.evaluation.macs for place in result.ranking] == [most] * 3
    assert all(place.evaluation.params <= 1_000_000 for place in result.ranking)
    certificate = result.certificate
    assert (certificate.optimal, certificate.objective_value, certificate.bound) == (True, most, most)


@pytest.mark.parametrize("quantity", ["macs", "params"])
def test_a_spend_of_a_large_space_is_proved(quantity: str) -> None:
    name, limits = LARGE
    spend = Spend(quantity, 0.95)
    asked = SearchRequest(space=resolve_space(name), budget=Budget(**limits), spend=spend, top_k=3)
    result = search(asked)
    spent = result.certificate.spent
    assert spent is not None
    assert (result.certificate.optimal, spent.optimal, result.certificate.count) == (True, True, 3)
    assert all(getattr(place.evaluation, quantity) >= spent.least for place in result.ranking)
    floor: dict[str, Any] = {f"min_{quantity}": int(spent.least)}
    again = search(SearchRequest(space=resolve_space(name), budget=Budget(**limits, **floor), top_k=3))
    assert [r.architecture for r in again.ranking] == [r.architecture for r in result.ranking]


def test_the_first_of_two_solves_leaves_time_for_the_second() -> None:
    """Without time for the first, the second still finds networks, and neither is claimed to be proved."""
    name, limits = LARGE
    asked = SearchRequest(space=resolve_space(name), budget=Budget(**limits), spend=Spend("macs", 0.9), top_k=3)
    looks = iter(range(10**9))
    control = Control.timed(lambda: 0.6 if next(looks) > 250 else 0.0)
    result = search(asked, control)
    spent = result.certificate.spent
    assert spent is not None
    assert (spent.optimal, result.certificate.optimal, result.certificate.count) == (False, False, 3)
    assert spent.most < spent.bound <= limits["max_macs"]
    assert all(place.evaluation.macs >= spent.least for place in result.ranking)


@pytest.fixture(scope="module", params=["densenet-mlp-mnist", "resnet-tiny-free", "wide-resnet-cifar-free"])
def listed_preset(request: pytest.FixtureRequest) -> Listing:
    return Listing(chain_of(resolve_space(request.param)), Control())


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", ["params", "macs", "weights", "nn_mass"])
def test_the_walk_agrees_with_the_list_of_a_space(name: str, sign: int, listed_preset: Listing) -> None:
    listing, chain = listed_preset, listed_preset.chain
    column = chain.quantities.index(name)
    keys = (Key(column, sign), *(key for key in RANKING if key.column != column))
    middle = float(np.median(listing.additive[:, column]))
    if name == "nn_mass":
        problem = limiting_mass(ChainProblem(chain, keys), Fraction(middle), sign)
    elif sign > 0:
        problem = ChainProblem(chain, keys, caps=((column, int(middle)),))
    else:
        problem = ChainProblem(chain, keys, floors=((column, int(middle)),))
    for k in (1, 20, 1000):
        found = best_paths(problem, k, Control(), effort=Effort(few=500))
        listed = listed_best(listing, problem, k, of_peak=False, distinct_shapes=False)
        assert found.complete
        assert found.integers.tolist() == listed.integers.tolist()


def test_the_fewest_macs_above_a_floor_of_one_nn_mass_are_found_from_few_partial_paths() -> None:
    chain = chain_of(resolve_space("mobilenet-v2-imagenet-free"))
    params, macs = (chain.quantities.index(name) for name in ("params", "macs"))
    problem = ChainProblem(chain, floors=((macs, 50_000_000),), most_mass=Fraction(19_168, 10))
    problem = problem.capped(params, 2_300_000).capped(macs, 200_000_000)
    found = best_paths(problem, 1, out_of_time_after(5000))
    assert found.complete
    assert found.masses == [Fraction(19_168, 10)]
    assert found.additive[0, [params, macs]].tolist() == [2_270_016, 50_009_800]
    assert found.labels < 400_000


@pytest.mark.random_cases(60)
def test_a_sum_that_occurs_is_never_denied(seed: int) -> None:
    rng = Random(f"occurs {seed}")
    chain = random_chain(rng)
    name, sign = rng.choice((*SUMS, "nn_mass")), rng.choice((1, -1))
    most_sums = rng.choice((0, 3, 10**6))
    key = Key(chain.quantities.index(name), sign)
    reach = Reach(chain, key, most_sums=most_sums, most_remainders=rng.choice((0, 3, 10**6)))
    unit = chain.common_denominator if name == "nn_mass" else 1
    distances = {reach.distance(int(value(path, name) * unit)) for path in every_path(chain)}
    near = {distance + step for distance in distances for step in (-1, 0, 1)} | {0, reach.farthest}
    assert {distance for distance in near if distance >= 0 and reach.occurs(distance)} == distances


def test_a_range_of_nn_mass_skips_the_sums_that_no_network_has() -> None:
    chain = chain_of(resolve_space("densenet-cifar-free"))
    params, macs = (chain.quantities.index(name) for name in ("params", "macs"))
    problem = ChainProblem(chain, floors=((macs, 37_500_000),), most_mass=Fraction(6_273_066_666_666_667, 10**13))
    problem = problem.capped(params, 1_000_000).capped(macs, 150_000_000)
    found = best_paths(problem, 1, out_of_time_after(5000))
    assert found.complete
    assert found.masses == [Fraction(9_409_600, 15_000)]
    assert found.additive[0, [params, macs]].tolist() == [874_290, 86_338_048]
    assert found.labels < 200_000
    assert beats(problem, found.masses[0], out_of_time_after(0)) is False


def test_a_limit_between_two_sums_takes_no_more_than_the_lower_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    priced: list[int] = []

    def counted(*given: Any) -> Any:
        priced.append(1)
        return best_prices(*given)

    monkeypatch.setattr(solver, "best_prices", counted)
    chain = chain_of(resolve_space("wide-resnet-cifar-free"))
    params, macs = (chain.quantities.index(name) for name in ("params", "macs"))
    problem = ChainProblem(chain, floors=((macs, 75_000_000),)).capped(params, 2_000_000).capped(macs, 300_000_000)
    between, at = (best_paths(replace(problem, most_mass=Fraction(m)), 1, Control()) for m in ("1958.4", "1936"))
    assert between.masses == at.masses == [Fraction(1936)]
    assert between.labels == at.labels < 10_000
    assert len(priced) == 2


def test_more_below_a_limit_is_known_without_a_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = chain_of(resolve_space("resnet-imagenet-free"))
    macs = chain.quantities.index("macs")
    problem = ChainProblem(chain, (Key(macs, 1), RANKING[0], RANKING[2])).capped(macs, 2_000_000_000)
    monkeypatch.setattr(_Walk, "_window", lambda *given: pytest.fail("a better one is known"))
    assert beats(problem, Fraction(1_999_945_728), Control()) is True


def test_paths_that_no_sum_brings_below_a_limit_are_left_out_at_once() -> None:
    chain = chain_of(resolve_space("densenet-cifar"))
    params, macs = (chain.quantities.index(name) for name in ("params", "macs"))
    problem = ChainProblem(chain, floors=((macs, 37_500_000),), most_mass=Fraction("591.36"))
    problem = problem.capped(params, 1_000_000).capped(macs, 150_000_000)
    found = best_paths(problem, 1, Control())
    assert (found.complete, found.masses, found.labels < 1000) == (True, [Fraction(8869, 15)], True)
