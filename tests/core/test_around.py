"""Spaces around a reference: the networks that multipliers of width and depth make of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

import pytest

from nnmass_core.architecture import Architecture, Evaluation
from nnmass_core.budget import Budget
from nnmass_core.errors import DefinitionError
from nnmass_core.families import FAMILIES, decode_architecture
from nnmass_core.families.proportional import ProportionalSpace
from nnmass_core.families.wide_resnet_cifar import WideResNetCifar
from nnmass_core.named.networks import named_network, named_networks
from nnmass_core.named.presets import resolve_space, resolve_spaces
from nnmass_core.named.scaling import KEPT_BY_DEFAULT, around
from nnmass_core.request import Find, Maximize, Minimize, Pareto, SearchRequest
from nnmass_core.search import chain_of, search
from nnmass_core.spaces.multipliers import Separate, nearest_multiple, scaled_channels, scaled_number
from nnmass_core.spaces.structure import Structure
from tests.core.latencies import model

OWN = [name for name in KEPT_BY_DEFAULT if name != "proportions"]
"""What is kept where each stage has its own multipliers."""

CELLS = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "cells": [
        {"width": 16, "depth": 13, "skip_channels": 40},
        {"width": 32, "depth": 13, "skip_channels": 80},
        {"width": 64, "depth": 13, "skip_channels": 100},
    ],
}
WIDE = {
    "family": "wide_resnet_cifar",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "stages": [{"channels": c, "repeats": 2} for c in (32, 64, 128)],
}
MLP = {
    "family": "densenet_mlp",
    "in_features": 784,
    "num_classes": 10,
    "width": 24,
    "depth": 8,
    "skip_channels": 30,
    "activation": "relu",
}
UNNAMED = {
    "densenet_cnn": CELLS,
    "densenet_cnn_depthwise": CELLS | {"family": "densenet_cnn_depthwise"},
    "densenet_mlp": MLP,
    "wide_resnet_cifar": WIDE,
}
"""A network of each family without a named one."""

SMALL: dict[str, Any] = {"width": [0.5, 1, 1.3], "depth": [0.5, 1, 2]}


@cache
def references() -> dict[str, Architecture]:
    return named_networks() | {name: decode_architecture(form) for name, form in UNNAMED.items()}


def scaled_stages(definition: Mapping[str, Any], width: float, depth: float) -> list[dict[str, Any]]:
    """Return stages as torchvision scales them, written anew: floats, and its own rounding."""

    def divisible(value: float) -> int:
        new = max(8, int(value + 4) // 8 * 8)
        return new + 8 if new < 0.9 * value else new

    return [
        {**stage, "channels": divisible(stage["channels"] * width), "repeats": -int(-(stage["repeats"] * depth) // 1)}
        for stage in definition["stages"]
    ]


def merged(stages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return stages with runs of equal blocks as one, written anew."""
    found: list[dict[str, Any]] = []
    for stage in stages:
        if found and stage.get("stride") == 1 and stage == {**found[-1], "repeats": stage["repeats"], "stride": 1}:
            found[-1] = {**found[-1], "repeats": found[-1]["repeats"] + stage["repeats"]}
        else:
            found.append(stage)
    return found


def test_every_family_has_a_reference_here() -> None:
    assert {network.family for network in references().values()} == {*FAMILIES}


