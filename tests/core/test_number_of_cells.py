"""Spaces of cells whose number is searched: each network once, docs/theory.md (68)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from tests.core.brute import Row, ranked
from tests.core.problems import random_space
from tests.core.same_networks import check_least_costs, check_most_mass, check_paths

COUNTS = ([1, 2], [1, 3], [2, 3], {"min": 1, "max": 3}, [2], [1, 2, 4])
FAMILIES = ("densenet_cnn", "densenet_cnn_depthwise")


def of_counts(rng: Random, most: int = 400) -> tuple[dict[str, Any], list[Row]]:
    """Return a space whose number of cells is searched, and its networks in ranking order."""
    space = random_space(rng, most, rng.choice(FAMILIES), COUNTS)
    return space, ranked(space)


def cells_of(network: Any) -> tuple[tuple[int, ...], ...]:
    return tuple((cell["width"], cell["depth"], cell["skip_channels"]) for cell in network.definition()["cells"])


@pytest.mark.random_cases(80)
def test_each_network_is_exactly_one_path(seed: int) -> None:
    space, rows = of_counts(Random(seed), 150)
    check_paths(space, rows, cells_of)
    largest = decode_space(space).largest().evaluation
    assert max(row.params for row in rows) <= largest.params
    assert max(row.macs for row in rows) <= largest.macs
    assert max(row.weights for row in rows) <= largest.weights
    assert max(row.peak for row in rows) <= largest.peak_elements


@pytest.mark.random_cases(80)
def test_the_most_nn_mass_equals_brute_force(seed: int) -> None:
    rng = Random(f"most {seed}")
    check_most_mass(*of_counts(rng), cells_of, rng)


@pytest.mark.random_cases(30)
def test_least_costs_and_fronts_equal_brute_force(seed: int) -> None:
    rng = Random(f"least {seed}")
    check_least_costs(*of_counts(rng, 150), cells_of, rng)


def test_a_space_of_several_numbers_of_cells_reads_back_equal() -> None:
    rng = Random("again")
    for _ in range(30):
        space = decode_space(of_counts(rng)[0])
        again = decode_space(space.to_json())
        assert (again, again.digest, hash(again)) == (space, space.digest, hash(space))


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"cells": [1, 5]}, "input", "too_small"),
        ({"cells": [0, 2]}, "cells.0", "too_small"),
        ({"cells": {"min": 2, "max": 13}}, "cells.max", "too_large"),
        ({"cells": []}, "cells", "bad_length"),
        ({"width": [[2], [3]]}, "width", "bad_length"),
        ({"width_rule": "doubling", "width": 4096}, "width.max", "too_large"),
    ],
)
def test_an_invalid_number_of_cells_names_its_field(change: dict[str, Any], field: str, code: str) -> None:
    image = {"channels": 3, "height": 16, "width": 16}
    axes = {"width": [2, 3], "depth": [3, 4], "skip_channels": [0, 2]}
    space = {"family": "densenet_cnn", "input": image, "num_classes": 3, "cells": [1, 2, 3], **axes}
    decode_space(space)
    with pytest.raises(DefinitionError) as refused:
        decode_space(space | change)
    assert [(problem.field, problem.code) for problem in refused.value.problems] == [(field, code)]
