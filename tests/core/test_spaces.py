"""Spaces: how axes are written, what is refused and where, round trips, and exact sizes."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmass_core.engine.chain import Chain
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.families.densenet_cnn import DenseNetCnnSpace
from nnmass_core.named.presets import presets, resolve_space
from nnmass_core.spaces import base
from nnmass_core.spaces.axis import MOST_VALUES, decode_axis
from tests.core import brute
from tests.core.problems import OTHER_FAMILIES, random_space
from tests.parsed import parsed

SPACE = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "cells": 3,
    "width": {"min": 16, "max": 64, "step": 16},
    "depth": {"min": 4, "max": 8},
    "skip_channels": {"min": 0, "max": 64, "step": 8},
}
DEEP = 10**400
FAMILIES = st.sampled_from(("densenet_cnn", *OTHER_FAMILIES))


def space_with(**fields: Any) -> DenseNetCnnSpace:
    """The example space with some fields replaced, or taken out where the value is `...`."""
    data = {key: value for key, value in (SPACE | fields).items() if value is not ...}
    decoded = decode_space(data)
    assert isinstance(decoded, DenseNetCnnSpace)
    return decoded


def round_trip(space: DenseNetCnnSpace) -> object:
    return decode_space(json.loads(json.dumps(space.to_json())))


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ({"min": 4, "max": 7}, (4, 5, 6, 7)),
        ({"min": 4, "max": 10, "step": 3}, (4, 7, 10)),
        ({"min": 4, "max": 12, "step": 3}, (4, 7, 10)),
        ({"min": 4, "max": 4, "step": 100}, (4,)),
        ({"min": 4.0, "max": 6.0, "step": 2.0}, (4, 6)),
        ([9, 3, 3, 5], (3, 5, 9)),
        ([3], (3,)),
        (12, (12,)),
        (1e2, (100,)),
    ],
)
def test_each_form_of_an_axis_gives_its_values(form: Any, values: tuple[int, ...]) -> None:
    assert decode_axis(form, (0, 1000)).values == values


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ({"min": 4, "max": 6}, [(4, 5, 6)] * 3),
        ([4, 6], [(4, 6)] * 3),
        (5, [(5,)] * 3),
        ([[4, 6], {"min": 4, "max": 5}, 7], [(4, 6), (4, 5), (7,)]),
        ([[4], 5, 6], [(4,), (5,), (6,)]),
    ],
)
def test_axes_are_shared_or_given_per_cell(form: Any, values: list[tuple[int, ...]]) -> None:
    space = space_with(depth=form)
    assert [axis.values for axis in space.depth] == values
    assert round_trip(space) == space


BAD = [
    ({"width": ...}, "width", "required"),
    ({"input": ...}, "input", "required"),
    ({"cells": ...}, "cells", "required"),
    ({"num_classes": ...}, "num_classes", "required"),
    ({"family": ...}, "family", "required"),
    ({"family": "alexnet"}, "family", "unknown_choice"),
    ({"color": 1}, "color", "unknown_field"),
    ({"width": {"min": 4, "max": 8, "stride": 2}}, "width.stride", "unknown_field"),
    ({"width": {"max": 8}}, "width.min", "required"),
    ({"width": {"min": 8}}, "width.max", "required"),
    ({"depth": {"min": 9, "max": 8}}, "depth.min", "min_above_max"),
    ({"depth": {"min": 4, "max": 8, "step": 0}}, "depth.step", "too_small"),
    ({"depth": {"min": 4, "max": 8, "step": -1}}, "depth.step", "too_small"),
    ({"depth": {"min": 4, "max": 8, "step": DEEP}}, "depth.step", "too_large"),
    ({"depth": {"min": 4.5, "max": 8}}, "depth.min", "not_an_integer"),
    ({"depth": {"min": True, "max": 8}}, "depth.min", "not_an_integer"),
    ({"depth": {"min": None, "max": 8}}, "depth.min", "not_an_integer"),
    ({"depth": {"min": 0, "max": 8}}, "depth.min", "too_small"),
    ({"width": {"min": 1, "max": 8193}}, "width.max", "too_large"),
    ({"skip_channels": {"min": 0, "max": 10**9}}, "skip_channels.max", "too_large"),
    ({"skip_channels": {"min": 0, "max": DEEP}}, "skip_channels.max", "too_large"),
    ({"skip_channels": {"min": -DEEP, "max": 8}}, "skip_channels.min", "too_small"),
    ({"skip_channels": {"min": 0, "max": 4_194_304}}, "skip_channels", "too_many_values"),
    ({"skip_channels": [0] * (MOST_VALUES + 1)}, "skip_channels", "too_many_values"),
    ({"width": {"min": float("nan"), "max": 8}}, "width.min", "not_an_integer"),
    ({"width": {"min": 8, "max": float("inf")}}, "width.max", "not_an_integer"),
    ({"width": "16"}, "width", "not_an_integer"),
    ({"width": None}, "width", "not_an_integer"),
    ({"width": True}, "width", "not_an_integer"),
    ({"width": 0}, "width", "too_small"),
    ({"width": DEEP}, "width", "too_large"),
    ({"width": []}, "width", "bad_length"),
    ({"width": [16, "32"]}, "width.1", "not_an_integer"),
    ({"width": [16, 0]}, "width.1", "too_small"),
    ({"width": [16, 32, DEEP]}, "width.2", "too_large"),
    ({"width": [[16], [32]]}, "width", "bad_length"),
    ({"width": [[16], [32], [48], [64]]}, "width", "bad_length"),
    ({"width": [[16], [], [48]]}, "width.1", "bad_length"),
    ({"width": [[16], [32, 0], [48]]}, "width.1.1", "too_small"),
    ({"width": [[16], {"min": 9, "max": 8}, 48]}, "width.1.min", "min_above_max"),
    ({"width": [[16], 0, 48]}, "width.1", "too_small"),
    ({"cells": 0}, "cells", "too_small"),
    ({"cells": 13}, "cells", "too_large"),
    ({"cells": 1.5}, "cells", "not_an_integer"),
    ({"cells": True}, "cells", "not_an_integer"),
    ({"num_classes": 0}, "num_classes", "too_small"),
    ({"num_classes": DEEP}, "num_classes", "too_large"),
    ({"input": 32}, "input", "not_an_object"),
    ({"input": {"channels": 3, "height": 32}}, "input.width", "required"),
    ({"input": {"channels": 3, "height": 4, "width": 32}}, "input", "too_small"),
    ({"width_rule": "halving"}, "width_rule", "unknown_choice"),
    ({"width_rule": 2}, "width_rule", "unknown_choice"),
    ({"depth_rule": "doubling"}, "depth_rule", "unknown_choice"),
    ({"width_rule": "doubling", "width": [[16], [32], [64]]}, "width", "conflicts_with_rule"),
    ({"width_rule": "never_fall", "width": [[16], [32], [24]]}, "width_rule", "conflicts_with_rule"),
    ({"width_rule": "never_fall", "width": [[32], [16, 64], [48]]}, "width_rule", "conflicts_with_rule"),
    ({"depth_rule": "equal", "depth": [[4], [5], [6]]}, "depth", "conflicts_with_rule"),
    ({"width_rule": "doubling", "width": {"min": 16, "max": 2049}}, "width.max", "too_large"),
    ({"width": {"min": 1, "max": 4096}}, "", "too_large"),
    (
        {"input": {"channels": 3, "height": 8192, "width": 8192}, "width": 8192, "depth": 512, "skip_channels": 8192},
        "",
        "too_large",
    ),
]


@pytest.mark.parametrize(("fields", "field", "code"), BAD)
def test_an_invalid_space_names_its_field(fields: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        space_with(**fields)
    assert [(p.field, p.code) for p in refused.value.problems] == [(field, code)]


@pytest.mark.parametrize("width", [[16, 2049], 2049])
def test_widths_that_double_beyond_the_limit_are_refused_in_every_notation(width: Any) -> None:
    with pytest.raises(DefinitionError) as refused:
        space_with(width_rule="doubling", width=width)
    assert [p.code for p in refused.value.problems] == ["too_large"]
    assert refused.value.problems[0].field.startswith("width")


@pytest.mark.parametrize("data", [None, 3, [], [SPACE], True])
def test_a_space_must_be_an_object(data: object) -> None:
    with pytest.raises(DefinitionError) as refused:
        decode_space(data)
    assert [(p.field, p.code) for p in refused.value.problems] == [("", "not_an_object")]


def test_one_error_names_every_invalid_axis() -> None:
    with pytest.raises(DefinitionError) as refused:
        space_with(width=0, depth={"min": 9, "max": 8, "step": 0}, skip_channels=[[0], [-1], 2])
    assert {p.field for p in refused.value.problems} == {"width", "depth.step", "skip_channels.1.0"}


def test_error_messages_do_not_repeat_the_input() -> None:
    with pytest.raises(DefinitionError) as refused:
        space_with(width=[123456789], color="purple")
    assert "123456789" not in str(refused.value)
    assert "purple" not in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"width": {"min": 1, "max": 8192, "step": 2}, "cells": 1},
            "contains 192,512 options over its stages, more than 150,000; use larger steps",
        ),
        (
            {
                "width": 8192,
                "depth": 512,
                "skip_channels": 8192,
                "input": {"channels": 3, "height": 8192, "width": 8192},
            },
            "contains a network that is refused: cells make a network of more than 2**53 - 1 MACs",
        ),
    ],
)
def test_a_space_that_is_too_large_says_which_limit_it_exceeds(
    fields: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MOST_OPTIONS", 150_000)
    with pytest.raises(DefinitionError) as refused:
        space_with(**fields)
    assert [(p.field, p.code, p.message) for p in refused.value.problems] == [("", "too_large", message)]


def test_a_large_tied_space_is_not_refused_for_paths_that_its_rules_forbid() -> None:
    ruled = space_with(
        width={"min": 8, "max": 256, "step": 8},
        depth={"min": 4, "max": 64},
        width_rule="doubling",
        depth_rule="equal",
    )
    assert ruled.chain().count() == size(ruled)


def size(space: DenseNetCnnSpace) -> int:
    """Count a space with both rules by its own words: for each width and depth, distinct skip channels by cell."""
    total = 0
    for w in space.width[0].values:
        for d in space.depth[0].values:
            ways = 1
            for c in range(space.cells.largest):
                ways *= len({min(t, w * 2**c * max(d - 2, 0)) for t in space.skip_channels[c].values})
            total += ways
    return total


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False), FAMILIES)
def test_a_space_reads_back_equal(rng: Random, family: str) -> None:
    first = decode_space(random_space(rng, family=family))
    again = decode_space(json.loads(json.dumps(first.to_json())))
    assert again == first
    assert again.digest == first.digest
    assert again.to_json() == first.to_json()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False), FAMILIES)
def test_the_chain_contains_each_architecture_once(rng: Random, family: str) -> None:
    definition = random_space(rng, family=family)
    space = decode_space(definition)
    chain = space.chain()
    expected = brute.architectures(definition)
    assert chain.count() == len(expected)
    found = [cells_of(integers) for integers in every_path(chain)]
    assert len(found) == len(expected)
    assert set(found) == expected
    assert chain.options() <= space.option_bound()


@pytest.mark.parametrize("seed", range(40))
def test_the_size_of_a_space_equals_its_enumeration_with_and_without_rules(seed: int) -> None:
    rng = Random(seed)
    ruled = random_space(rng, 3000) | {"width": [1, 3, 6], "depth": {"min": 1, "max": 4}}
    ruled["skip_channels"] = rng.choice(([0, 2, 5, 999], {"min": 0, "max": 8, "step": 3}, 0))
    for rules in ({}, {"width_rule": "doubling"}, {"depth_rule": "equal"}):
        definition = {k: v for k, v in ruled.items() if not k.endswith("_rule")} | rules
        assert decode_space(definition).chain().count() == len(brute.architectures(definition))
    both = ruled | {"width_rule": "doubling", "depth_rule": "equal"}
    assert decode_space(both).chain().count() == len(brute.architectures(both))


def test_the_size_of_a_huge_space_is_exact() -> None:
    space = decode_space(presets()["densenet-cifar-free"].space.to_json())
    by_cell = sum(
        len({min(t, w * (d - 2)) for t in range(0, 513, 4)}) for w in range(16, 257, 16) for d in range(4, 33)
    )
    assert space.chain().count() == by_cell**3


def every_path(chain: Chain) -> list[list[int]]:
    """Return the integers of every path, following the options by hand."""
    partial: list[tuple[int, list[int]]] = [(0, [])]
    for stage in chain.stages:
        ends = [np.flatnonzero(stage.source == node).tolist() for node in range(int(stage.source.max()) + 1)]
        partial = [
            (int(stage.target[option]), [*integers, *stage.integers[option].tolist()])
            for node, integers in partial
            for option in ends[node]
        ]
    return [integers for _, integers in partial]


def cells_of(integers: list[int]) -> tuple[tuple[int, int, int], ...]:
    return tuple(zip(integers[0::3], integers[1::3], integers[2::3], strict=True))


@pytest.mark.parametrize("name", sorted(presets()))
def test_a_preset_resolves_and_reads_back(name: str) -> None:
    preset = presets()[name]
    assert preset.name == name
    assert preset.description
    assert resolve_space(name) == preset.space
    assert decode_space(json.loads(json.dumps(preset.space.to_json()))) == preset.space
    assert preset.space.chain().count() > 1


def test_a_space_is_a_presets_name_or_a_definition() -> None:
    assert resolve_space(SPACE) == decode_space(SPACE)
    with pytest.raises(DefinitionError) as refused:
        resolve_space("densenet-galaxy")
    assert [(p.field, p.code) for p in refused.value.problems] == [("", "unknown_preset")]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False), FAMILIES)
def test_no_architecture_costs_more_than_the_largest(rng: Random, family: str) -> None:
    definition = random_space(rng, 150, family)
    most = decode_space(definition).largest().evaluate()
    for found in brute.ranked(definition):
        assert (found.params <= most.params, found.macs <= most.macs) == (True, True)
        assert (found.weights <= most.weights, found.peak <= most.peak_elements) == (True, True)


def test_widths_vary_only_when_several_widths_are_allowed() -> None:
    assert space_with().varies_width()
    assert not space_with(width=[16]).varies_width()
    assert not space_with(width=[[16], [32], [64]]).varies_width()


@pytest.mark.parametrize("rules", [{}, {"width_rule": "doubling"}, {"depth_rule": "equal"}])
def test_the_schema_names_every_field_of_written_json(rules: dict[str, str]) -> None:
    space = space_with(**rules)
    schema = parsed(type(space).schema())
    assert set(space.to_json()) <= set(schema["properties"])
    assert set(schema["required"]) == set(SPACE)