@pytest.mark.parametrize("name", [*named_networks(), *UNNAMED])
def test_a_reference_is_in_the_spaces_around_it(name: str) -> None:
    reference = references()[name]
    only = around(reference, width=1, depth=1).spaces[0]
    assert isinstance(only, ProportionalSpace)
    assert [network.arch_id for network in only.networks] == [reference.arch_id]
    assert only.chain().count() == 1
    more = around(reference, width=[0.75, 1], depth=[0.5, 1]).spaces[0]
    assert isinstance(more, ProportionalSpace)
    assert reference in more.networks
    if isinstance(reference, Separate):
        alone = around(reference, [*OWN, "channels", "repeats"])
        found = search(SearchRequest(space=alone, budget=Budget(), top_k=2)).ranking
        assert [ranked.architecture.arch_id for ranked in found] == [reference.arch_id]


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50", "regnet_x_400mf", "mlperf-tiny-kws", "wide_resnet_cifar"])
def test_a_reference_is_among_networks_whose_stages_have_their_own_multipliers(name: str) -> None:
    reference = references()[name]
    exactly = {
        f"{end}_{cost}": getattr(reference.evaluation, cost) for end in ("min", "max") for cost in ("params", "macs")
    }
    space = around(reference, OWN, width=[0.75, 1, 1.25], depth=[0.5, 1, 2])
    found = search(SearchRequest(space=space, budget=Budget(**exactly), top_k=100))
    assert reference.arch_id in {ranked.architecture.arch_id for ranked in found.ranking}


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "mobilenet_v1", "efficientnet_b0"])
def test_stages_with_multipliers_of_their_own_are_all_combinations(name: str) -> None:
    reference = named_network(name)
    form = reference.definition()
    short: dict[str, Any] = {**form, "stages": form["stages"][:3]}  # type: ignore[index]
    reference = decode_architecture(short)
    scaled = [scaled_stages(short, w, d) for w, d in itertools.product(SMALL["width"], SMALL["depth"])]
    choices = [{tuple(stages[place].items()) for stages in scaled} for place in range(3)]
    every = (merged(map(dict, stages)) for stages in itertools.product(*choices))
    expected = {decode_architecture(short | {"stages": stages}).arch_id for stages in every}
    space = around(reference, OWN, **SMALL)
    assert space.spaces[0].chain().count() == len(expected)
    found = search(SearchRequest(space=space, budget=Budget(), top_k=1000))
    assert expected == {ranked.architecture.arch_id for ranked in found.ranking}


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b1", "resnet50"])
def test_one_multiplier_for_all_stages_makes_these_networks(name: str) -> None:
    reference = references()[name]
    space = around(reference, **SMALL).spaces[0]
    assert isinstance(space, ProportionalSpace)
    form, pairs = reference.definition(), itertools.product(SMALL["width"], SMALL["depth"])
    expected = {decode_architecture(form | {"stages": scaled_stages(form, w, d)}).arch_id for w, d in pairs}
    assert {network.arch_id for network in space.networks} == expected
    assert space.chain().count() == len(space.networks) == 9


