"""Wirings: what may be sampled, how it is drawn, and how it is read and refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nnmass_core.architecture import Architecture
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_architecture
from nnmass_core.wiring import Wiring, draw_wiring
from tests.core.networks import Image, definition, networks
from tests.oracle import Cells, canonical

UNHURRIED = settings(max_examples=200, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**53 - 1)
SMALL = ((4, 4, 3), (2, 3, 5))
"""Cells whose wiring is short enough to write down: layers 2 and 3 take 3 of 4 and 3 of 8, layer 2 both of 2."""

GOLDEN = [[[], [], [1, 2, 3], [2, 4, 7]], [[], [], [0, 1]]]
"""What seed 0 has drawn for `SMALL` since the first release."""


def network(cells: Cells, image: Image = (3, 32, 32), classes: int = 10) -> Architecture:
    return decode_architecture(definition(image, classes, cells))


@UNHURRIED
@given(networks(), SEEDS)
def test_each_layer_samples_without_replacement_from_the_outputs_two_or_more_before_it(
    drawn: tuple[Image, int, Cells], seed: int
) -> None:
    image, classes, cells = drawn
    wiring = draw_wiring(network(cells, image, classes), seed)
    assert len(wiring.cells) == len(cells)
    for layers, (w, d, t) in zip(wiring.cells, cells, strict=True):
        assert len(layers) == d
        for j, taken in enumerate(layers):
            assert len(taken) == (min(w * (j - 1), t) if j >= 2 else 0)
            assert list(taken) == sorted(set(taken))
            assert all(0 <= channel < w * (j - 1) for channel in taken)


@UNHURRIED
@given(networks(), SEEDS, st.integers(0, 120))
def test_fewer_skip_channels_sample_a_subset(drawn: tuple[Image, int, Cells], seed: int, fewer: int) -> None:
    image, classes, cells = drawn
    less = tuple((w, d, min(t, fewer)) for w, d, t in cells)
    small, large = (draw_wiring(network(c, image, classes), seed) for c in (less, cells))
    for few, many in zip(small.cells, large.cells, strict=True):
        assert all(set(a) <= set(b) for a, b in zip(few, many, strict=True))


def test_channels_are_sampled_uniformly() -> None:
    seeds, available, taken = 4000, 24, 5
    architecture = network(((8, 5, taken),))
    counts = np.zeros(available)
    for seed in range(seeds):
        counts[list(draw_wiring(architecture, seed).cells[0][4])] += 1
    expected = seeds * taken / available
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 49.7  # the 0.1 % point for 23 degrees of freedom


def test_the_wiring_of_a_seed_never_changes() -> None:
    assert draw_wiring(network(SMALL), 0).to_json() == {"cells": GOLDEN}
    assert draw_wiring(network(SMALL), 1).to_json() != {"cells": GOLDEN}


def test_the_wiring_of_a_seed_follows_the_order_of_its_random_numbers() -> None:
    stream = np.random.PCG64(7)
    numbers = [int(stream.random_raw()) for _ in range(4 + 8 + 2)]
    drawn = []
    for first, last, taken in ((0, 4, 3), (4, 12, 3), (12, 14, 2)):
        layer = numbers[first:last]
        drawn.append(sorted(range(len(layer)), key=layer.__getitem__)[:taken])
    (_, _, second, third), (_, _, other) = draw_wiring(network(SMALL), 7).cells
    assert [sorted(layer) for layer in drawn] == [list(second), list(third), list(other)]


@pytest.mark.parametrize(
    "data",
    [
        {"family": "densenet_mlp", "in_features": 9, "num_classes": 3, "width": 4, "depth": 5, "skip_channels": 6}
        | {"activation": "relu"},
        definition((3, 8, 8), 2, SMALL, "densenet_cnn_depthwise"),
    ],
)
def test_wirings_are_drawn_for_every_family_of_cells(data: dict[str, Any]) -> None:
    architecture = decode_architecture(data)
    shapes = [tuple(len(layer) for layer in cell) for cell in draw_wiring(architecture, 3).cells]
    assert shapes in ([(0, 0, 4, 6, 6)], [(0, 0, 3, 3), (0, 0, 2)])


@UNHURRIED
@given(networks(), SEEDS)
def test_a_wiring_reads_back(drawn: tuple[Image, int, Cells], seed: int) -> None:
    image, classes, cells = drawn
    architecture = network(cells, image, classes)
    wiring = draw_wiring(architecture, seed)
    assert Wiring.from_json(json.loads(json.dumps(wiring.to_json())), architecture) == wiring


# layers of equal counts, but the narrower network has fewer channels to sample from
@example(((1, 2, 2), 10, [(2, 3, 1)]), ((1, 2, 2), 10, [(1, 3, 1)]), 0)
@example(((1, 2, 2), 10, [(2, 3, 1)]), ((1, 2, 2), 10, [(1, 3, 1)]), 1)
@UNHURRIED
@given(networks(), networks(), SEEDS)
def test_a_wiring_fits_only_networks_with_its_cells(
    one: tuple[Image, int, Cells], other: tuple[Image, int, Cells], seed: int
) -> None:
    wiring = draw_wiring(network(one[2], one[0]), seed)
    architecture = network(other[2], other[0])
    same = [[min(w * max(j - 1, 0), t) for j in range(d)] for w, d, t in canonical(one[2])] == [
        [min(w * max(j - 1, 0), t) for j in range(d)] for w, d, t in canonical(other[2])
    ]
    reach = [[w * max(j - 1, 0) for j in range(d)] for w, d, _ in canonical(other[2])]
    if same and all(
        max(layer, default=-1) < channels
        for cell, bounds in zip(wiring.cells, reach, strict=True)
        for layer, channels in zip(cell, bounds, strict=True)
    ):
        wiring.check(architecture)
    else:
        with pytest.raises(DefinitionError):
            wiring.check(architecture)


@pytest.mark.parametrize(
    ("seed", "code"),
    [
        (-1, "too_small"),
        (2**53, "too_large"),
        (1.0, "not_an_integer"),
        (True, "not_an_integer"),
        (None, "not_an_integer"),
    ],
)
def test_an_invalid_seed_names_its_field(seed: Any, code: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        draw_wiring(network(SMALL), seed)
    assert [(p.field, p.code) for p in refused.value.problems] == [("seed", code)]


GOOD = [[[], [], [0, 1, 3], [0, 4, 7]], [[], [], [0, 1]]]


@pytest.mark.parametrize(
    ("data", "field", "code"),
    [
        (None, "", "not_an_object"),
        ([], "", "not_an_object"),
        ({}, "cells", "required"),
        ({"cells": GOOD, "color": 1}, "color", "unknown_field"),
        ({"cells": 7}, "cells", "not_a_list"),
        ({"cells": [7, 8]}, "cells", "not_a_list"),
        ({"cells": [[7], []]}, "cells", "not_a_list"),
        ({"cells": GOOD[:1]}, "cells", "bad_length"),
        ({"cells": [GOOD[0], GOOD[1][:2]]}, "cells.1", "bad_length"),
        ({"cells": [GOOD[0], [[], [], [0]]]}, "cells.1.2", "bad_length"),
        ({"cells": [GOOD[0], [[], [0], [0, 1]]]}, "cells.1.1", "bad_length"),
        ({"cells": [GOOD[0], [[], [], [0, 2]]]}, "cells.1.2", "too_large"),
        ({"cells": [GOOD[0], [[], [], [-1, 1]]]}, "cells.1.2", "too_small"),
        ({"cells": [GOOD[0], [[], [], [0, 0.5]]]}, "cells.1.2", "not_an_integer"),
        ({"cells": [GOOD[0], [[], [], [0, "1"]]]}, "cells.1.2", "not_an_integer"),
        ({"cells": [GOOD[0], [[], [], [0, True]]]}, "cells.1.2", "not_an_integer"),
        ({"cells": [GOOD[0], [[], [], [1, 1]]]}, "cells.1.2", "not_ascending"),
        ({"cells": [GOOD[0], [[], [], [1, 0]]]}, "cells.1.2", "not_ascending"),
    ],
)
def test_an_invalid_wiring_names_its_field(data: object, field: str, code: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        Wiring.from_json(data, network(SMALL))
    assert [(p.field, p.code) for p in refused.value.problems] == [(field, code)]


def test_a_valid_wiring_is_read_including_integers_written_as_floats() -> None:
    data = {"cells": [[[float(n) for n in layer] for layer in cell] for cell in GOOD]}
    assert Wiring.from_json(data, network(SMALL)).to_json() == {"cells": GOOD}
