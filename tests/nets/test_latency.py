"""The operators that a family lists, against those that its built module runs; and the calibration of a device."""

from __future__ import annotations

import operator
import time
from collections import defaultdict
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from nnmass_core.architecture import Architecture
from nnmass_core.errors import NotPossible
from nnmass_core.families import decode_architecture
from nnmass_core.hardware.latency import KINDS, Operators
from nnmass_core.named.networks import named_networks
from nnmass_core.nets import build
from nnmass_core.nets.concatenation import concatenate, send
from nnmass_core.training import calibration, operators
from nnmass_core.training.calibration import Measured, Timed, calibrate, error_of, fit, in_company
from nnmass_core.training.operators import COUNTS, cases
from tests.core.networks import definition

CPU = torch.device("cpu")
MLP = {"family": "densenet_mlp", "in_features": 20, "num_classes": 3, "activation": "elu"}
SMALL_IMAGE = {"input": {"channels": 3, "height": 33, "width": 40}, "num_classes": 7}
NETWORKS: dict[str, dict[str, Any]] = {
    "dense": definition((3, 17, 20), 5, ((6, 5, 11), (9, 4, 40), (4, 1, 0))),
    "dense, no skips": definition((1, 8, 8), 2, ((6, 5, 0), (3, 2, 0))),
    "depthwise": definition((3, 17, 20), 5, ((6, 5, 11), (9, 4, 40), (4, 1, 0)), "densenet_cnn_depthwise"),
    "signal": definition((3, 1, 20), 5, ((6, 5, 11), (9, 4, 40), (4, 1, 0)), "densenet_cnn_depthwise"),
    "signal, dense": definition((3, 19, 1), 5, ((6, 5, 11), (9, 2, 0))),
    "mlp": MLP | {"width": 8, "depth": 6, "skip_channels": 12},
    "mlp, two layers": MLP | {"width": 8, "depth": 2, "skip_channels": 0},
    "mlp, several cells": {
        **MLP,
        "width": 8,
        "depth": 6,
        "skip_channels": 12,
        "batchnorm": 1,
        "later_cells": [{"width": w, "depth": d, "skip_channels": 9} for w, d in ((3, 1), (5, 2), (7, 4))],
    },
    "mobilenet": {
        **SMALL_IMAGE,
        "family": "mobilenet_v2",
        "stem_channels": 8,
        "last_channels": 24,
        "stages": [
            {"expansion": 1, "channels": 8, "repeats": 2, "stride": 1},
            {"expansion": 4, "channels": 12, "repeats": 3, "stride": 2},
        ],
    },
    "convnext": {
        **SMALL_IMAGE,
        "family": "convnext",
        "stages": [{"channels": 8, "repeats": 2}, {"channels": 12, "repeats": 1}],
    },
    "convnext of pixels": {
        **SMALL_IMAGE,
        "family": "convnext",
        "patch": 1,
        "expansion": 3,
        "stages": [{"channels": 8, "repeats": 1}, {"channels": 8, "repeats": 2}],
    },
    "dense blocks": {
        **SMALL_IMAGE,
        "family": "densenet_bc",
        "stem_channels": 16,
        "growth": 6,
        "stages": [{"layers": 3}, {"layers": 1}, {"layers": 2}],
    },
    "plain dense blocks": {
        **SMALL_IMAGE,
        "family": "densenet_bc",
        "stem": "small",
        "stem_channels": 16,
        "growth": 6,
        "bottleneck": 0,
        "compression": 100,
        "stages": [{"layers": 3}, {"layers": 2}],
    },
    "separable": {
        **SMALL_IMAGE,
        "family": "mobilenet_v1",
        "stem_channels": 8,
        "stages": [{"channels": 12, "repeats": 3, "stride": 2}],
    },
    "kernels and squeeze-and-excitation": {
        **SMALL_IMAGE,
        "family": "mobilenet_v2",
        "stem_channels": 8,
        "last_channels": 24,
        "stages": [
            {"expansion": 1, "channels": 8, "repeats": 2, "stride": 1, "kernel": 5, "se": 4},
            {"expansion": 4, "channels": 12, "repeats": 3, "stride": 2, "kernel": 7},
            {"expansion": 3, "channels": 10, "repeats": 2, "stride": 1, "se": 64},
        ],
        "activation": "silu",
        "stem_stride": 1,
    },
    "grouped": {
        **SMALL_IMAGE,
        "family": "resnet",
        "block": "bottleneck",
        "stages": [{"channels": 16, "repeats": 2}, {"channels": 32, "repeats": 1}],
        "groups": 4,
        "width_per_group": 16,
    },
    "of small images": {
        **SMALL_IMAGE,
        "family": "resnet",
        "block": "basic",
        "stages": [{"channels": 8, "repeats": 2}, {"channels": 12, "repeats": 1}],
        "stem": "small",
        "stem_channels": 8,
        "bias": 1,
        "projection_norm": 0,
    },
    "regnet": {
        **SMALL_IMAGE,
        "family": "resnet",
        "block": "regnet_x",
        "stages": [{"channels": 8, "repeats": 2}, {"channels": 16, "repeats": 1}, {"channels": 48, "repeats": 2}],
        "width_per_group": 16,
        "stem": "halving",
        "first_stride": 2,
    },
    "wide": {
        **SMALL_IMAGE,
        "family": "wide_resnet_cifar",
        "stages": [{"channels": c, "repeats": n} for c, n in ((16, 2), (24, 1), (24, 2))],
    },
}