def test_groups_divide_the_channels_of_every_network() -> None:
    regnet = around(named_network("regnet_x_400mf"), width=[0.5, 1.3], depth=1).spaces[0]
    assert [network.widths for network in regnet.networks] == [(16, 32, 80, 208), (48, 80, 208, 528)]  # type: ignore[attr-defined]
    narrow = around(named_network("regnet_x_8gf"), width=[0.5, 1.5], depth=1).spaces[0]  # one group of 120 or fewer
    assert [network.widths for network in narrow.networks] == [(40, 120, 360, 960), (120, 360, 1080, 2880)]  # type: ignore[attr-defined]
    grouped = around(named_network("resnext50_32x4d"), width=0.1, depth=1).spaces[
        0
    ]  # 16 have one inner channel a group
    assert [network.widths for network in grouped.networks] == [(16, 16, 24, 48)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnext50_32x4d", "mobilenet_v1", "densenet_cnn", "mlperf-tiny-ad"])
def test_the_chain_has_the_figures_of_each_network(name: str) -> None:
    space = around(references()[name], **SMALL).spaces[0]
    assert isinstance(space, ProportionalSpace)
    largest = space.largest().evaluation
    times = model()
    chain = chain_of(space, times)
    columns = chain.quantities
    layers = space.layers(chain)
    for number, network in enumerate(space.networks):
        path = [number] * len(chain.stages)
        total = sum(stage.additive[number] for stage in chain.stages)
        row = dict(zip(columns, total.tolist(), strict=True))
        found = network.evaluation
        assert chain.path_mass(path) == found.mass
        assert [row[cost] for cost in ("params", "macs", "weights")] == [found.params, found.macs, found.weights]
        assert row["indices"] == found.indices
        assert row["latency"] == sum(times.nanoseconds(part) for part in network.work() or ())
        assert max(stage.peak[number] for stage in chain.stages) == found.peak_elements <= largest.peak_elements
        assert sum(each[number] for each in layers) == found.depth
        assert found.params <= largest.params
        assert found.macs <= largest.macs
        assert space.architecture([int(n) for stage in chain.stages for n in stage.integers[number]]) == network


def questions() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "mobilenet_v2", {"objective": Maximize(), "top_k": 4}
    yield "resnet18", {"objective": Minimize("params", 2000.0), "top_k": 3}
    yield "densenet_cnn", {"objective": Maximize(), "top_k": 20, "diversity": "shape"}
    yield "regnet_x_400mf", {"objective": Pareto(("macs",))}


@pytest.mark.parametrize(("name", "asked"), [*questions()])
def test_searches_answer_as_a_list_of_all_networks(name: str, asked: dict[str, Any]) -> None:
    space = around(references()[name], width=[0.5, 0.75, 1, 1.25], depth=[0.5, 1, 1.5]).spaces[0]
    assert isinstance(space, ProportionalSpace)
    macs = sorted(network.evaluation.macs for network in space.networks)[len(space.networks) * 2 // 3]
    fitting = [network for network in space.networks if network.evaluation.macs <= macs]
    result = search(SearchRequest(space=space, budget=Budget(max_macs=macs), **asked))
    assert result.certificate.optimal
    assert result.certificate.space_size == len(space.networks)
    found = [ranked.architecture for ranked in result.ranking]
    objective = asked["objective"]
    if isinstance(objective, Minimize):
        wanted = [one for one in fitting if one.evaluation.mass >= 2000]
        expected = sorted(one.evaluation.params for one in wanted)[:3]
        assert [one.evaluation.params for one in found] == expected
    elif isinstance(objective, Pareto):
        points = [(one.evaluation.macs, one.evaluation.mass) for one in fitting]
        best = [p for p in points if not any(o != p and o[0] <= p[0] and o[1] >= p[1] for o in points)]
        assert [(one.evaluation.macs, one.evaluation.mass) for one in found] == sorted(set(best))
    else:
        masses = sorted((one.evaluation.mass for one in fitting), reverse=True)
        assert [one.evaluation.mass for one in found] == masses[: asked["top_k"]]


@dataclass(frozen=True, kw_only=True)
class WithoutRepeats(WideResNetCifar):
    """A network whose parts say nothing about blocks, as those of a package may."""

    def evaluate(self) -> Evaluation:
        found = super().evaluate()
        return replace(found, parts=tuple(replace(part, definition=self.input) for part in found.parts))


def test_parts_need_not_have_blocks() -> None:
    wide = references()["wide_resnet_cifar"]
    assert isinstance(wide, WideResNetCifar)
    plain = WithoutRepeats(input=wide.input, num_classes=wide.num_classes, stages=wide.stages)
    chain = around(plain, width=[0.5, 1], depth=[0.5, 1]).spaces[0].chain()
    assert chain.count() == 4
    assert len({*chain.stages[0].integers[:, 1].tolist()}) == 2  # shapes differ in widths alone


def test_widths_and_densities_are_limited_in_proportional_spaces() -> None:
    space = around(references()["densenet_cnn"], width=[0.5, 1, 2], depth=[0.3, 1, 2])
    dense = SearchRequest(space=space, budget=Budget(max_density=0.38), top_k=100)
    every = SearchRequest(space=space, budget=Budget(), top_k=100)
    kept = [
        ranked
        for ranked in search(every).ranking
        if all(part.density is not None and part.density <= Fraction(38, 100) for part in ranked.evaluation.parts)
    ]
    found = search(dense).ranking
    assert 0 < len(found) < len(search(every).ranking)
    assert [one.architecture for one in found] == [one.architecture for one in kept]
    rising = SearchRequest(space=space, budget=Budget(), structure=Structure(widths="never_fall"), top_k=100)
    assert len(search(rising).ranking) == len(search(every).ranking)
    equal = SearchRequest(space=space, budget=Budget(), structure=Structure(widths="equal"))
    assert search(equal).certificate.feasible is False


SCALED = {
    # torchvision's parameters of its own multipliers: mobilenet_v2(width_mult=...), mnasnet0_5, mnasnet0_75
    ("mobilenet_v2", 0.35): 1_677_128,
    ("mobilenet_v2", 0.5): 1_968_680,
    ("mobilenet_v2", 0.75): 2_636_424,
    ("mobilenet_v2", 1.4): 6_108_776,
    ("mnasnet1_0", 0.5): 2_218_512,
    ("mnasnet1_0", 0.75): 3_170_208,
}


@pytest.mark.parametrize(("name", "width"), SCALED)
def test_networks_of_other_widths_have_torchvisions_params(name: str, width: float) -> None:
    keep = [kept for kept in KEPT_BY_DEFAULT if kept != "stem"]
    space = around(named_network(name), keep, width={"min": 0.35, "max": 1.4}, depth=1).spaces[0]
    assert isinstance(space, ProportionalSpace)
    assert SCALED[name, width] in {network.evaluation.params for network in space.networks}


@pytest.mark.parametrize("name", ["efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4"])
def test_efficientnets_are_multiples_of_the_first(name: str) -> None:
    keep = [kept for kept in KEPT_BY_DEFAULT if kept != "stem"]
    space = around(named_network("efficientnet_b0"), keep, width=[1, 1.1, 1.2, 1.4], depth=[1, 1.1, 1.2, 1.4, 1.8])
    expected: Any = named_network(name).definition()
    found: list[Any] = [network.definition() for network in space.spaces[0].networks]  # type: ignore[attr-defined]
    # each has images of its own size
    assert [one for one in found if one | {"input": expected["input"]} == expected]
    assert all(one["input"] == {"channels": 3, "height": 224, "width": 224} for one in found)


def test_images_stem_expansion_and_kernel_are_searched_where_they_are_not_kept() -> None:
    reference = named_network("mobilenet_v2")
    own: Any = around(reference, ["channels", "repeats"], None, None).spaces[0].to_json()
    assert own["input"] == {"channels": 3, "resolution": [128, 160, 192, 224, 256, 288, 320]}
    assert own["stem_channels"] == 32  # the multiplier of the width is that of the channels
    assert own["stages"][0]["expansion"] == 1
    assert own["stages"][1] == {
        "expansion": [3, 4, 5, 6],
        "channels": 24,
        "repeats": 2,
        "stride": 2,
        "kernel": [3, 5, 7],
    }
    wider: Any = around(reference, ["expansion", "kernel", "resolution", "repeats"], [0.5, 1, 1.4]).spaces[0].to_json()
    assert (wider["stem_channels"], wider["last_channels"]) == ([16, 32, 48], [1280, 1792])
    images = around(reference, ["stem", "expansion", "kernel", "proportions"], [0.5, 1], [1])
    assert images.varies_resolution()
    assert len(images.spaces[0].inputs()) == 7
    found = search(SearchRequest(space=images, budget=Budget(max_macs=300_000_000), top_k=100)).ranking
    expected = [one for one in images.spaces[0].networks if one.evaluation.macs <= 300_000_000]  # type: ignore[attr-defined]
    assert {ranked.architecture for ranked in found} == {*expected}


def test_rounding_is_torchvisions_and_exact_for_decimals() -> None:
    for channels, percent in itertools.product((8, 16, 24, 40, 64, 96, 112, 320, 1280), range(5, 400, 5)):
        floats = nearest_multiple(channels * (percent / 100))
        exact = scaled_channels(channels, Fraction(percent, 100))
        assert exact == (channels if percent == 100 else floats), (channels, percent)
    assert scaled_number(10, Fraction("1.1")) == 11  # and not 12, as the double 11.000000000000002 has it
    assert [scaled_channels(10, Fraction(w)) for w in ("0.9", "1", "1.1")] == [10, 10, 16]


def test_a_request_keeps_what_was_asked_with_the_definition_of_the_reference() -> None:
    asked = {"space": {"around": "resnet18", "depth": [1, 2]}, "budget": {"max_macs": 2_000_000_000}}
    request = SearchRequest.from_json(asked)
    written: Any = request.to_json()["space"]
    assert request.version == 2
    assert written == {
        "around": named_network("resnet18").definition(),
        "keep": ["resolution", "stem", "expansion", "kernel", "proportions"],
        "width": {"min": 0.25, "max": 2, "step": 0.05},
        "depth": [1, 2],
    }
    assert SearchRequest.from_json(request.to_json()).digest == request.digest
    known: Find = {"arch_1": written["around"]}.get
    by_id = SearchRequest.from_json(asked | {"space": asked["space"] | {"around": {"arch_id": "arch_1"}}}, known)  # type: ignore[operator]
    assert by_id.digest == request.digest
    several = resolve_spaces([asked["space"], {"around": "resnet34", "width": [0.5]}])
    assert len(several.spaces) == 2
    assert resolve_space(asked["space"]).to_json() == written


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"around": "mobilenet_v3"}, "around", "unknown_network"),
    ({"around": {"family": "resnet"}}, "around.input", "required"),
    ({"around": "resnet18", "keep": ["stemm"]}, "keep.0", "unknown_choice"),
    ({"around": "resnet18", "keep": "stem"}, "keep", "not_a_list"),
    ({"around": "resnet18", "keep": ["stem"] * 8}, "keep", "bad_length"),
    ({"around": "resnet18", "width": 0}, "width", "out_of_range"),
    ({"around": "resnet18", "width": [1, True]}, "width.1", "out_of_range"),
    ({"around": "resnet18", "depth": {"min": 1, "max": 3.5}}, "depth.max", "out_of_range"),
    ({"around": "resnet18", "depth": {"min": 2, "max": 1}}, "depth.min", "min_above_max"),
    ({"around": "resnet18", "depth": {"max": 1}}, "depth.min", "required"),
    ({"around": "resnet152", "depth": 2}, "depth", "too_large"),
    ({"around": "resnet152", "depth": [1, 2]}, "depth", "too_large"),
    ({"around": "mlperf-tiny-ad", "width": 0.05}, "around", "same_cell"),
    ({"around": "resnet18", "width": {"min": 0.001, "max": 4, "step": 0.0001}}, "width", "too_many_values"),
    ({"around": "resnet18", "width": {"min": 0.1, "max": 4, "step": 0.001}}, "width", "too_large"),
    ({"around": "resnet18", "widthh": 1}, "widthh", "unknown_field"),
    ({"around": "resnet18", "keep": ["channels"], "width": 1}, "width", "conflicts_with_keep"),
    ({"around": "resnet18", "keep": ["resolution"]}, "keep", "not_applicable"),
    ({"around": "mlperf-tiny-kws", "keep": ["stem"]}, "keep", "not_applicable"),
    ({"around": CELLS, "keep": ["resolution"]}, "keep", "not_applicable"),
    ({"around": "mobilenet_v2", "keep": ["resolution", "stem", "proportions"]}, "keep", "conflicts_with_proportions"),
]


@pytest.mark.parametrize(("space", "field", "code"), WRONG)
def test_what_is_wrong_names_its_field(space: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        SearchRequest.from_json({"space": space})
    assert (f"space.{field}", code) in {(problem.field, problem.code) for problem in raised.value.problems}


def test_a_family_without_multipliers_is_refused() -> None:
    class Unknown:
        family = "unknown"

    with pytest.raises(DefinitionError, match="no multipliers are defined"):
        around(Unknown())  # type: ignore[arg-type]
