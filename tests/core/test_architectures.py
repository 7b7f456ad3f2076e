"""What every architecture says about its task and its widths, whatever its family."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import nnmass
from nnmass_core.architecture import Architecture, PartName
from nnmass_core.errors import DefinitionError
from nnmass_core.export.parts import HEADINGS, heading_of, parts_of, width_of
from nnmass_core.families import FAMILIES, decode_architecture
from nnmass_core.families.densenet_mlp import DenseNetMlp
from nnmass_core.named.networks import named_network
from nnmass_core.named.presets import presets
from tests.networks import MLP
from tests.parsed import parsed

ROOT = Path(__file__).parents[2]

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
    assert parts_of(figures) == tuple(parts)
    assert network.widths == tuple(map(width_of, parts_of(figures)))


def test_every_kind_of_part_has_a_heading() -> None:
    assert get_args(PartName) == tuple(HEADINGS)


def test_networks_without_parts_have_none_to_show() -> None:
    assert parts_of({"family": "another"}) == parts_of({"cells": []}) == ()
    assert width_of({"depth": 3}) is None


@pytest.mark.parametrize(
    ("families", "heading"),
    [
        (["densenet_cnn", "densenet_mlp"], "cells: width x depth, skip channels"),
        (["resnet", "mobilenet_v2"], "stages: channels x blocks"),
        (["resnet", "densenet_cnn"], "cells: width x depth, skip channels or stages: channels x blocks"),
        (["densenet_bc"], "stages: growth x layers"),
        (["densenet_bc", "convnext"], "stages: channels x blocks or stages: growth x layers"),
        ([], "cells or stages"),
    ],
)
def test_the_heading_names_the_kinds_of_part_that_are_shown(families: list[str], heading: str) -> None:
    assert heading_of(ONE_OF_EACH[name].evaluation.report("fp32") for name in families) == heading


def test_only_one_module_asks_which_kind_of_part_a_network_has() -> None:
    question = re.compile(
        r"""\.get\("(cells|stages)"|"(cells|stages)" (not )?in |figures\["(cells|stages)"\]|part_name [!=]="""
    )
    parts = ("app", "nnmass", "nnmass_core", "worker")
    files = [path for part in parts for path in (ROOT / part).rglob("*") if path.suffix in (".py", ".html")]
    assert len(files) > 100
    found = [path.relative_to(ROOT).as_posix() for path in files if question.search(path.read_text(encoding="utf-8"))]
    assert found == ["nnmass_core/wiring.py"], "its own JSON, which has cells only"


def test_a_family_that_does_not_say_where_to_look_has_no_space_around_its_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(DenseNetMlp, "space_around")
    with pytest.raises(DefinitionError) as refused:
        nnmass.space_around(MLP)
    assert [(problem.field, problem.code) for problem in refused.value.problems] == [("space", "required")]