def reported(network: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the figures of each kind of operator that a network says it runs."""
    total: dict[str, list[int]] = defaultdict(lambda: [0] * 6)
    for part in network.work() or ():
        for each in part:
            total[each.kind] = [a + b for a, b in zip(total[each.kind], each[1:], strict=True)]
    return {kind: tuple(figures) for kind, figures in total.items() if figures[0]}


def ran(network: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the figures of each kind of operator in the traced module."""
    module = fx.symbolic_trace(build(network, 0).eval())
    ShapeProp(module).propagate(torch.zeros(1, *network.input_shape))
    total: dict[str, list[int]] = defaultdict(lambda: [0] * 6)
    for node in module.graph.nodes:
        found = figures_of(module, node)
        if found is not None:
            kind, figures = found
            total[kind] = [a + b for a, b in zip(total[kind], figures, strict=True)]
    return {kind: tuple(figures) for kind, figures in total.items()}


def size(node: Any) -> int:
    return int(node.meta["tensor_meta"].shape.numel())


PLAIN: dict[Any, str] = {
    (nn.BatchNorm1d, nn.BatchNorm2d): "normalise",
    (nn.LayerNorm,): "layer_norm",
    (nn.ReLU, nn.ReLU6, nn.ELU, nn.GELU, nn.Hardswish, nn.SiLU, nn.Sigmoid): "activate",
    (nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d): "pool",
}


def figures_of(module: fx.GraphModule, node: fx.Node) -> tuple[str, tuple[int, ...]] | None:
    if node.op in ("placeholder", "output", "get_attr"):
        return None
    layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
    if layer is None:
        return figures_of_call(node)
    read, written = size(node.args[0]), size(node)
    if isinstance(layer, nn.Conv2d):
        weights = layer.weight.numel()
        return kind_of(layer), (1, weights * written // layer.out_channels, read, written, weights, 0)
    if isinstance(layer, nn.Linear):
        macs, of_maps = layer.weight.numel() * written // layer.out_features, node.meta["tensor_meta"].shape[1:-1]
        kind = "convolution_1x1" if of_maps else "linear"
        return kind, (1, macs, read, written, layer.weight.numel(), 0)
    plain = next((kind for kinds, kind in PLAIN.items() if isinstance(layer, kinds)), None)
    assert plain or isinstance(layer, nn.Dropout | nn.Identity | nn.Flatten), f"no rule for {layer}"
    return (plain, (1, 0, read, written, 0, 0)) if plain else None


def kind_of(layer: nn.Conv2d) -> str:
    """Return the kind of operator that a convolution is."""
    kernel = max(layer.kernel_size)
    if kernel > 1 and layer.stride == layer.kernel_size:
        return "patches"
    kind = "convolution" if layer.groups == 1 else "depthwise" if layer.groups == layer.in_channels else "grouped"
    return f"{kind}_{kernel}x{kernel}"


def figures_of_call(node: fx.Node) -> tuple[str, tuple[int, ...]] | None:
    if node.target in (operator.add, operator.iadd, operator.mul):
        return "add", (1, 0, size(node), size(node), 0, 0)
    if node.target is functional.layer_norm:
        return "layer_norm", (1, 0, size(node), size(node), 0, 0)
    if node.target is functional.adaptive_avg_pool2d:
        return "pool", (1, 0, size(node.args[0]), size(node), 0, 0)
    if node.target is concatenate:
        return "concatenate", (1, 0, size(node), size(node), 0, len(node.args[1]))  # type: ignore[arg-type]
    if node.target is send:
        output, _, sizes = node.args
        shape = output.meta["tensor_meta"].shape  # type: ignore[union-attr]
        moved = sum(sizes) * shape.numel() // shape[1]  # type: ignore[arg-type]
        return "send", (1, 0, moved, moved, 0, len(sizes))  # type: ignore[arg-type]
    assert node.target in (operator.getitem, torch.flatten, "flatten", torch.permute, "permute"), (
        f"no rule for {node.target}"
    )
    return None


@pytest.mark.parametrize("name", NETWORKS)
def test_the_operators_of_a_family_equal_those_that_its_module_runs(name: str) -> None:
    compare(decode_architecture(NETWORKS[name]))


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "resnet50", "resnext50_32x4d", "convnext_tiny"])
def test_the_operators_of_named_networks_equal_those_that_their_modules_run(name: str) -> None:
    compare(named_networks()[name])


