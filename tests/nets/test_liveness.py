"""Peaks of closed forms against an independent liveness over the exported ONNX graph, and rules of the simulation."""

from __future__ import annotations

import io
from pathlib import Path
from random import Random
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")
onnx = pytest.importorskip("onnx", reason="onnx comes with the extra `train`")

from torch import Tensor, fx, nn  # noqa: E402

from nnmass_core.export.torch_files import write  # noqa: E402
from nnmass_core.families import decode_architecture  # noqa: E402
from nnmass_core.nets import build  # noqa: E402
from nnmass_core.nets.liveness import peak_elements, traced_peak  # noqa: E402
from nnmass_core.wiring import draw_wiring  # noqa: E402
from tests.conftest import at_most  # noqa: E402
from tests.nets import onnx_liveness  # noqa: E402
from tests.nets.random_networks import FAMILIES, random_network  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

NETWORKS, FEW = 200, 12
"""How many networks a family are tried, and how many where time is short."""

WRN: dict[str, Any] = {
    "family": "wide_resnet_cifar",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "stages": [{"channels": channels, "repeats": 1} for channels in (64, 128, 256)],
}


def densest(d: dict[str, Any]) -> dict[str, Any]:
    """Return a definition whose layers take all channels that they can; other families have no such choice."""
    if "cells" in d:
        return d | {"cells": [cell | {"skip_channels": 10**6} for cell in d["cells"]]}
    return d | {"skip_channels": 10**6} if "skip_channels" in d else d


def exported(d: dict[str, Any], seed: int) -> Any:
    """Return the ONNX graph of a network, by torch's older exporter: it takes a thirtieth of the time of the newer."""
    architecture, file = decode_architecture(d), io.BytesIO()
    example = torch.zeros(1, *architecture.input_shape)
    torch.onnx.export(build(architecture, seed).eval(), (example,), file, dynamo=False, opset_version=20)
    return onnx.load_from_string(file.getvalue())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_peak_of_a_network_holds_over_its_onnx_graph(family: str, pytestconfig: pytest.Config) -> None:
    rng, equal = Random(f"onnx peak {family}"), 0
    networks = NETWORKS if at_most(pytestconfig, NETWORKS) == NETWORKS else FEW
    for seed in range(networks):
        d = random_network(rng, family)
        d = densest(d) if seed % 2 else d
        architecture, walked = decode_architecture(d), onnx_liveness.peak(exported(d, seed))
        assert peak_elements(architecture, draw_wiring(architecture, seed)) == walked, d
        closed = architecture.evaluation.peak_elements
        assert closed >= walked, d
        if not architecture.evaluation.indices:  # no layer samples: all wirings are the same
            assert closed == walked, d
            equal += 1
    assert equal >= networks // 2


def test_a_shortcut_that_reads_the_raw_input_again_keeps_it_beside_its_activation(tmp_path: Path) -> None:
    """The first convolution of stage 2 has 64 x 1,024 raw and as many activated elements, and writes 128 x 256."""
    architecture = decode_architecture(WRN)
    write(architecture, 0, "onnx", tmp_path / "network.onnx")
    elements = 2 * 64 * 1024 + 128 * 256
    assert elements == 163_840
    assert architecture.evaluation.peak_elements == elements
    assert onnx_liveness.peak(onnx.load(tmp_path / "network.onnx")) == elements


class Reads(nn.Module):
    """An activation, and a linear layer that reads the activation's input too, before it or after it."""

    def __init__(self, *, again: bool) -> None:
        super().__init__()
        self.again, self.relu, self.linear = again, nn.ReLU(), nn.Linear(10, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return something."""
        before = self.linear(x)
        active = self.relu(x)
        last = self.linear(x) if self.again else active
        return before + last + active


@pytest.mark.parametrize(("again", "tensors"), [(False, 2), (True, 4)])
def test_an_activation_works_in_place_only_where_nobody_reads_its_input_later(again: bool, tensors: int) -> None:
    traced = fx.symbolic_trace(Reads(again=again).eval())
    assert traced_peak(traced, torch.empty(1, 10)) == 10 * tensors
