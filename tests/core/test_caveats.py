"""Caveats of networks and rankings: each threshold is met exactly, one step before it and one step after it."""

from __future__ import annotations

from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.families import caveats_of, decode_architecture, decode_space
from nnmass_core.named.networks import named_networks
from nnmass_core.named.presets import presets, resolve_space
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import search
from tests.core.latencies import DEVICE

Definition = dict[str, Any]


def image(side: int, width: int | None = None) -> Definition:
    return {"channels": 3, "height": side, "width": width or side}


def dense(family: str, side: int, *cells: tuple[int, int, int]) -> Definition:
    listed = [{"width": w, "depth": d, "skip_channels": t} for w, d, t in cells]
    return {"family": family, "input": image(side), "num_classes": 4, "cells": listed}


def mlp(width: int) -> Definition:
    shape = {"width": width, "depth": 8, "skip_channels": 1, "activation": "relu"}
    return {"family": "densenet_mlp", "in_features": 9, "num_classes": 4, **shape}


def staged(family: str, side: int, *stages: tuple[int, int], **more: Any) -> Definition:
    listed = [{"channels": c, "repeats": r} for c, r in stages]
    return {"family": family, "input": image(side), "num_classes": 4, "stages": listed, **more}


def mobilenet(side: int, *stages: tuple[int, int, int, int], stem: int = 8, last: int = 8) -> Definition:
    names = ("expansion", "channels", "repeats", "stride")
    listed = [dict(zip(names, stage, strict=True)) for stage in stages]
    ends = {"stem_channels": stem, "last_channels": last}
    return {"family": "mobilenet_v2", "input": image(side), "num_classes": 4, **ends, "stages": listed}


def found(definition: Definition) -> tuple[str, ...]:
    return caveats_of(decode_architecture(definition))


COLLAPSED = mobilenet(
    32,
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    stem=32,
    last=1280,
)


@pytest.mark.parametrize(
    ("definition", "small", "of", "stated"),
    [
        (dense("densenet_cnn", 4, (8, 4, 0), (8, 2, 0)), 2, 6, False),
        (dense("densenet_cnn", 4, (8, 4, 0), (8, 3, 0)), 3, 7, True),
        (dense("densenet_cnn", 5, (8, 4, 0), (8, 3, 0)), 0, 7, False),
        (dense("densenet_cnn_depthwise", 4, (8, 4, 0), (8, 2, 0)), 2, 6, False),
        (dense("densenet_cnn_depthwise", 4, (8, 4, 0), (8, 3, 0)), 3, 7, True),
        (staged("resnet", 16, (64, 2), (64, 1), block="basic"), 2, 7, False),
        (staged("resnet", 16, (64, 1), (64, 1), block="basic"), 2, 5, True),
        (staged("resnet", 16, (64, 1), (64, 1), block="bottleneck"), 2, 7, False),
        (staged("resnet", 16, (64, 1), (64, 2), block="bottleneck"), 5, 10, True),
        (staged("wide_resnet_cifar", 8, (8, 1), (8, 1), (8, 1)), 2, 7, False),
        (staged("wide_resnet_cifar", 8, (8, 1), (8, 1), (8, 2)), 4, 9, True),
        (mobilenet(8, (6, 8, 3, 1), (1, 8, 2, 2)), 5, 15, False),
        (mobilenet(8, (6, 8, 3, 1), (1, 8, 3, 2)), 7, 17, True),
        (COLLAPSED, 33, 52, True),
    ],
)
def test_more_than_a_third_of_the_layers_with_small_maps_is_a_caveat(
    definition: Definition, small: int, of: int, *, stated: bool
) -> None:
    layers = decode_architecture(definition).layer_shapes()
    assert layers is not None
    assert len(layers) == decode_architecture(definition).evaluation.depth == of
    assert sum(layer.size in ((1, 1), (1, 2), (2, 1), (2, 2)) for layer in layers) == small
    assert ("maps_up_to_2x2" in found(definition)) == stated == (3 * small > of)


def test_a_map_counts_as_small_if_both_its_sides_are() -> None:
    narrow = dense("densenet_cnn", 4, (8, 1, 0), (8, 3, 0)) | {"input": image(4, 40)}
    assert "maps_up_to_2x2" not in found(narrow)
    assert "maps_up_to_2x2" not in found(mlp(8))


