"""Spaces of `resnet` and `wide_resnet_cifar` whose stages can be left out: each network once, docs/theory.md (67)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from tests.core.brute import Row
from tests.core.residual_problems import choices, integers_of, ranked
from tests.core.same_networks import check_least_costs, check_most_mass, check_paths
from tests.core.test_overlapping import image

CHANNELS = (4, [4, 6], [4, 5, 6], [6, 8], 64, [60, 64])
REPEATS = (1, 2, [1, 2], [1, 3], [1, 2, 3])
OPTIONAL = (0, [0, 1], [0, 2], [0, 1, 3], {"min": 0, "max": 2})
LEAST = {"resnet": 1, "wide_resnet_cifar": 3}


def left_out(rng: Random, most: int = 400) -> tuple[dict[str, Any], list[Row]]:
    """Return a space in which some stage can be left out, and its networks in ranking order."""
    while True:
        family = rng.choice(sorted(LEAST))
        stages = [
            {"channels": rng.choice(CHANNELS), "repeats": rng.choice(OPTIONAL if rng.random() < 0.7 else REPEATS)}
            for _ in range(LEAST[family] + rng.choice((1, 2, 2, 3)))
        ]
        space: dict[str, Any] = {"family": family, "input": image(rng.choice((5, 17, 40))), "num_classes": 3}
        if family == "resnet":
            space |= {"block": rng.choice(("basic", "bottleneck", "regnet_x"))}
            if space["block"] == "bottleneck":
                space |= {"groups": rng.choice((1, 2)), "width_per_group": rng.choice((64, 96))}
            space |= rng.choice(({}, {"stem": "small", "stem_channels": rng.choice((4, 6, 64))}, {"first_stride": 2}))
        space |= {"stages": stages}
        able = sum(stage["repeats"] != 0 for stage in stages)
        if able > LEAST[family] and choices(space) <= most:
            rows = ranked(space)
            if rows and any(len(row.cells) < len(stages) for row in rows):
                return space, rows


@pytest.mark.random_cases(80)
def test_each_network_is_exactly_one_path(seed: int) -> None:
    space, rows = left_out(Random(seed), 150)
    check_paths(space, rows, integers_of)


@pytest.mark.random_cases(80)
def test_the_most_nn_mass_equals_brute_force(seed: int) -> None:
    rng = Random(f"most {seed}")
    check_most_mass(*left_out(rng), integers_of, rng)


@pytest.mark.random_cases(30)
def test_least_costs_and_fronts_equal_brute_force(seed: int) -> None:
    rng = Random(f"least {seed}")
    check_least_costs(*left_out(rng, 150), integers_of, rng)


@pytest.mark.random_cases(50)
def test_no_network_costs_more_than_the_largest(seed: int) -> None:
    space, rows = left_out(Random(f"largest {seed}"), 150)
    most = decode_space(space).largest().evaluation
    assert max(row.params for row in rows) <= most.params
    assert max(row.macs for row in rows) <= most.macs
    assert max(row.weights for row in rows) <= most.weights
    assert max(row.peak for row in rows) <= most.peak_elements


def test_a_stage_of_equal_channels_is_counted_once_whichever_is_left_out() -> None:
    stage = {"channels": 8, "repeats": [0, 1]}
    space = decode_space(
        {"family": "resnet", "input": image(32), "num_classes": 3, "block": "basic"} | {"stages": [stage] * 3}
    )
    assert space.chain().count() == 3
    assert space.varies_width()
    assert space.most_parts() == 3


@pytest.mark.parametrize(
    ("family", "repeats", "field", "code"),
    [
        ("resnet", [0, 0], "stages", "no_blocks"),
        ("resnet", [[0, 1], 0], "stages.0.repeats", "too_small"),
        ("resnet", [-1, 2], "stages.0.repeats", "too_small"),
        ("wide_resnet_cifar", [1, [0, 1], 1, 0], "stages.1.repeats", "too_small"),
        ("wide_resnet_cifar", [1, 0, 1, 0], "stages", "no_blocks"),
    ],
)
def test_a_stage_without_which_no_network_is_left_cannot_be_left_out(
    family: str, repeats: list[Any], field: str, code: str
) -> None:
    stages = [{"channels": 8, "repeats": each} for each in repeats]
    space = {"family": family, "input": image(32), "num_classes": 3, "stages": stages}
    with pytest.raises(DefinitionError) as refused:
        decode_space(space | ({"block": "basic"} if family == "resnet" else {}))
    assert [(problem.field, problem.code) for problem in refused.value.problems] == [(field, code)]


def test_spaces_of_too_many_options_are_refused_before_their_tables_are_built() -> None:
    wide = {"channels": {"min": 64, "max": 4000}, "repeats": [0, 1]}
    with pytest.raises(DefinitionError) as refused:
        decode_space({"family": "resnet", "input": image(32), "num_classes": 3, "block": "basic", "stages": [wide] * 2})
    assert [problem.code for problem in refused.value.problems] == ["too_large"]
