"""Spaces whose widths never fall, in every family with several widths, against brute force on the oracle."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.named.presets import MAKERS, preset, resolve_space
from nnmass_core.request import Maximize, Minimize, SearchRequest
from nnmass_core.search import chain_for
from nnmass_core.spaces.base import Space
from nnmass_core.spaces.several import SeveralSpaces, size_of_all
from nnmass_core.spaces.structure import Structure
from tests.core.brute import Row, expand
from tests.core.every_limit import Small, found, random_small
from tests.core.problems import random_space
from tests.core.residual_problems import integers_of
from tests.core.same_networks import check_least_costs, check_most_mass, check_paths
from tests.core.test_left_out_stages import left_out
from tests.core.test_structure import COUPLED, keeps

RULE = {"width_rule": "never_fall"}
RISING = {"widths": "never_fall"}
IMAGE = {"channels": 3, "height": 32, "width": 32}


def rising(small: Small) -> list[Row]:
    """Return the networks of a space whose widths never fall, in ranking order."""
    return [row for row in small.rows if keeps(small, row, RISING)]


def read(definition: dict[str, Any]) -> tuple[Space | None, list[str]]:
    """Return a space, or the fields that are refused."""
    try:
        return decode_space(definition), []
    except DefinitionError as error:
        return None, [problem.field for problem in error.problems]


@pytest.mark.parametrize("family", COUPLED)
@pytest.mark.random_cases(20)
def test_answers_are_those_of_brute_force(family: str, seed: int) -> None:
    rng = Random(f"width rule {family} {seed}")
    small = random_small(rng, family)
    if "width_rule" in small.space:
        return
    with_rule, kept = replace(small, space=small.space | RULE), rising(small)
    space, refused = read(with_rule.space)
    if space is None:
        assert (refused, kept) == (["width_rule"], [])
        return
    chain = space.chain()
    assert chain.count() == len(kept)
    assert chain.options() <= space.option_bound()
    budget = with_rule.budget(rng)
    able = {id(row) for row in with_rule.within(budget)}
    expected = [row for row in kept if id(row) in able]
    answer = with_rule.search(budget, Maximize(), top_k=1000)
    assert found(small, answer) == expected
    assert answer.certificate.feasible == bool(expected)
    least = with_rule.search(budget, Minimize("params"), top_k=1)
    assert found(small, least) == sorted(expected, key=lambda row: (row.params, *row.place))[:1]


@pytest.mark.random_cases(40)
def test_stages_that_can_be_left_out_keep_the_rule(seed: int) -> None:
    rng = Random(f"left out {seed}")
    definition, rows = left_out(rng, 150)
    kept = [row for row in rows if all(a[0] <= b[0] for a, b in pairwise(row.cells))]
    space, refused = read(definition | RULE)
    if space is None:
        assert (refused, kept) == (["width_rule"], [])
        return
    assert space.chain().options() <= space.option_bound()
    if kept:
        check_paths(definition | RULE, kept, integers_of)
        check_most_mass(definition | RULE, kept, integers_of, rng)
        check_least_costs(definition | RULE, kept, integers_of, rng)
    else:
        assert space.chain().count() == 0


@pytest.mark.random_cases(20)
def test_any_number_of_cells_keeps_the_rule(seed: int) -> None:
    """Networks of a space with several numbers of cells are counted once each."""
    rng = Random(f"cells {seed}")
    definition = random_space(rng, 300, counts=([1, 2], [1, 3], {"min": 1, "max": 3}))
    if "width_rule" in definition:
        return
    free, (space, _) = decode_space(definition), read(definition | RULE)
    if space is None:
        return
    assert space.chain().count() == chain_for(free, Budget(), (), Structure(widths="never_fall")).count()


@pytest.mark.parametrize("family", COUPLED)
def test_the_form_reads_back_and_is_one_of_this_release(family: str) -> None:
    rng = Random("form")
    forms = (random_small(rng, family).space for _ in range(100))
    form = next(form for form in forms if "width_rule" not in form and read(form | RULE)[0] is not None)
    free, space = decode_space(form), decode_space(form | RULE)
    assert space != free
    assert "width_rule" not in free.to_json()
    assert space.to_json() == free.to_json() | RULE
    assert decode_space(space.to_json()) == space
    assert SearchRequest(space=space, budget=Budget()).version == 2
    with pytest.raises(DefinitionError) as refused:
        decode_space(form | {"width_rule": "rising"})
    assert [problem.field for problem in refused.value.problems] == ["width_rule"]


def test_networks_that_two_spaces_share_count_once() -> None:
    free, rising_space = resolve_space("resnet-tiny-free"), resolve_space("resnet-tiny")
    both = SeveralSpaces((free, rising_space))
    chains = [space.chain() for space in both.spaces]
    size = size_of_all(both.spaces, chains)
    assert (size.networks, size.exact) == (chains[0].count(), True)
    assert chains[1].count() < chains[0].count()


WIDE_OPEN = [name for name in MAKERS if name.endswith("-free")]


def stages_of(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = preset(name).space.to_json().get("stages", [])  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("name", [name.removesuffix("-free") for name in WIDE_OPEN])
def test_a_preset_keeps_proportions(name: str) -> None:
    space, free = preset(name).space, preset(f"{name}-free").space
    assert space.to_json().get("width_rule") in ("never_fall", "doubling")
    assert "width_rule" not in free.to_json()
    assert not space.varies_resolution()
    for number, stage in enumerate(stages_of(name)):
        if "expansion" in stage:
            assert expand(stage["expansion"]) == ([1] if number == 0 else [3, 4, 5, 6])
    assert space.chain().count() < free.chain().count()
    assert preset(name).description != preset(f"{name}-free").description


def test_wide_open_presets_are_those_of_earlier_releases() -> None:
    """Their figures in the documentation hold as long as these digests of the spaces do."""
    digests = {name: preset(name).space.digest[:8] for name in WIDE_OPEN}
    assert digests == {
        "densenet-cifar-free": "018f47e6",
        "densenet-tiny-free": "9d228e98",
        "mobilenet-v1-vww-free": "625d61a2",
        "mobilenet-v2-imagenet-free": "6df9c11b",
        "mobilenet-v2-tiny-free": "21f2a986",
        "resnet-imagenet-free": "5b80b0c4",
        "resnet-tiny-free": "cee0490b",
        "wide-resnet-cifar-free": "09522d41",
    }