@pytest.mark.parametrize(
    ("seven", "eight"),
    [
        (dense("densenet_cnn", 16, (7, 3, 0)), dense("densenet_cnn", 16, (8, 3, 0))),
        (dense("densenet_cnn", 16, (16, 3, 0), (7, 3, 0)), dense("densenet_cnn", 16, (16, 3, 0), (8, 3, 0))),
        (dense("densenet_cnn_depthwise", 16, (7, 3, 0)), dense("densenet_cnn_depthwise", 16, (8, 3, 0))),
        (mlp(7), mlp(8)),
        (staged("resnet", 64, (7, 1), block="basic"), staged("resnet", 64, (8, 1), block="basic")),
        (
            staged("resnet", 64, (16, 1), block="bottleneck", width_per_group=28),
            staged("resnet", 64, (16, 1), block="bottleneck", width_per_group=32),
        ),
        (
            staged("wide_resnet_cifar", 32, (8, 1), (7, 1), (8, 1)),
            staged("wide_resnet_cifar", 32, (8, 1), (8, 1), (8, 1)),
        ),
        (mobilenet(32, (6, 7, 1, 1)), mobilenet(32, (6, 8, 1, 1))),
        (mobilenet(32, (6, 8, 1, 1), stem=7), mobilenet(32, (6, 8, 1, 1), stem=8)),
        (mobilenet(32, (6, 8, 1, 1), last=7), mobilenet(32, (6, 8, 1, 1), last=8)),
    ],
)
def test_fewer_than_eight_channels_are_a_caveat(seven: Definition, eight: Definition) -> None:
    assert found(seven) == ("channels_below_8",)
    assert found(eight) == ()


def test_expansions_that_are_all_one_are_a_caveat() -> None:
    assert found(mobilenet(32, (1, 8, 1, 1), (1, 16, 2, 2))) == ("expansions_all_1",)
    assert found(mobilenet(32, (1, 8, 1, 1), (2, 16, 2, 2))) == ()


@pytest.mark.parametrize("family", ["densenet_cnn", "densenet_cnn_depthwise"])
def test_a_density_above_that_of_published_networks_is_a_caveat(family: str) -> None:
    """A cell of width 8 and depth 4 has 24 possible links; t = 8 makes 16 of them, t = 10 makes 18, t = 11 makes 19."""
    assert found(dense(family, 16, (8, 4, 10))) == ()
    assert found(dense(family, 16, (8, 4, 11))) == ("density_above_evidence",)
    assert found(mlp(8)) == ()
    assert found(mlp(8) | {"skip_channels": 8}) == ("density_above_evidence",)


def test_well_known_networks_at_their_own_resolution_have_no_caveats() -> None:
    assert {name: caveats_of(network) for name, network in named_networks().items()} == dict.fromkeys(
        named_networks(), ()
    )


def caveats(space: Any, objective: Objective | None = None, **budget: Any) -> tuple[str, ...]:
    """Return the caveats of a search that depend on its budget."""
    request = SearchRequest(
        space=decode_space(space) if isinstance(space, dict) else resolve_space(space),
        budget=Budget(**budget),
        objective=objective or Maximize(),
    )
    return tuple(code for code in search(request).certificate.caveats if code == "limits_used_below_60")


@pytest.mark.parametrize("name", [name for name in presets() if "free" not in name])
def test_less_than_60_percent_of_every_limit_is_a_caveat(name: str) -> None:
    request = SearchRequest(space=resolve_space(name), budget=Budget(), top_k=1)
    best = search(request).ranking[0].evaluation
    params, macs = 5 * best.params // 3, 5 * best.macs // 3
    assert caveats(name, max_params=params) == ()
    assert caveats(name, max_params=params + 1) == ("limits_used_below_60",)
    assert caveats(name, max_params=params + 1, max_macs=macs) == ()
    assert caveats(name, max_params=params + 1, max_macs=macs + 1) == ("limits_used_below_60",)
    assert caveats(name) == ()


def test_unused_limits_are_no_caveat_of_a_minimum_or_a_front() -> None:
    wide = {"max_params": 10**9, "max_macs": 10**12}
    assert caveats("densenet-tiny-free", Maximize(), **wide) == ("limits_used_below_60",)
    assert caveats("densenet-tiny-free", Minimize("macs", 10.0), **wide) == ()
    assert caveats("densenet-tiny-free", Pareto(("params",)), **wide) == ()


def test_a_limit_on_latency_counts_as_the_others_do() -> None:
    space = dense("densenet_cnn", 16, (8, 4, 8)) | {"cells": 1, "width": 8, "depth": 4, "skip_channels": 8}
    request = SearchRequest(space=decode_space(space), budget=Budget(device=DEVICE))
    (only,) = search(request).ranking
    assert only.latency is not None
    bound = only.latency.milliseconds / 0.6
    assert caveats(space, device=DEVICE, max_latency_ms=bound * 0.999) == ()
    assert caveats(space, device=DEVICE, max_latency_ms=bound * 1.001) == ("limits_used_below_60",)


def test_a_ranking_has_the_caveats_of_all_its_networks() -> None:
    space = dense("densenet_cnn", 4) | {"cells": 2, "width": [[8], [7, 8]], "depth": [4, [2, 3]], "skip_channels": 0}
    answer = search(SearchRequest(space=decode_space(space), budget=Budget()))
    of_each = [caveats_of(ranked.architecture) for ranked in answer.ranking]
    assert [ranked.caveats for ranked in answer.ranking] == of_each
    assert sorted(of_each) == [(), ("channels_below_8",), ("maps_up_to_2x2",), ("maps_up_to_2x2", "channels_below_8")]
    assert answer.certificate.caveats == ("no_limits", "widths_differ", "maps_up_to_2x2", "channels_below_8")
    nothing = search(SearchRequest(space=decode_space(space), budget=Budget(max_params=1)))
    assert nothing.certificate.caveats == ()
