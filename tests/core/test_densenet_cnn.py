"""`densenet_cnn`: closed forms against the authors' figures and the layer-by-layer oracle; definitions in and out."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_architecture
from nnmass_core.families.densenet_cnn import DenseNetCnn
from tests.core.networks import definition, networks
from tests.core.reference import reference_rows
from tests.oracle import Cells, canonical, nn_mass, walk

UNHURRIED = settings(max_examples=200, deadline=None, derandomize=True)


def network(cells: Cells, image: tuple[int, int, int] = (3, 32, 32), classes: int = 10) -> DenseNetCnn:
    decoded = decode_architecture(definition(image, classes, cells))
    assert isinstance(decoded, DenseNetCnn)
    return decoded


@pytest.mark.parametrize("vector", reference_rows("nn_mass_vectors.json", "densenet_cnn"))
def test_params_and_nn_mass_equal_the_published_values(vector: dict[str, Any]) -> None:
    cells = tuple((w, vector["cell_depth"], t) for w, t in zip(vector["widths"], vector["t_c"], strict=True))
    found = network(cells, tuple(vector["input"]), vector["num_classes"]).evaluate()
    assert found.params == vector["params"]
    assert float(found.mass) == pytest.approx(vector["nn_mass"], rel=1e-9, abs=0)


@pytest.mark.parametrize("example", reference_rows("cost_examples_with_indices.json", "examples"))
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
def test_costs_equal_a_walk_over_the_layers(drawn: tuple[tuple[int, int, int], int, Cells]) -> None:
    image, classes, cells = drawn
    found, count = network(cells, image, classes).evaluate(), walk(image, classes, cells)
    assert (found.params, found.macs) == (count.params, count.macs)
    assert (found.weights, found.indices) == (count.params + 2 * count.norm, count.indices)
    assert found.peak_elements == count.peak
    assert found.mass == nn_mass(cells)
    assert found.depth == sum(d for _, d, _ in cells)


@UNHURRIED
@given(networks())
def test_a_report_has_the_numbers_of_the_evaluation(drawn: tuple[tuple[int, int, int], int, Cells]) -> None:
    image, classes, cells = drawn
    found = network(cells, image, classes).evaluate()
    for precision, size in (("fp32", 4), ("fp16", 2), ("int8", 1)):
        report = json.loads(json.dumps(found.report(precision)))
        assert report["weight_bytes"] == found.weights * size + 4 * found.indices
        assert report["peak_activation_bytes"] == found.peak_elements * size
        assert report["nn_mass"] == float(found.mass)
        assert [(c["width"], c["depth"], c["skip_channels"]) for c in report["cells"]] == list(canonical(cells))


@UNHURRIED
@given(networks())
def test_density_and_average_degree_follow_their_formulas(drawn: tuple[tuple[int, int, int], int, Cells]) -> None:
    _, _, cells = drawn
    for part, (w, d, t) in zip(network(cells, (3, 40, 40)).evaluate().parts, cells, strict=True):
        links = sum(min(w * (j - 1), t) for j in range(2, d))
        density = Fraction(links, w * (d - 1) * (d - 2) // 2) if d >= 3 else Fraction(0)
        assert part.density == density
        assert part.mass == w * d * density
        assert part.average_degree == w + part.mass / 2


@UNHURRIED
@given(networks())
def test_costs_of_the_parts_add_up_to_the_total_without_the_head(
    drawn: tuple[tuple[int, int, int], int, Cells],
) -> None:
    image, classes, cells = drawn
    found = network(cells, image, classes).evaluate()
    wider = network(cells, image, classes + 1).evaluate()
    head_params, head_macs = wider.params - found.params, wider.macs - found.macs
    assert found.params == sum(part.params for part in found.parts) + classes * head_params
    assert found.macs == sum(part.macs for part in found.parts) + classes * head_macs


@UNHURRIED
@given(networks(), st.integers(0, 1000))
def test_surplus_skip_channels_give_the_same_network(
    drawn: tuple[tuple[int, int, int], int, Cells], surplus: int
) -> None:
    image, classes, cells = drawn
    full = tuple((w, d, w * max(d - 2, 0)) for w, d, _ in cells)
    more = tuple((w, d, t + surplus) for w, d, t in full)
    assert network(full, image, classes) == network(more, image, classes)
    assert network(full, image, classes).arch_id == network(more, image, classes).arch_id


@UNHURRIED
@given(networks(), networks())
def test_two_networks_share_an_id_only_if_they_are_the_same(
    one: tuple[tuple[int, int, int], int, Cells], other: tuple[tuple[int, int, int], int, Cells]
) -> None:
    same = (one[0], one[1], canonical(one[2])) == (other[0], other[1], canonical(other[2]))
    ids = {network(cells, image, classes).arch_id for image, classes, cells in (one, other)}
    assert len(ids) == (1 if same else 2)


@UNHURRIED
@given(networks())
def test_a_definition_reads_back_to_the_same_network(drawn: tuple[tuple[int, int, int], int, Cells]) -> None:
    image, classes, cells = drawn
    first = network(cells, image, classes)
    written = json.loads(json.dumps(first.definition()))
    assert written["version"] == 1
    assert decode_architecture(written) == first
    assert decode_architecture(written).arch_id == first.arch_id


def test_an_id_does_not_depend_on_the_notation_of_numbers_or_the_order_of_keys() -> None:
    plain = definition((3, 32, 32), 10, ((16, 5, 20),))
    turned = {key: plain[key] for key in reversed(plain)} | {"num_classes": 10.0, "version": 1.0}
    assert decode_architecture(turned).arch_id == decode_architecture(plain).arch_id


def changed(path: str, value: Any) -> dict[str, Any]:
    """A good definition of two cells with one value replaced, or taken out when the value is `...`."""
    data = definition((3, 32, 32), 10, ((16, 5, 20), (32, 5, 40)))
    *parents, last = path.split(".")
    inner: Any = data
    for key in parents:
        inner = inner[int(key) if isinstance(inner, list) else key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return data


BAD = [
    ("family", ..., "family", "required"),
    ("family", "densenet", "family", "unknown_choice"),
    ("family", ["densenet_cnn"], "family", "unknown_choice"),
    ("version", 2, "version", "unknown_version"),
    ("version", "1", "version", "unknown_version"),
    ("version", None, "version", "unknown_version"),
    ("version", True, "version", "unknown_version"),
    ("color", 1, "color", "unknown_field"),
    ("cells.1.color", 1, "cells.1.color", "unknown_field"),
    ("input.color", 1, "input.color", "unknown_field"),
    ("num_classes", ..., "num_classes", "required"),
    ("num_classes", 0, "num_classes", "too_small"),
    ("num_classes", 10**400, "num_classes", "too_large"),
    ("num_classes", True, "num_classes", "not_an_integer"),
    ("num_classes", "10", "num_classes", "not_an_integer"),
    ("num_classes", 1.5, "num_classes", "not_an_integer"),
    ("num_classes", float("nan"), "num_classes", "not_an_integer"),
    ("num_classes", float("inf"), "num_classes", "not_an_integer"),
    ("num_classes", None, "num_classes", "not_an_integer"),
    ("input", ..., "input", "required"),
    ("input", 32, "input", "not_an_object"),
    ("input", [3, 32, 32], "input", "not_an_object"),
    ("input.height", ..., "input.height", "required"),
    ("input.width", 10**6, "input.width", "too_large"),
    ("input.height", 2, "input", "too_small"),
    ("cells", ..., "cells", "required"),
    ("cells", [], "cells", "bad_length"),
    ("cells", [{"width": 1, "depth": 1, "skip_channels": 0}] * 13, "cells", "bad_length"),
    ("cells", {"width": 1}, "cells", "not_a_list"),
    ("cells", "cells", "cells", "not_a_list"),
    ("cells", [7], "cells.0", "not_an_object"),
    ("cells.1.width", ..., "cells.1.width", "required"),
    ("cells.1.width", 0, "cells.1.width", "too_small"),
    ("cells.1.width", 8193, "cells.1.width", "too_large"),
    ("cells.0.depth", 0, "cells.0.depth", "too_small"),
    ("cells.0.depth", 513, "cells.0.depth", "too_large"),
    ("cells.0.depth", 1.5, "cells.0.depth", "not_an_integer"),
    ("cells.0.skip_channels", -1, "cells.0.skip_channels", "too_small"),
    ("cells.0.skip_channels", False, "cells.0.skip_channels", "not_an_integer"),
    ("cells.0.skip_channels", 10**400, "cells.0.skip_channels", "too_large"),
]


@pytest.mark.parametrize(("path", "value", "field", "code"), BAD)
def test_an_invalid_definition_names_its_field(path: str, value: Any, field: str, code: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        decode_architecture(changed(path, value))
    assert [(p.field, p.code) for p in refused.value.problems] == [(field, code)]


@pytest.mark.parametrize("data", [None, 1, "densenet_cnn", [], [{"family": "densenet_cnn"}], True])
def test_a_definition_must_be_an_object(data: object) -> None:
    with pytest.raises(DefinitionError) as refused:
        decode_architecture(data)
    assert [(p.field, p.code) for p in refused.value.problems] == [("", "not_an_object")]


def test_one_error_names_every_invalid_field() -> None:
    data = changed("num_classes", 0) | {"color": 1}
    data["cells"][0]["width"] = 0
    data["cells"][1]["depth"] = "5"
    with pytest.raises(DefinitionError) as refused:
        decode_architecture(data)
    assert {p.field for p in refused.value.problems} >= {"color", "cells.0.width", "cells.1.depth"}


def test_more_macs_than_a_double_counts_are_refused() -> None:
    huge = definition((3, 8192, 8192), 10, ((8192, 512, 8192),))
    with pytest.raises(DefinitionError) as refused:
        decode_architecture(huge)
    assert [(p.field, p.code) for p in refused.value.problems] == [("cells", "too_large")]


def test_error_messages_do_not_repeat_the_input() -> None:
    with pytest.raises(DefinitionError) as refused:
        decode_architecture(changed("cells.0.width", 123456789))
    assert "123456789" not in str(refused.value)


@pytest.mark.parametrize("family", ["densenet_cnn", "densenet_cnn_depthwise"])
def test_a_signal_needs_a_length_of_2_in_its_last_cell(family: str) -> None:
    cells = ((4, 3, 2), (4, 3, 2))
    decode_architecture(definition((3, 1, 3), 4, cells, family))
    for image in ((3, 1, 2), (3, 2, 1), (3, 1, 1)):
        with pytest.raises(DefinitionError) as refused:
            decode_architecture(definition(image, 4, cells, family))
        assert [(p.field, p.code) for p in refused.value.problems] == [("input", "too_small")]


def test_the_smallest_network_has_zero_nn_mass() -> None:
    found = network(((1, 1, 5),), (1, 2, 2), 1).evaluate()
    assert found.mass == 0
    assert (found.params, found.macs) == (9 + 2 + 1 + 1, 9 * 4 + 1)
