"""`densenet_mlp`: closed forms against the authors' figures and a walk over its layers; definitions and spaces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmass_core.architecture import CLASSES
from nnmass_core.budget import Budget
from nnmass_core.codec import LARGEST_INTEGER, json_schema
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_architecture, decode_space
from nnmass_core.families.concatenation import MOST_CELLS, SKIP_CHANNELS, WIDTH
from nnmass_core.families.densenet_mlp import DEPTH, FEATURES, DenseNetMlp
from nnmass_core.families.densenet_mlp_space import DenseNetMlpSpace
from nnmass_core.named.networks import named_network
from nnmass_core.search import SearchRequest, search
from tests.core.reference import reference_rows
from tests.oracle import nn_mass
from tests.parsed import parsed
from tests.walks import walk_mlp

UNHURRIED = settings(max_examples=300, deadline=None, derandomize=True)
Drawn = tuple[int, int, int, int, int]
NETWORKS = st.tuples(
    st.integers(1, 900), st.integers(1, 200), st.integers(1, 40), st.integers(2, 20), st.integers(0, 300)
)
"""Features, classes, width, depth, skip channels."""


def definition(features: int, classes: int, width: int, depth: int, skips: int) -> dict[str, Any]:
    return {
        "family": "densenet_mlp",
        "in_features": features,
        "num_classes": classes,
        "width": width,
        "depth": depth,
        "skip_channels": skips,
        "activation": "relu",
    }


def network(drawn: Drawn) -> DenseNetMlp:
    decoded = decode_architecture(definition(*drawn))
    assert isinstance(decoded, DenseNetMlp)
    return decoded


@pytest.mark.parametrize("vector", reference_rows("nn_mass_vectors.json", "densenet_mlp", "densenet_mlp"))
def test_params_and_nn_mass_equal_the_published_values(vector: dict[str, Any]) -> None:
    drawn = vector["input_dims"], vector["num_classes"], vector["width"], vector["depth"], vector["t_c"]
    found = network(drawn).evaluate()
    (part,) = found.parts
    assert found.params == found.weights == vector["linear_params"]
    assert float(found.mass) == pytest.approx(vector["nn_mass"], rel=1e-9, abs=0)
    assert part.density is not None
    assert float(part.density) == pytest.approx(vector["density"], rel=1e-9, abs=0)


@UNHURRIED
@given(NETWORKS)
def test_costs_equal_a_walk_over_the_layers(drawn: Drawn) -> None:
    found, count = network(drawn).evaluate(), walk_mlp(*drawn[:2], (drawn[2:],))
    assert (found.params, found.weights, found.macs) == (count.params, count.params, count.macs)
    assert found.indices == count.indices
    assert found.peak_elements == count.peak
    assert found.mass == nn_mass((drawn[2:],))
    assert found.depth == drawn[3]


@pytest.mark.parametrize(("features", "classes"), [(1, 1), (20, 3), (3, 20)])
def test_the_peak_of_every_small_network_equals_a_walk_over_the_layers(features: int, classes: int) -> None:
    """With one of inputs, classes and cell far the largest, and all about equal."""
    for w in range(1, 6):
        for d in range(2, 7):
            for t in range(w * (d - 2) + 2):
                drawn = features, classes, w, d, t
                assert network(drawn).evaluate().peak_elements == walk_mlp(*drawn[:2], (drawn[2:],)).peak, drawn


def test_a_network_of_two_layers_has_zero_nn_mass() -> None:
    found = network((784, 10, 8, 2, 5)).evaluate()
    assert found.mass == 0
    assert (found.params, found.macs) == (785 * 8 + 9 * 10, 784 * 8 + 8 * 10)
    assert found.peak_elements == 784 + 8


@UNHURRIED
@given(NETWORKS)
def test_costs_of_the_only_cell_are_those_of_the_network(drawn: Drawn) -> None:
    _, _, w, d, t = drawn
    found = network(drawn).evaluate()
    (cell,) = json.loads(json.dumps(found.report("fp32")))["cells"]
    assert (cell["width"], cell["depth"], cell["skip_channels"]) == (w, d, min(t, w * (d - 2)))
    assert (cell["params"], cell["macs"], cell["nn_mass"]) == (found.params, found.macs, float(found.mass))
    links = sum(min(w * (j - 1), t) for j in range(2, d))
    density = Fraction(2 * links, w * (d - 1) * (d - 2)) if d >= 3 else Fraction(0)
    assert cell["density"] == float(density)
    assert cell["average_degree"] == float(w + w * d * density / 2)


@UNHURRIED
@given(NETWORKS, st.integers(0, 1000))
def test_surplus_skip_channels_give_the_same_network(drawn: Drawn, surplus: int) -> None:
    features, classes, w, d, _ = drawn
    full = network((features, classes, w, d, w * (d - 2)))
    assert network((features, classes, w, d, w * (d - 2) + surplus)) == full
    assert full.skip_channels == w * (d - 2)


@UNHURRIED
@given(NETWORKS)
def test_a_definition_reads_back_to_the_same_network(drawn: Drawn) -> None:
    first = network(drawn)
    written = json.loads(json.dumps(first.definition()))
    assert written["version"] == 1
    assert decode_architecture(written) == first
    assert decode_architecture(written).arch_id == first.arch_id


def test_networks_of_one_cell_keep_their_ids() -> None:
    plain = definition(784, 10, 8, 16, 12)
    known = decode_architecture(plain | {"batchnorm": 0, "outputs": "classes", "later_cells": []})
    assert known.arch_id == "arch_6ca1e82f206230361b27d0ad23ae28fb"
    assert known.definition() == {"version": 1} | plain
    space = decode_space(SPACE | {"cells": 1, "batchnorm": 0, "outputs": "classes"})
    assert (space.digest, space.form_version) == (space_with().digest, 1)
    assert set(space.to_json()) == set(SPACE)


CELLS = st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(0, 300))
"""Width, depth, skip channels."""


def several(cells: Sequence[tuple[int, int, int]], **more: Any) -> dict[str, Any]:
    """Return the definition of a network of some cells, from 20 features to 5 outputs."""
    forms = [dict(zip(("width", "depth", "skip_channels"), cell, strict=True)) for cell in cells]
    return definition(20, 5, 1, 1, 0) | forms[0] | {"later_cells": forms[1:]} | more


@UNHURRIED
@given(st.lists(CELLS, min_size=2, max_size=4, unique_by=lambda cell: cell[0]), st.integers(0, 1))
def test_costs_of_several_cells_equal_a_walk_over_the_layers(drawn: list[tuple[int, int, int]], batchnorm: int) -> None:
    last = (drawn[-1][0], drawn[-1][1] + 1, drawn[-1][2])
    cells = (*drawn[:-1], last)
    architecture = decode_architecture(several(cells, batchnorm=batchnorm))
    found, count = architecture.evaluation, walk_mlp(20, 5, cells, batchnorm=bool(batchnorm))
    assert (found.params, found.macs, found.weights) == (count.params, count.macs, count.params + 2 * count.norm)
    assert (found.indices, found.peak_elements) == (count.indices, count.peak)
    assert found.mass == nn_mass(cells)
    assert found.depth == sum(depth for _, depth, _ in cells)
    assert decode_architecture(json.loads(json.dumps(architecture.definition()))).arch_id == architecture.arch_id


def test_the_network_of_anomaly_detection_has_the_published_params() -> None:
    found = named_network("mlperf-tiny-ad")
    widths = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)
    linear = sum((i + 1) * o for i, o in pairwise(widths))
    assert found.evaluation.params == linear + 2 * sum(widths[1:-1]) == 267_928
    assert found.evaluation.macs == sum(i * o for i, o in pairwise(widths)) == 264_192
    assert found.evaluation.mass == 0
    assert not found.classifies
    around = decode_space(parsed(found.space_around()))
    least = search(SearchRequest.from_json({"space": around.to_json(), "budget": {"max_params": 267_928}}))
    assert least.ranking[0].architecture.evaluation.mass > 0
    assert len(least.ranking[0].architecture.widths) == 3


SEVERAL = [
    ({"later_cells": [{"width": 8, "depth": 1, "skip_channels": 0}]}, "later_cells.0.depth", "too_small"),
    ({"depth": 1, "later_cells": []}, "depth", "too_small"),
    ({"skip_channels": 0, "later_cells": [{"width": 8, "depth": 4, "skip_channels": 0}]}, "later_cells.0", "same_cell"),
    ({"later_cells": [{"width": 0, "depth": 4, "skip_channels": 0}]}, "later_cells.0.width", "too_small"),
    ({"batchnorm": 2}, "batchnorm", "too_large"),
    ({"outputs": "images"}, "outputs", "unknown_choice"),
    ({"outputs": "reconstruction"}, "num_classes", "conflicts_with_outputs"),
]


@pytest.mark.parametrize(("change", "field", "code"), SEVERAL)
def test_an_invalid_definition_of_several_cells_names_its_field(change: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        decode_architecture(definition(784, 10, 8, 16, 4) | change)
    assert [(p.field, p.code) for p in refused.value.problems] == [(field, code)]


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"cells": 0}, "cells", "too_small"),
        ({"cells": 2, "depth": [[1, 2], [1, 2]]}, "depth", "too_small"),
        ({"cells": 2, "depth": [[3], [1, 2]]}, "depth.1", "too_small"),
        ({"cells": 2, "width": [[8], [8], [8]]}, "width", "bad_length"),
        ({"cells": 3, "width": 8, "skip_channels": 0}, "width", "same_cells"),
        ({"outputs": "reconstruction"}, "num_classes", "conflicts_with_outputs"),
    ],
)
def test_an_invalid_space_of_several_cells_names_its_field(change: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        space_with(**change)
    assert [(p.field, p.code) for p in refused.value.problems] == [(field, code)]


def test_the_activation_is_part_of_the_id() -> None:
    relu = definition(784, 10, 8, 16, 4)
    elu = decode_architecture(relu | {"activation": "elu"})
    assert elu.arch_id != decode_architecture(relu).arch_id
    assert elu.evaluation == decode_architecture(relu).evaluation


BAD = [
    ({"in_features": 0}, "in_features", "too_small"),
    ({"in_features": FEATURES[1] + 1}, "in_features", "too_large"),
    ({"in_features": "784"}, "in_features", "not_an_integer"),
    ({"num_classes": 0}, "num_classes", "too_small"),
    ({"width": 0}, "width", "too_small"),
    ({"width": 8193}, "width", "too_large"),
    ({"width": 1.5}, "width", "not_an_integer"),
    ({"depth": 1}, "depth", "too_small"),
    ({"depth": 513}, "depth", "too_large"),
    ({"skip_channels": -1}, "skip_channels", "too_small"),
    ({"skip_channels": True}, "skip_channels", "not_an_integer"),
    ({"activation": "tanh"}, "activation", "unknown_choice"),
    ({"activation": None}, "activation", "unknown_choice"),
    ({"activation": ["relu"]}, "activation", "unknown_choice"),
    ({"activation": ...}, "activation", "required"),
    ({"width": ...}, "width", "required"),
    ({"in_features": ...}, "in_features", "required"),
    ({"cells": 1}, "cells", "unknown_field"),
    ({"version": 2}, "version", "unknown_version"),
]


def changed(data: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Some values replaced, or taken out where the value is `...`."""
    return {key: value for key, value in (data | change).items() if value is not ...}


