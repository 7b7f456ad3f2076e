"""What every architecture says about its task and its widths, whatever its family."""

from __future__ import annotations

import pytest

from nnmass_core.architecture import Architecture
from nnmass_core.families import FAMILIES, decode_architecture
from nnmass_core.named.networks import named_network
from nnmass_core.named.presets import presets
from tests.networks import MLP
from tests.parsed import parsed

ONE_OF_EACH = {name: next(p.space for p in presets().values() if p.space.family == name).largest() for name in FAMILIES}


@pytest.mark.parametrize(
    ("network", "shape", "classes", "widths"),
    [
        (decode_architecture(MLP), (64,), 10, (8,)),
        (named_network("resnet50"), (3, 224, 224), 1000, (64, 128, 256, 512)),
        (named_network("mobilenet_v2"), (3, 224, 224), 1000, (16, 24, 32, 64, 96, 160, 320)),
    ],
)
def test_an_architecture_has_its_input_shape_classes_and_widths(
    network: Architecture, shape: tuple[int, ...], classes: int, widths: tuple[int, ...]
) -> None:
    assert (network.input_shape, network.num_classes, network.widths) == (shape, classes, widths)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_properties_are_those_of_the_definition(family: str) -> None:
    network = ONE_OF_EACH[family]
    definition, figures = parsed(network.definition()), network.evaluation.report("fp32")
    image = definition.get("input") or {"features": definition["in_features"]}
    assert network.input_shape == tuple(image.values())
    assert network.num_classes == definition["num_classes"]
    parts = figures.get("cells") or figures["stages"]
    assert network.widths == tuple(part.get("width") or part["channels"] for part in parts)