def compare(network: Architecture) -> None:
    listed, found = reported(network), ran(network)
    assert listed.keys() == found.keys()
    for kind in listed:
        if kind in ("send", "concatenate"):  # a wiring may miss a layer: what moves is exact, the pieces a bound
            assert listed[kind][1:5] == found[kind][1:5]
            assert found[kind][0] <= listed[kind][0]
            assert found[kind][5] <= listed[kind][5] <= 2 * found[kind][5]
        else:
            assert listed[kind] == found[kind], kind


# calibration


def test_operators_of_every_kind_are_timed() -> None:
    found = list(cases(0, CPU))
    assert {case.work.kind for case in found} == set(KINDS) == set(COUNTS)
    assert all(len({case.work for case in found if case.work.kind == kind}) > 4 for kind in KINDS)
    with torch.inference_mode():
        for case in found[::7]:
            given = case.run()
            if isinstance(given, torch.Tensor):
                assert given.numel() == case.work.written


def planted(work: Operators) -> Any:
    """Return the nanoseconds that an operator takes on a machine that does not exist."""
    return 4000.0 + 0.02 * work.macs + 0.3 * work.written + 250.0 * work.pieces


def test_fitted_prices_equal_the_planted_ones() -> None:
    times = [Timed(case.work.kind, tuple(case.work[1:]), planted(case.work)) for case in cases(1, CPU)]
    found = {one.kind: one for one in fit(times)}
    for case in cases(2, CPU):
        prices = found[case.work.kind].prices
        estimated = sum(price * figure for price, figure in zip(prices, case.work[1:], strict=True))
        assert estimated == pytest.approx(planted(case.work), rel=0.02)


def test_fitted_factors_reproduce_the_latency_of_whole_networks() -> None:
    times = [Timed(case.work.kind, tuple(case.work[1:]), planted(case.work)) for case in cases(1, CPU)]
    alone = fit(times)
    networks = [decode_architecture(one) for one in NETWORKS.values()]
    slower = dict.fromkeys(KINDS, 1.4) | dict.fromkeys(("send", "concatenate"), 2.0)

    def takes(network: Architecture, prices: dict[str, tuple[float, ...]], factors: dict[str, float]) -> float:
        total = 0.0
        for kind, figures in reported(network).items():
            total += factors[kind] * sum(p * n for p, n in zip(prices[kind], figures, strict=True)) / 1e6
        return total

    measured = [takes(network, {one.kind: one.prices for one in alone}, slower) for network in networks]
    found = {one.kind: one.prices for one in in_company(alone, networks, measured)}
    for network, milliseconds in zip(networks, measured, strict=True):
        assert takes(network, found, dict.fromkeys(KINDS, 1.0)) == pytest.approx(milliseconds, rel=0.03)


def test_the_error_and_the_band_come_from_the_measured_networks() -> None:
    network = decode_architecture(NETWORKS["mlp"])
    shares = (0.8, 0.9, 1.0, 1.1, 1.25)
    found = error_of(tuple(Measured(network, 1.0, share) for share in shares))
    assert (found.networks, found.families, found.band_low, found.band_high) == (5, 1, 0.8, 1.25)
    assert found.median_error == pytest.approx(1 / 0.9 - 1)
    assert found.coverage == pytest.approx(4 / 6)


def test_calibration_of_this_machine_gives_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way, with few operators and networks: what is measured here is not judged."""
    monkeypatch.setattr(operators, "COUNTS", dict.fromkeys(COUNTS, 6))
    monkeypatch.setattr(calibration, "COUNTS", dict.fromkeys(COUNTS, 6))
    monkeypatch.setattr(calibration, "SPACES", ("mobilenet-v2-tiny-free", "resnet-tiny-free"))
    monkeypatch.setattr(calibration, "HELD_OUT_EACH", 2)
    heard: list[float] = []
    threads = torch.get_num_threads()
    found = calibrate(time.perf_counter, lambda fraction, message: heard.append(fraction), machine="a machine")
    assert torch.get_num_threads() == threads
    assert heard == sorted(heard)
    assert 0 <= heard[0] < heard[-1] <= 1
    assert {one.kind for one in found.model.operators} == set(KINDS)
    assert (found.model.machine, found.model.threads) == ("a machine", 1)
    assert found.model.runtime == f"torch {torch.__version__}"
    assert len(found.networks) == found.model.held_out.networks >= 4
    for one in found.networks:
        assert one.estimated > 0
        assert found.model.held_out.band_low <= one.share <= found.model.held_out.band_high


def test_calibration_of_a_missing_device_is_refused() -> None:
    with pytest.raises(NotPossible, match="torch finds no device cuda:99"):
        calibrate(time.perf_counter, lambda fraction, message: None, device="cuda:99")