@pytest.mark.parametrize(("change", "field", "code"), BAD)
def test_an_invalid_definition_names_its_field(change: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        decode_architecture(changed(definition(784, 10, 8, 16, 4), change))
    assert [(p.field, p.code) for p in refused.value.problems] == [(field, code)]


SPACE: dict[str, Any] = {
    "family": "densenet_mlp",
    "in_features": 784,
    "num_classes": 10,
    "width": [8, 16],
    "depth": {"min": 2, "max": 6},
    "skip_channels": {"min": 0, "max": 40, "step": 10},
    "activation": "elu",
}


def space_with(**change: Any) -> DenseNetMlpSpace:
    decoded = decode_space(changed(SPACE, change))
    assert isinstance(decoded, DenseNetMlpSpace)
    return decoded


@pytest.mark.parametrize(
    ("form", "values"),
    [(5, (5,)), ([7, 4], (4, 7)), ({"min": 3, "max": 6, "step": 2}, (3, 5)), ([{"min": 3, "max": 4}], (3, 4))],
)
def test_an_axis_is_given_directly_or_in_a_list_of_one(form: Any, values: tuple[int, ...]) -> None:
    space = space_with(depth=form)
    assert space.depth[0].values == values
    assert decode_space(json.loads(json.dumps(space.to_json()))) == space


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"activation": "gelu"}, "activation", "unknown_choice"),
        ({"activation": ["relu", "elu"]}, "activation", "unknown_choice"),
        ({"activation": ...}, "activation", "required"),
        ({"in_features": ...}, "in_features", "required"),
        ({"in_features": {"min": 1, "max": 2}}, "in_features", "not_an_integer"),
        ({"depth": {"min": 1, "max": 8}}, "depth.min", "too_small"),
        ({"depth": [2, 1]}, "depth.1", "too_small"),
        ({"width": [[8], [16]]}, "width", "bad_length"),
        ({"width": {"min": 9, "max": 8}}, "width.min", "min_above_max"),
        ({"skip_channels": {"min": 0, "max": 10**9}}, "skip_channels.max", "too_large"),
        ({"skip_channels": ...}, "skip_channels", "required"),
        ({"width_rule": "doubling"}, "width_rule", "unknown_field"),
        ({"input": {"channels": 1, "height": 28, "width": 28}}, "input", "unknown_field"),
        (
            {"width": {"min": 1, "max": 4096}, "depth": {"min": 2, "max": 512}, "skip_channels": [0, 1]},
            "",
            "too_large",
        ),
    ],
)
def test_an_invalid_space_names_its_field(change: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        space_with(**change)
    assert [(p.field, p.code) for p in refused.value.problems] == [(field, code)]


def test_one_error_names_every_invalid_field() -> None:
    with pytest.raises(DefinitionError) as refused:
        space_with(width=0, depth=1, activation="x", color=1)
    assert {p.field for p in refused.value.problems} == {"width", "depth", "activation", "color"}


def test_networks_of_a_space_have_its_activation() -> None:
    assert space_with().architecture((8, 5, 20)).definition()["activation"] == "elu"
    assert space_with(activation="relu").digest != space_with().digest


@pytest.mark.parametrize(("skips", "caveats"), [(12, ()), (13, ("density_above_evidence",))])
def test_caveats_warn_of_networks_denser_than_the_published_ones(skips: int, caveats: tuple[str, ...]) -> None:
    space = space_with(width=8, depth=16, skip_channels=skips)
    found = search(SearchRequest(space=space, budget=Budget(max_params=10**9)))
    assert found.certificate.caveats == (*caveats, "limits_used_below_60")


def test_widths_vary_only_when_several_widths_are_allowed() -> None:
    assert space_with().varies_width()
    assert not space_with(width=8).varies_width()


def test_the_schemas_name_every_field_of_written_json() -> None:
    space = space_with()
    schema = parsed(space.schema())
    later = {"batchnorm": 1, "outputs": "reconstruction"}
    assert set(schema["required"]) == set(space.to_json())
    full = space_with(num_classes=784, cells=2, **later)
    assert set(schema["properties"]) == set(full.to_json())
    written = decode_architecture(several(((8, 4, 4), (9, 2, 0)), in_features=5, **later)).definition()
    assert set(parsed(json_schema(DenseNetMlp))["properties"]) == set(written) - {"version", "family"}


def test_no_network_within_the_bounds_has_more_macs_than_a_double_counts() -> None:
    largest = (FEATURES[1], CLASSES[1], WIDTH[1], DEPTH[1], SKIP_CHANNELS[1])
    assert network(largest).evaluate().macs < LARGEST_INTEGER
    cells = [(WIDTH[1] - i, DEPTH[1], SKIP_CHANNELS[1]) for i in range(MOST_CELLS)]
    full = decode_architecture(several(cells, in_features=FEATURES[1], num_classes=CLASSES[1]))
    assert full.evaluation.macs < LARGEST_INTEGER
