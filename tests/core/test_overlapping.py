"""Spaces of `mobilenet_v2` whose stages overlap or can be left out: each network once, docs/theory.md (40)."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

import numpy as np
import pytest

from nnmass_core.budget import Budget
from nnmass_core.engine.chain import Chain
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.named.networks import named_network
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import chain_of, search
from nnmass_core.verification.controls import random_control
from tests.core.brute import Row, answer, first_of_each_shape, within
from tests.core.latencies import model
from tests.core.problems import random_budget
from tests.core.residual_problems import choices, integers, ranked
from tests.networks import AROUND_MOBILENET
from tests.parsed import parsed

EXPANSIONS = (1, 2, [1, 2], [2, 3], [1, 2, 3])
CHANNELS = (4, [4, 6], [4, 5, 6], [6, 8])
REPEATS = (1, 2, [1, 2], [1, 3], [2, 5], [1, 2, 3])
OPTIONAL = (0, [0, 1], [0, 2], [0, 1, 3], {"min": 0, "max": 2})
STRIDES = (1, 1, 1, 2, [1, 2])
LIMITS = ("max_params", "max_macs", "max_weight_bytes", "max_peak_activation_bytes")


def image(side: int) -> dict[str, int]:
    return {"channels": 3, "height": side, "width": side}


def overlapping(rng: Random, most: int = 400) -> tuple[dict[str, Any], list[Row]]:
    """Return a space in which some networks can be made in several ways, and its networks in ranking order.

    In half of the spaces some stages can be left out.
    """
    left_out = rng.random() < 0.5
    while True:
        stages = [
            {
                "expansion": rng.choice(EXPANSIONS),
                "channels": rng.choice(CHANNELS),
                "repeats": rng.choice(OPTIONAL if left_out and rng.random() < 0.5 else REPEATS),
                "stride": rng.choice(STRIDES),
            }
            for _ in range(rng.choice((2, 3, 3, 4)))
        ]
        ends = {"stem_channels": rng.choice((4, [4, 6])), "last_channels": rng.choice((8, [8, 9]))}
        space = {"family": "mobilenet_v2", "input": image(17), "num_classes": 3, **ends, "stages": stages}
        if choices(space) <= most:
            rows = ranked(space)
            if 0 < len(rows) < choices(space):
                return space, rows


def find(space: dict[str, Any], budget: dict[str, Any], objective: Objective, **more: Any) -> Any:
    return search(SearchRequest(space=decode_space(space), budget=Budget(**budget), objective=objective, **more))


def found_in(result: Any) -> list[Any]:
    return [integers(place.architecture.definition()) for place in result.ranking]


def in_order_of(figure: str, row: Row) -> tuple[Any, ...]:
    """Return what orders rows by a figure, then as the ranking does."""
    return (getattr(row, figure), *row.place)


def every_path(chain: Chain) -> list[list[int]]:
    """Return every path, following the options by hand."""
    partial: list[tuple[int, list[int]]] = [(0, [])]
    for stage in chain.stages:
        source, target = stage.source.tolist(), stage.target.tolist()
        partial = [
            (target[option], [*path, option])
            for node, path in partial
            for option in range(len(stage))
            if source[option] == node
        ]
    return [path for _, path in partial]


@pytest.mark.random_cases(200)
def test_each_network_is_exactly_one_path(seed: int) -> None:
    space, rows = overlapping(Random(seed), 150)
    decoded = decode_space(space)
    chain = chain_of(decoded, model())
    paths = np.array(every_path(chain))
    networks = [decoded.architecture(path) for path in chain.path_integers(paths).tolist()]
    assert sorted(integers(network.definition()) for network in networks) == sorted(row.cells for row in rows)
    assert chain.count() == len(rows)
    assert chain.options() <= decoded.option_bound()
    sums = np.sum([stage.additive[paths[:, i]] for i, stage in enumerate(chain.stages)], axis=0)
    of_network: dict[Any, Row] = {row.cells: row for row in rows}
    for network, path, total, peak in zip(networks, paths.tolist(), sums, chain.path_peaks(paths), strict=True):
        row = of_network[integers(network.definition())]
        assert (chain.path_mass(path), *total[1:4], peak) == (row.mass, row.params, row.macs, row.weights, row.peak)
        work = network.work()
        assert work is not None
        assert total[4] == sum(model().nanoseconds(part) for part in work)


@pytest.mark.random_cases(200)
def test_the_most_nn_mass_equals_brute_force(seed: int) -> None:
    rng = Random(f"most {seed}")
    space, rows = overlapping(rng)
    budget, top_k, diversity = random_budget(rng, rows), rng.choice((1, 5, 1000)), rng.choice(("none", "shape"))
    result = find(space, budget, Maximize(), top_k=top_k, diversity=diversity)
    expected = answer(rows, budget, top_k, diversity)
    assert found_in(result) == [row.cells for row in expected.ranking]
    assert (result.certificate.optimal, result.certificate.space_size) == (True, len(rows))
    assert set(result.certificate.binding or ()) == set(expected.binding)
    assert result.certificate.relaxation == expected.relaxation


@pytest.mark.random_cases(30)
def test_least_costs_and_fronts_equal_brute_force(seed: int) -> None:
    rng = Random(f"least {seed}")
    space, rows = overlapping(rng, 150)
    budget = random_budget(rng, rows)
    fitting = within(rows, {name: budget[name] for name in LIMITS if name in budget}, budget["precision"])
    wanted, diversity = rng.choice(rows).mass, rng.choice(("none", "shape"))
    for cost, figure in (("params", "params"), ("macs", "macs"), ("peak_activation_bytes", "peak")):
        by_cost = sorted(fitting, key=partial(in_order_of, figure))
        dense = [row for row in by_cost if row.mass >= wanted]
        expected = (first_of_each_shape(dense) if diversity == "shape" else dense)[:7]
        found = find(space, budget, Minimize(cost, float(wanted)), top_k=7, diversity=diversity)
        assert found_in(found) == [row.cells for row in expected]
        front: list[Row] = []
        for candidate in by_cost:
            if not front or candidate.mass > front[-1].mass:
                front.append(candidate)
        assert found_in(find(space, budget, Pareto((cost,)))) == [row.cells for row in front]


@pytest.mark.parametrize("listed", [10**9, 0])
def test_random_controls_are_uniform_over_networks(listed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnmass_core.verification.controls.LISTED", listed)
    monkeypatch.setattr("nnmass_core.verification.controls.BATCH", 2000)
    stage = {"expansion": 1, "channels": 4, "repeats": [1, 2], "stride": 1}
    ends = {"stem_channels": 4, "last_channels": 400}
    space = {"family": "mobilenet_v2", "input": image(4), "num_classes": 3, **ends, "stages": [stage, stage]}
    asked = SearchRequest(space=decode_space(space), budget=Budget())
    middle = search(asked).ranking[1].architecture
    drawn = [random_control(asked, middle, frozenset(), seed) for seed in range(400)]
    depths = [network.definition()["stages"][0]["repeats"] for network in drawn if network is not None]  # type: ignore[index, call-overload]
    # 1 + 1, 1 + 2 and 2 + 1, 2 + 2 blocks: three networks of four choices, one of them the candidate
    assert set(depths) == {2, 4}
    assert 150 < depths.count(2) < 250


def test_the_space_around_mobilenet_has_each_network_once_and_a_proved_optimum() -> None:
    assert choices(AROUND_MOBILENET) == 571_274_756_259_840
    result = find(AROUND_MOBILENET, {"max_params": 2_300_000, "max_macs": 200_000_000}, Maximize(), top_k=1)
    certificate = result.certificate
    assert (certificate.best_nn_mass, certificate.optimal) == (2348.0, True)
    assert certificate.space_size == networks_around_mobilenet() == 565_734_458_903_040
    # two stages of the best are one, so that without equal neighbors it would be lost
    assert len(integers(result.ranking[0].architecture.definition())) < 1 + len(AROUND_MOBILENET["stages"])


def test_the_space_around_a_network_is_not_cut_where_its_stages_meet() -> None:
    space = named_network("mobilenet_v2").space_around()
    channels = [stage["channels"] for stage in parsed(space)["stages"]]
    assert [(min(each), max(each)) for each in channels[3:]] == [(32, 96), (48, 144), (80, 240), (160, 480)]
    least = find(space, {}, Minimize("macs", 1287.0), top_k=1)
    assert (least.certificate.optimal, least.certificate.best_nn_mass) == (True, 1290.0)
    assert least.ranking[0].evaluation.macs == 70_071_296


def networks_around_mobilenet() -> int:
    """Count the networks by the two pairs of stages that can be one: all choices, less those that make one again."""
    total = 1
    alone = [3 * 2, 4 * 6 * 6, 5 * 6 * 6]
    for pair in ((3, 4), (5, 6)):
        stages = [AROUND_MOBILENET["stages"][k] for k in pair]
        channels, repeats = ([sorted(values(stage[name])) for stage in stages] for name in ("channels", "repeats"))
        shared = len(set(channels[0]) & set(channels[1])) * 6
        both = len(channels[0]) * len(channels[1]) * 36 * len(repeats[0]) * len(repeats[1])
        sums = {n + more for n in repeats[0] for more in repeats[1]}
        total *= both - shared * (len(repeats[0]) * len(repeats[1]) - len(sums))
    for one in alone:
        total *= one
    return total


def values(form: Any) -> list[int]:
    return list(range(form["min"], form["max"] + 1, form.get("step", 1))) if isinstance(form, dict) else form


def test_a_run_of_more_than_64_blocks_is_refused() -> None:
    def space(*repeats: int) -> dict[str, Any]:
        stages = [{"expansion": 2, "channels": 8, "repeats": count, "stride": 1} for count in repeats]
        return AROUND_MOBILENET | {"stages": stages}

    assert decode_space(space(30, 30, 4)).chain().count() == 1
    with pytest.raises(DefinitionError) as refused:
        decode_space(space(30, 30, 5))
    assert [(problem.field, problem.code) for problem in refused.value.problems] == [
        ("stages.2.repeats", "too_many_blocks")
    ]

    stages = [{"expansion": 2, "channels": 8, "repeats": count, "stride": 1} for count in ([0, 30], [0, 2], [0, 40])]
    stages[1] |= {"channels": 16}
    with pytest.raises(DefinitionError) as refused:
        decode_space(AROUND_MOBILENET | {"stages": stages})
    assert [problem.field for problem in refused.value.problems] == ["stages.2.repeats"]


def test_a_space_without_any_block_is_refused() -> None:
    stage = {"expansion": 2, "channels": 8, "repeats": 0, "stride": 1}
    with pytest.raises(DefinitionError) as refused:
        decode_space(AROUND_MOBILENET | {"stages": [stage, stage]})
    assert [(problem.field, problem.code) for problem in refused.value.problems] == [("stages", "no_blocks")]


@pytest.mark.random_cases(100)
def test_no_network_has_more_params_or_macs_than_the_largest(seed: int) -> None:
    space, rows = overlapping(Random(f"largest {seed}"))
    largest = decode_space(space).largest().evaluation
    assert max(row.params for row in rows) <= largest.params
    assert max(row.macs for row in rows) <= largest.macs
    assert max(row.weights for row in rows) <= largest.weights


def test_spaces_of_too_many_options_are_refused_before_their_tables_are_built() -> None:
    wide = {"expansion": [1, 2, 3], "channels": {"min": 1, "max": 4000}, "repeats": 1, "stride": 1}
    with pytest.raises(DefinitionError) as refused:
        decode_space(AROUND_MOBILENET | {"stages": [wide, wide]})
    assert [problem.code for problem in refused.value.problems] == ["too_large"]
