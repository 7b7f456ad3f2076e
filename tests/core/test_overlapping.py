"""Spaces of `mobilenet_v2` whose stages overlap or can be left out: each network once, docs/theory.md (40)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.named.networks import named_network
from nnmass_core.request import Maximize, Minimize, SearchRequest
from nnmass_core.search import search
from nnmass_core.verification.controls import random_control
from tests.core.brute import Row
from tests.core.residual_problems import choices, integers, integers_of, ranked
from tests.core.same_networks import check_least_costs, check_most_mass, check_paths, find
from tests.networks import AROUND_MOBILENET
from tests.parsed import parsed

EXPANSIONS = (1, 2, [1, 2], [2, 3], [1, 2, 3])
CHANNELS = (4, [4, 6], [4, 5, 6], [6, 8])
REPEATS = (1, 2, [1, 2], [1, 3], [2, 5], [1, 2, 3])
OPTIONAL = (0, [0, 1], [0, 2], [0, 1, 3], {"min": 0, "max": 2})
STRIDES = (1, 1, 1, 2, [1, 2])


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


@pytest.mark.random_cases(200)
def test_each_network_is_exactly_one_path(seed: int) -> None:
    space, rows = overlapping(Random(seed), 150)
    check_paths(space, rows, integers_of)


@pytest.mark.random_cases(200)
def test_the_most_nn_mass_equals_brute_force(seed: int) -> None:
    rng = Random(f"most {seed}")
    check_most_mass(*overlapping(rng), integers_of, rng)


@pytest.mark.random_cases(30)
def test_least_costs_and_fronts_equal_brute_force(seed: int) -> None:
    rng = Random(f"least {seed}")
    check_least_costs(*overlapping(rng, 150), integers_of, rng)


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
