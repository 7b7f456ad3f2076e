"""Weights load into a network of their own wiring, and into no other: the module, the exported file, old weights."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

from torch import nn  # noqa: E402

from nnmass_core.architecture import Architecture  # noqa: E402
from nnmass_core.export.pytorch_source import pytorch_source  # noqa: E402
from nnmass_core.families import decode_architecture  # noqa: E402
from nnmass_core.nets import build  # noqa: E402
from nnmass_core.wiring import depends_on_seed, draw_wiring  # noqa: E402

FAMILIES = ("densenet_cnn", "densenet_cnn_depthwise", "densenet_mlp")
SOME, ALL, NONE = 7, 99, 0
"""Skip channels of which each layer takes some, all or none."""


def network(family: str, skip_channels: int) -> Architecture:
    cell = {"width": 5, "depth": 6, "skip_channels": skip_channels}
    image = {"input": {"channels": 2, "height": 8, "width": 8}, "num_classes": 4, "cells": [cell, cell]}
    flat = {"in_features": 9, "num_classes": 4, "activation": "elu", **cell, "later_cells": [cell | {"width": 6}]}
    return decode_architecture({"family": family} | (flat if family == "densenet_mlp" else image))


def from_source(architecture: Architecture, seed: int) -> nn.Module:
    names: dict[str, Any] = {}
    exec(compile(pytorch_source(architecture, seed), "network.py", "exec"), names)
    module: nn.Module = names["build"]().eval()
    return module


def from_core(architecture: Architecture, seed: int) -> nn.Module:
    return build(architecture, seed).eval()


WAYS = {"module": from_core, "source": from_source}
ways = pytest.mark.parametrize("way", WAYS)
families = pytest.mark.parametrize("family", FAMILIES)


def trained(architecture: Architecture, seed: int) -> nn.Module:
    """Return a module with weights and running statistics that are not the initial ones."""
    module = build(architecture, seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    module(torch.rand(8, *architecture.input_shape))
    return module.eval()


def same_outputs(one: nn.Module, other: nn.Module, architecture: Architecture) -> bool:
    x = torch.rand(4, *architecture.input_shape)
    with torch.no_grad():
        return torch.allclose(one(x), other(x), rtol=1e-4, atol=1e-5)


@ways
@families
def test_weights_load_into_the_network_of_their_seed(family: str, way: str) -> None:
    architecture = network(family, SOME)
    theirs, ours = trained(architecture, 1), WAYS[way](architecture, 1)
    ours.load_state_dict(theirs.state_dict())
    assert same_outputs(ours, theirs, architecture)
    back = build(architecture, 1).eval()
    back.load_state_dict(ours.state_dict())
    assert same_outputs(back, theirs, architecture)


@ways
@families
def test_weights_of_another_seed_are_refused_with_cell_layer_and_seed(family: str, way: str) -> None:
    architecture = network(family, SOME)
    state, ours = trained(architecture, 1).state_dict(), WAYS[way](architecture, 0)
    cells = zip(draw_wiring(architecture, 0).cells, draw_wiring(architecture, 1).cells, strict=True)
    first = [next(j for j, (a, b) in enumerate(zip(*pair, strict=True)) if a != b) for pair in cells]
    names = ["cell", "later_cells.0"] if family == "densenet_mlp" else ["cells.0", "cells.1"]
    for strict in (True, False, True):  # a refusal leaves the wiring as it is: the next one is refused too
        with pytest.raises(RuntimeError, match="the wiring of another seed") as refused:
            ours.load_state_dict(state, strict=strict)
        for name, layer in zip(names, first, strict=True):
            assert f"{name}, layer {layer}: " in str(refused.value)
        assert "Missing key" not in str(refused.value)
        assert ("that of seed 0" in str(refused.value)) == (way == "source")
    again = WAYS[way](architecture, 0)
    again.load_state_dict(ours.state_dict())


@ways
@pytest.mark.parametrize("skip_channels", [ALL, NONE])
@families
def test_weights_of_every_seed_load_where_the_seed_does_not_change_the_wiring(
    family: str, skip_channels: int, way: str
) -> None:
    architecture = network(family, skip_channels)
    assert not depends_on_seed(architecture)
    theirs, ours = trained(architecture, 1), WAYS[way](architecture, 0)
    assert not [name for name in theirs.state_dict() if "wiring" in name]  # as stored by nnmass 0.1.0
    ours.load_state_dict(theirs.state_dict())
    assert same_outputs(ours, theirs, architecture)
    back = build(architecture, 2).eval()
    back.load_state_dict(ours.state_dict())
    assert same_outputs(back, theirs, architecture)


@ways
@families
def test_weights_without_wiring_are_refused_and_load_when_the_caller_knows_their_seed(family: str, way: str) -> None:
    """nnmass 0.1.0 stored weights without their wiring."""
    architecture = network(family, SOME)
    theirs, ours = trained(architecture, 1), WAYS[way](architecture, 1)
    old = {name: value for name, value in theirs.state_dict().items() if not name.endswith(".wiring")}
    assert len(old) < len(theirs.state_dict())
    for strict in (True, False):
        with pytest.raises(RuntimeError, match="do not contain their wiring") as refused:
            ours.load_state_dict(old, strict=strict)
    assert "{**module.state_dict(), **weights}" in str(refused.value)
    ours.load_state_dict({**ours.state_dict(), **old})
    assert same_outputs(ours, theirs, architecture)


@ways
def test_weights_of_the_head_alone_need_no_wiring(way: str) -> None:
    architecture = network("densenet_cnn", SOME)
    theirs, ours = trained(architecture, 1), WAYS[way](architecture, 0)
    head = {name: value for name, value in theirs.state_dict().items() if name.startswith("classifier")}
    missing, unexpected = ours.load_state_dict(head, strict=False)
    assert (unexpected, "cells.0.wiring" in missing) == ([], True)


@families
def test_the_wiring_in_the_state_is_the_one_drawn(family: str) -> None:
    architecture = network(family, SOME)
    state, drawn = build(architecture, 3).state_dict(), draw_wiring(architecture, 3)
    found = [value for name, value in state.items() if name.endswith(".wiring")]
    assert [value.tolist() for value in found] == [[n for layer in cell for n in layer] for cell in drawn.cells]
    assert all(value.dtype == torch.int64 for value in found)


@families
def test_a_seed_changes_the_wiring_exactly_where_the_state_has_it(family: str) -> None:
    for skip_channels in (0, 1, 19, 20, 21):  # a layer has at most 20 to choose from
        architecture = network(family, skip_channels)
        differs = len({draw_wiring(architecture, seed) for seed in range(5)}) > 1
        assert depends_on_seed(architecture) == differs, skip_channels
        assert any(name.endswith(".wiring") for name in build(architecture, 0).state_dict()) == differs
