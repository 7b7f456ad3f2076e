"""Scores and gradients of concatenation networks are those of the specification's words, in double precision."""

from __future__ import annotations

from random import Random

import pytest

from tests.parsed import parsed

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

from torch import Tensor, nn  # noqa: E402

from nnmass_core.families import decode_architecture  # noqa: E402
from nnmass_core.nets import assemble, build  # noqa: E402
from nnmass_core.wiring import draw_wiring  # noqa: E402
from tests.nets import plain  # noqa: E402
from tests.nets.random_networks import random_network  # noqa: E402

CONCATENATING = ("densenet_cnn", "densenet_cnn_depthwise", "densenet_mlp")
NETWORKS = 40


def gradients(module: nn.Module, scores: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*module.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(scores.square().sum(), parameters), strict=True))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("family", CONCATENATING)
def test_scores_and_gradients_equal_those_of_the_specification(family: str, training: bool) -> None:
    rng = Random(f"specification {family}")
    for seed in range(NETWORKS):
        architecture = decode_architecture(random_network(rng, family))
        module = build(architecture, seed).double()
        x = torch.randn(
            4, *architecture.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
        )
        module(x + 1)  # so that no running statistic is what it began with
        module.train(training)
        state = dict(module.state_dict()) | dict(module.named_parameters())
        wiring = parsed(draw_wiring(architecture, seed).to_json())["cells"]
        expected = plain.run(architecture.definition(), wiring, state, x, training=training)
        found = module(x)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-8)
        torch.testing.assert_close(gradients(module, found), gradients(module, expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", CONCATENATING)
def test_running_statistics_equal_those_of_the_batches(family: str) -> None:
    """A channel that several layers sample is normalized by each of them, with the same moments."""
    rng = Random(f"statistics {family}")
    architecture = decode_architecture(random_network(rng, family))
    module = build(architecture, 0).double()
    maps: dict[nn.Module, Tensor] = {}
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.register_forward_hook(lambda norm, inputs, _: maps.__setitem__(norm, inputs[0].detach()))
    module(torch.randn(4, *architecture.input_shape, dtype=torch.float64))
    assert bool(maps) == (family != "densenet_mlp")
    for norm, seen in maps.items():
        torch.testing.assert_close(norm.running_mean, 0.1 * seen.mean((0, 2, 3)))


@pytest.mark.parametrize("family", CONCATENATING)
def test_the_wiring_changes_scores_and_not_the_names_of_weights(family: str) -> None:
    cell = {"width": 5, "depth": 6, "skip_channels": 7}
    image = {"input": {"channels": 3, "height": 8, "width": 8}, "num_classes": 4, "cells": [cell]}
    flat = {"in_features": 9, "num_classes": 4, "activation": "elu", **cell}
    architecture = decode_architecture({"family": family} | (flat if family == "densenet_mlp" else image))
    one, other = (assemble(architecture, draw_wiring(architecture, seed)).eval() for seed in (1, 2))
    weights = {name: value for name, value in one.state_dict().items() if not name.endswith(".wiring")}
    other.load_state_dict({**other.state_dict(), **weights})
    x = torch.rand(3, *architecture.input_shape)
    assert not torch.equal(one(x), other(x))
