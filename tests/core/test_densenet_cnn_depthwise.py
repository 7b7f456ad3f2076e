"""`densenet_cnn_depthwise`: closed forms against the authors' figures and a walk over its steps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_architecture
from nnmass_core.families.densenet_cnn_depthwise import DenseNetCnnDepthwise
from tests.core.networks import Image, definition, networks
from tests.core.reference import reference_rows
from tests.oracle import Cells, canonical, nn_mass, walk
from tests.walks import walk_dense, walk_depthwise

FAMILY = "densenet_cnn_depthwise"
UNHURRIED = settings(max_examples=200, deadline=None, derandomize=True)
Drawn = tuple[Image, int, Cells]


def network(cells: Cells, image: Image = (3, 32, 32), classes: int = 10) -> DenseNetCnnDepthwise:
    decoded = decode_architecture(definition(image, classes, cells, FAMILY))
    assert isinstance(decoded, DenseNetCnnDepthwise)
    return decoded


@pytest.mark.parametrize("vector", reference_rows("nn_mass_vectors.json", FAMILY, FAMILY))
def test_params_and_nn_mass_equal_the_published_values(vector: dict[str, Any]) -> None:
    cells = tuple((w, vector["cell_depth"], t) for w, t in zip(vector["widths"], vector["t_c"], strict=True))
    found = network(cells, tuple(vector["input"]), vector["num_classes"]).evaluate()
    assert found.params == vector["params"]
    assert float(found.mass) == pytest.approx(vector["nn_mass"], rel=1e-9, abs=0)
    densities = [float(part.density) for part in found.parts if part.density is not None]
    assert densities == pytest.approx(vector["density"], rel=1e-9, abs=0)


@pytest.mark.parametrize("example", reference_rows("cost_examples_with_indices.json", "examples", FAMILY))
def test_costs_equal_the_worked_examples(example: dict[str, Any]) -> None:
    found = decode_architecture(example["architecture"]).evaluate()
    assert (found.params, found.macs) == (example["params"], example["macs"])
    assert found.peak_elements == example["peak_activation_elements"]
    assert found.weights - found.params == 2 * example["batchnorm_channels"]
    assert found.indices == example["index_entries"]
    assert found.report("fp32")["weight_bytes"] == example["weight_bytes_fp32"]
    assert float(found.mass) == pytest.approx(example["nn_mass"], rel=1e-9, abs=0)


@UNHURRIED
@given(networks())
def test_costs_equal_a_walk_over_the_steps(drawn: Drawn) -> None:
    image, classes, cells = drawn
    found, count = network(cells, image, classes).evaluate(), walk_depthwise(image, classes, cells)
    assert (found.params, found.macs) == (count.params, count.macs)
    assert (found.weights, found.indices) == (count.params + 2 * count.norm, count.indices)
    assert found.mass == nn_mass(cells)
    assert found.depth == sum(d for _, d, _ in cells)


@settings(UNHURRIED, max_examples=1000)
@given(networks())
def test_the_peak_equals_the_maximum_over_all_steps(drawn: Drawn) -> None:
    """The separable steps between entry and last concatenation never have more alive than the closed form says."""
    image, classes, cells = drawn
    assert network(cells, image, classes).evaluate().peak_elements == walk_depthwise(image, classes, cells).peak


@pytest.mark.parametrize("w", [1, 2, 5])
@pytest.mark.parametrize("d", range(1, 9))
def test_the_peak_of_every_small_cell_equals_a_walk_over_the_steps(w: int, d: int) -> None:
    for t in range(w * max(d - 2, 0) + 2):
        for before in (1, w, 4 * w):
            cells = ((before, 1, 0), (w, d, t))
            image = (1, 7, 6)
            assert network(cells, image, 1).evaluate().peak_elements == walk_depthwise(image, 1, cells).peak


@UNHURRIED
@given(networks())
def test_both_walks_agree_where_both_apply(drawn: Drawn) -> None:
    one, other = walk(*drawn), walk_dense(*drawn)
    assert (one.params, one.macs, one.norm, one.peak) == (other.params, other.macs, other.norm, other.peak)


@UNHURRIED
@given(networks())
def test_costs_of_the_parts_add_up_to_the_total_without_the_head(drawn: Drawn) -> None:
    image, classes, cells = drawn
    found = network(cells, image, classes).evaluate()
    wider = network(cells, image, classes + 1).evaluate()
    assert found.params == sum(part.params for part in found.parts) + classes * (wider.params - found.params)
    assert found.macs == sum(part.macs for part in found.parts) + classes * (wider.macs - found.macs)


@UNHURRIED
@given(networks())
def test_a_definition_reads_back_to_the_same_network(drawn: Drawn) -> None:
    image, classes, cells = drawn
    first = network(cells, image, classes)
    written = json.loads(json.dumps(first.definition()))
    assert (written["version"], written["family"]) == (1, FAMILY)
    assert [tuple(cell.values()) for cell in written["cells"]] == list(canonical(cells))
    assert decode_architecture(written) == first
    assert decode_architecture(written).arch_id == first.arch_id


def test_the_family_is_part_of_the_id() -> None:
    separable = network(((16, 5, 20),))
    dense = decode_architecture(separable.definition() | {"family": "densenet_cnn"})
    assert dense != separable
    assert dense.arch_id != separable.arch_id


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"cells": [{"width": 0, "depth": 1, "skip_channels": 0}]}, "cells.0.width", "too_small"),
        ({"cells": [{"width": 1, "depth": 1, "skip_channels": -1}]}, "cells.0.skip_channels", "too_small"),
        ({"cells": [{"width": 1, "depth": 1}]}, "cells.0.skip_channels", "required"),
        ({"cells": [{"width": 8, "depth": 4, "skip_channels": 0}] * 6}, "input", "too_small"),
        ({"expansion": 6}, "expansion", "unknown_field"),
    ],
)
def test_an_invalid_definition_names_its_field(change: dict[str, Any], field: str, code: str) -> None:
    data = definition((3, 32, 32), 10, ((16, 5, 20),), FAMILY) | change
    with pytest.raises(DefinitionError) as refused:
        decode_architecture(data)
    assert [(p.field, p.code) for p in refused.value.problems] == [(field, code)]


def test_more_macs_than_a_double_counts_are_refused() -> None:
    with pytest.raises(DefinitionError) as refused:
        network(((8192, 512, 8192),), (3, 8192, 8192))
    assert [(p.field, p.code) for p in refused.value.problems] == [("cells", "too_large")]
