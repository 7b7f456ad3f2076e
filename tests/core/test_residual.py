"""Residual families: closed forms against walks, published counts, and exact search against brute force."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.certificate import Ranked
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_architecture, decode_space
from nnmass_core.named.networks import INVERTED, named_network, named_networks
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest, decode_objective
from nnmass_core.search import search
from tests.core.brute import LIMITS, Row, answer, first_of_each_shape, within
from tests.core.problems import random_budget
from tests.core.reference import reference_rows
from tests.core.residual_problems import FAMILIES, integers, random_network, random_space, ranked, row

IMAGENET: dict[str, Any] = {"input": {"channels": 3, "height": 224, "width": 224}, "num_classes": 1000}
PUBLISHED = {
    "mobilenet_v2": 3_504_872,
    "mnasnet0_5": 2_218_512,
    "mnasnet0_75": 3_170_208,
    "mnasnet1_0": 4_383_312,
    "mnasnet1_3": 6_282_256,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_lite0": 4_652_008,
    "proxyless_mobile": 4_080_512,
    "mobilenet_v1": 4_231_976,
    "mlperf-tiny-vww": 213_586,
    "mlperf-tiny-kws": 23_756,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    "resnet20": 272_474,
    "resnet32": 466_906,
    "resnet44": 661_338,
    "resnet56": 855_770,
    "resnet110": 1_730_714,
    "resnet18_cifar": 11_173_962,
    "resnext29_8x64d": 34_426_698,
    "mlperf-tiny-resnet8": 78_186,
    "mlperf-tiny-ad": 267_928,
    "convnext_tiny": 28_589_128,
    "convnext_small": 50_223_688,
    "convnext_base": 88_591_464,
    "convnext_large": 197_767_336,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "densenet40_k12": 1_019_722,
    "densenet100_k12_bc": 769_162,
    "regnet_x_400mf": 5_495_976,
    "regnet_x_800mf": 7_259_656,
    "regnet_x_1_6gf": 9_190_136,
    "regnet_x_3_2gf": 15_296_552,
    "regnet_x_8gf": 39_572_648,
    "regnet_x_16gf": 54_278_536,
    "regnet_x_32gf": 107_811_560,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_closed_forms_equal_a_walk_over_the_layers(family: str) -> None:
    rng = Random(family)
    for _ in range(400):
        d = random_network(rng, family)
        figures, walked = decode_architecture(d).evaluation, row(d)
        found = (figures.mass, figures.params, figures.macs, figures.weights, figures.peak_elements)
        assert found == (walked.mass, walked.params, walked.macs, walked.weights, walked.peak), d
        for name, total in (("params", figures.params), ("macs", figures.macs)):
            assert sum(getattr(part, name) for part in figures.parts) <= total


def test_named_networks_have_the_counts_that_their_sources_publish() -> None:
    assert {name: network.evaluation.params for name, network in named_networks().items()} == PUBLISHED


def test_networks_of_mlperf_tiny_have_the_published_macs() -> None:
    names = ("mlperf-tiny-kws", "mlperf-tiny-vww")
    assert [named_network(name).evaluation.macs for name in names] == [2_656_768, 7_489_664]
    assert {named_network(name).evaluation.mass for name in (*names, "mobilenet_v1")} == {0}
    classifier = named_network("mlperf-tiny-resnet8").evaluation
    assert classifier.macs == 12_501_632
    assert classifier.weights == 78_666  # as Keras counts params: with BatchNorm's statistics


def test_resnets_of_small_images_have_the_macs_of_their_modules() -> None:
    """Each figure is half of what torch counts; tests/nets/test_costs.py counts again."""
    names = ("resnet20", "resnet56", "resnet110", "resnet18_cifar", "resnext29_8x64d")
    counted = [40_813_184, 125_747_840, 253_149_824, 555_422_720, 5_387_266_048]
    assert [named_network(name).evaluation.macs for name in names] == counted


def test_dense_blocks_have_a_mass_of_growth_times_layers() -> None:
    masses = {name: named_network(name).evaluation.mass for name in PUBLISHED if name.startswith("densenet")}
    of_imagenet = {"densenet121": 1856, "densenet161": 3744, "densenet169": 2624, "densenet201": 3136}
    assert masses == of_imagenet | {"densenet40_k12": 432, "densenet100_k12_bc": 576}


def test_convnext_blocks_have_a_mass_of_twice_their_channels() -> None:
    assert named_network("convnext_tiny").evaluation.mass == 2 * (3 * 96 + 3 * 192 + 9 * 384 + 3 * 768) == 13_248


CONVNEXT: dict[str, Any] = {
    "family": "convnext",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "stages": [{"channels": 8, "repeats": 1}, {"channels": 16, "repeats": 1}],
}

DENSE: dict[str, Any] = {
    "family": "densenet_bc",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "stem": "small",
    "stem_channels": 16,
    "growth": 4,
    "stages": [{"layers": 2}, {"layers": 3}],
}


def test_compressions_make_different_networks() -> None:
    """From 20 channels on, each percentage of the steps leaves another number of them."""
    networks = [DENSE | {"stem_channels": 12, "compression": percent} for percent in range(50, 101, 5)]
    assert len({decode_architecture(network).evaluation.params for network in networks}) == len(networks) == 11


KEYWORDS: dict[str, Any] = {
    "family": "ds_cnn",
    "input": {"channels": 1, "height": 49, "width": 10},
    "num_classes": 12,
    "stem_channels": 64,
    "stem_kernel_height": 10,
    "stem_kernel_width": 4,
    "stages": [{"channels": 64, "repeats": 4, "stride": 1}],
}


@pytest.mark.parametrize("decode", [decode_architecture, decode_space])
def test_an_even_stem_kernel_needs_a_stride(decode: Any) -> None:
    assert decode(KEYWORDS)
    with pytest.raises(DefinitionError) as refused:
        decode(KEYWORDS | {"stem_stride": 1})
    fields = [(problem.field, problem.code) for problem in refused.value.problems]
    assert fields == [(f"stem_kernel_{side}", "conflicts_with_stride") for side in ("height", "width")]
    assert decode(KEYWORDS | {"stem_stride": 1, "stem_kernel_height": 3, "stem_kernel_width": 5})


def test_chains_are_ranked_by_what_can_be_compared() -> None:
    """NN-Mass is 0 for all of them, which the answer says; the most MACs within a budget are another matter."""
    space = KEYWORDS | {"stages": [{"channels": {"min": 8, "max": 96, "step": 8}, "repeats": [1, 2, 4], "stride": 1}]}
    dense = find(space, {"max_params": 24_000}, Maximize())
    assert dense.certificate.caveats[0] == "no_skips"
    assert dense.certificate.best_nn_mass == 0
    most = find(space, {"max_params": 24_000}, Maximize("macs"))
    fitting = [found for found in ranked(space) if found.params <= 24_000]
    assert most.ranking[0].evaluation.macs == max(found.macs for found in fitting)
    assert dense.ranking[0].evaluation.macs == min(found.macs for found in fitting)


@pytest.mark.parametrize(("depth", "width", "params"), [(28, 10, 36_479_194), (16, 4, 2_748_890), (40, 2, 2_243_546)])
def test_wide_residual_networks_have_the_published_counts(depth: int, width: int, params: int) -> None:
    stages = [{"channels": c * width, "repeats": (depth - 4) // 6} for c in (16, 32, 64)]
    image = {"channels": 3, "height": 32, "width": 32}
    d = {"family": "wide_resnet_cifar", "input": image, "num_classes": 10, "stages": stages}
    assert decode_architecture(d).evaluation.params == params


def divisible(channels: float) -> int:
    """Round channels to a multiple of 8 as torchvision does, never down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


STAGE = {"expansion": 6, "channels": 24, "repeats": 2, "stride": 1}


def mobilenet(settings: Sequence[tuple[int, ...]], stem: int = 32, last: int = 1280) -> dict[str, Any]:
    keys = ("expansion", "channels", "repeats", "stride", "kernel", "se")
    stages = [dict(zip(keys, setting, strict=False)) for setting in settings]
    ends = {"stem_channels": stem, "last_channels": last}
    return {"family": "mobilenet_v2", **IMAGENET, **ends, "stages": stages}


def test_fields_that_came_later_are_not_written_at_their_defaults() -> None:
    known = named_network("mobilenet_v2")
    assert known.arch_id == "arch_816f4cf1fc280cd7208977db33b45321"
    stages = [stage | {"kernel": 3, "se": 0} for stage in mobilenet(INVERTED)["stages"]]
    written = mobilenet(INVERTED) | {"stages": stages, "activation": "relu6", "stem_stride": 2}
    assert decode_architecture(written) == known
    assert decode_architecture(written).definition() == known.definition()
    assert decode_space(written).digest == decode_space(mobilenet(INVERTED)).digest
    changed: list[dict[str, Any]] = [{"activation": "relu"}, {"stem_stride": 1}]
    changed += [{"stages": [stages[0] | one, *stages[1:]]} for one in ({"kernel": 5}, {"se": 4})]
    assert len({decode_architecture(written | one).arch_id for one in changed} | {known.arch_id}) == 5


def test_a_space_that_earlier_releases_cannot_read_has_a_new_version() -> None:
    usual = mobilenet([]) | {"stages": [STAGE | {"kernel": 3, "se": 0}], "activation": "relu6", "stem_stride": 2}
    assert decode_space(usual).form_version == 1
    changed: list[dict[str, Any]] = [{"activation": "relu"}, {"stem_stride": 1}]
    changed += [{"stages": [STAGE | one]} for one in ({"kernel": [3, 5]}, {"kernel": 5}, {"se": 4})]
    assert [decode_space(usual | one).form_version for one in changed] == [2] * 5


@pytest.mark.parametrize("vector", reference_rows("nn_mass_vectors.json", "mobilenet_v2"))
def test_mobilenets_have_the_published_params_and_nn_mass(vector: dict[str, Any]) -> None:
    if "width_mult" in vector:
        by = vector["width_mult"]
        settings = [(e, divisible(c * by), n, s) for e, c, n, s in INVERTED]
        d = mobilenet(settings, divisible(32 * by), divisible(1280 * max(1.0, by)))
    else:
        d = mobilenet([tuple(setting) for setting in vector["inverted_residual_setting"]])
    figures = decode_architecture(d).evaluation
    assert figures.params == vector["params"]
    assert float(figures.mass) == pytest.approx(vector["nn_mass"], rel=1e-9)


@pytest.mark.parametrize("vector", reference_rows("nn_mass_vectors.json", "resnet"))
def test_resnets_have_the_published_params_and_nn_mass(vector: dict[str, Any]) -> None:
    if "name" in vector:
        figures = named_network(vector["name"]).evaluation
    else:
        stages = [{"channels": c, "repeats": n} for c, n in zip((64, 128, 256, 512), vector["layers"], strict=True)]
        block = {"BasicBlock": "basic", "Bottleneck": "bottleneck"}[vector["block"]]
        grouped: dict[str, Any] = {n: vector[n] for n in ("groups", "width_per_group") if n in vector}
        form: dict[str, Any] = {"family": "resnet", **IMAGENET, "block": block, "stages": stages, **grouped}
        figures = decode_architecture(form).evaluation
    assert figures.params == vector["params"]
    assert float(figures.mass) == pytest.approx(vector["nn_mass"], rel=1e-9)


def integers_of(place: Ranked) -> tuple[tuple[int, ...], ...]:
    return integers(place.architecture.definition())


def find(space: dict[str, Any], budget: dict[str, Any], objective: Objective, **more: Any) -> Any:
    return search(SearchRequest(space=decode_space(space), budget=Budget(**budget), objective=objective, **more))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(60)
def test_the_most_nn_mass_equals_brute_force(family: str, seed: int) -> None:
    rng = Random(f"{family} {seed}")
    space = random_space(rng, family)
    rows = ranked(space)
    for _ in range(3):
        budget, top_k = random_budget(rng, rows), rng.choice((1, 5, 1000))
        diversity = rng.choice(("none", "shape"))
        result = find(space, budget, Maximize(), top_k=top_k, diversity=diversity)
        expected = answer(rows, budget, top_k, diversity)
        assert [integers_of(place) for place in result.ranking] == [r.cells for r in expected.ranking]
        certificate = result.certificate
        assert (certificate.optimal, certificate.space_size) == (True, len(rows))
        assert set(certificate.binding or ()) == set(expected.binding)
        assert certificate.relaxation == expected.relaxation


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(30)
def test_least_costs_and_fronts_equal_brute_force(family: str, seed: int) -> None:
    rng = Random(f"cost {family} {seed}")
    space = random_space(rng, family, most=150)
    rows = ranked(space)
    budget = random_budget(rng, rows)
    limits = {name: budget[name] for name in LIMITS if name in budget}
    fitting = within(rows, limits, budget["precision"])
    wanted, diversity = rng.choice(rows).mass, rng.choice(("none", "shape"))
    for cost in ("params", "macs", "peak_activation_bytes"):
        by_cost = sorted(fitting, key=lambda r: (cost_of(r, cost), *r.place))
        dense = [r for r in by_cost if r.mass >= wanted]
        expected = (first_of_each_shape(dense) if diversity == "shape" else dense)[:7]
        found = find(space, budget, Minimize(cost, float(wanted)), top_k=7, diversity=diversity)
        assert [integers_of(place) for place in found.ranking] == [r.cells for r in expected]
        front: list[Row] = []
        for candidate in by_cost:
            if not front or candidate.mass > front[-1].mass:
                front.append(candidate)
        assert [integers_of(place) for place in find(space, budget, Pareto((cost,))).ranking] == [
            r.cells for r in front
        ]


def cost_of(found: Row, cost: str) -> int:
    return {"params": found.params, "macs": found.macs, "peak_activation_bytes": found.peak}[cost]


RESNET: dict[str, Any] = {
    "family": "resnet",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "block": "bottleneck",
    "stages": [{"channels": 8, "repeats": 2}, {"channels": 16, "repeats": 1}],
}
SEPARATE = [(1, 16, 1, 1), (6, 24, 2, 2)]


def test_a_width_per_group_without_effect_gives_the_same_network() -> None:
    narrow = RESNET | {"stages": [{"channels": 8, "repeats": 2}, {"channels": 16, "repeats": 1}]}
    plain = decode_architecture(narrow | {"width_per_group": 64})
    assert decode_architecture(narrow | {"width_per_group": 67}) == plain
    assert decode_architecture(narrow | {"width_per_group": 68}) != plain
    assert plain.definition()["width_per_group"] == 64


def test_later_fields_of_a_resnet_are_not_written_at_their_defaults() -> None:
    known = named_network("resnet50")
    assert known.arch_id == "arch_697dc0ce0d3f283877c8b4fc99fc4d92"
    usual: dict[str, Any] = dict(known.definition())
    written = usual | {"stem": "imagenet", "stem_channels": 64}
    assert decode_architecture(written) == known
    assert decode_architecture(written).definition() == usual
    space = usual | {"stages": [stage | {"repeats": [1, 2]} for stage in usual["stages"]]}
    del space["version"]
    assert decode_space(space | {"stem": "imagenet", "stem_channels": 64}).digest == decode_space(space).digest
    changed: list[dict[str, Any]] = [{"stem": "small"}, {"stem_channels": 32}, {"bias": 1}, {"projection_norm": 0}]
    changed += [{"first_stride": 2}, {"stem": "halving"}, {"block": "regnet_x"}]
    assert [decode_space(space | one).form_version for one in ({}, *changed)] == [1, *[2] * 7]
    assert len({decode_architecture(usual | one).arch_id for one in changed} | {known.arch_id}) == 8


def test_a_group_wider_than_all_stages_gives_the_same_network() -> None:
    whole = RESNET | {"block": "regnet_x"}
    assert decode_architecture(whole | {"width_per_group": 64}) == decode_architecture(whole | {"width_per_group": 16})
    assert decode_architecture(whole | {"width_per_group": 8}) != decode_architecture(whole)
    assert decode_architecture(whole).definition()["width_per_group"] == 16


def test_a_space_around_a_densenet_has_the_network() -> None:
    for name in ("densenet121", "densenet40_k12"):
        network = named_network(name)
        space = decode_space(network.space_around())
        numbers = [number for part in integers(dict(network.definition())) for number in part]
        assert space.architecture(numbers) == network
        ranges = dict[str, Any](space.to_json())
        assert network.widths[0] in ranges["growth"]
        own: list[dict[str, int]] = dict[str, Any](network.definition())["stages"]
        for stage, axes in zip(own, ranges["stages"], strict=True):
            assert axes["layers"]["min"] <= stage["layers"] <= axes["layers"]["max"]


@pytest.mark.parametrize(
    "name", ["convnext_tiny", "regnet_x_400mf", "regnet_x_1_6gf", "regnet_x_8gf", "mlperf-tiny-resnet8"]
)
def test_a_space_around_a_named_network_has_the_network(name: str) -> None:
    network = named_network(name)
    space = decode_space(network.space_around())
    stages: list[dict[str, int]] = dict[str, Any](network.definition())["stages"]
    assert space.architecture([number for stage in stages for number in stage.values()]) == network
    ranges: list[dict[str, Any]] = dict[str, Any](space.to_json())["stages"]
    assert all(stage["channels"] in axes["channels"] for stage, axes in zip(stages, ranges, strict=True))


def test_a_projection_norm_without_effect_gives_the_same_network() -> None:
    straight = RESNET | {"block": "basic", "stages": [{"channels": 64, "repeats": 2}]}
    assert decode_architecture(straight | {"projection_norm": 0}) == decode_architecture(straight)
    projected = straight | {"stem_channels": 32}
    assert decode_architecture(projected | {"projection_norm": 0}) != decode_architecture(projected)


@pytest.mark.parametrize(
    ("d", "field"),
    [
        (RESNET | {"block": "basic", "groups": 2}, "groups"),
        (CONVNEXT | {"patch": 33}, "patch"),
        (CONVNEXT | {"patch": 17}, "input"),
        (CONVNEXT | {"expansion": 0}, "expansion"),
        (CONVNEXT | {"stages": [{"channels": 8, "repeats": 0}]}, "stages.0.repeats"),
        (CONVNEXT | {"stem_channels": 8}, "stem_channels"),
        (DENSE | {"stem_channels": 11}, "stages.0.layers"),
        (DENSE | {"compression": 52}, "compression"),
        (DENSE | {"compression": 45}, "compression"),
        (DENSE | {"stem": "halving"}, "stem"),
        (DENSE | {"stem": "imagenet", "input": {"channels": 3, "height": 4, "width": 32}}, "input"),
        (DENSE | {"stages": [{"layers": 3}]}, "stages"),
        (RESNET | {"stem": "large"}, "stem"),
        (RESNET | {"stem_channels": 0}, "stem_channels"),
        (RESNET | {"bias": 2}, "bias"),
        (RESNET | {"first_stride": 3}, "first_stride"),
        (RESNET | {"block": "regnet_x", "groups": 2}, "groups"),
        (RESNET | {"block": "regnet_x", "width_per_group": 3}, "stages.0.channels"),
        (RESNET | {"projection_norm": True}, "projection_norm"),
        (RESNET | {"block": "basic", "width_per_group": 32}, "width_per_group"),
        (RESNET | {"width_per_group": 4}, "width_per_group"),
        (RESNET | {"block": "preactivation"}, "block"),
        (RESNET | {"stages": []}, "stages"),
        (RESNET | {"stages": [{"channels": 8}]}, "stages.0.repeats"),
        (RESNET | {"family": "wide_resnet_cifar"}, "block"),
        (mobilenet([*SEPARATE, (6, 24, 1, 1)]), "stages.2"),
        (mobilenet([(1, 16, 1, 3)]), "stages.0.stride"),
        (mobilenet([(1, 16, 1, 2), (6, 24, 1, 1, 4)]), "stages.1.kernel"),
        (mobilenet([(1, 16, 1, 2), (6, 24, 1, 1, 9)]), "stages.1.kernel"),
        (mobilenet([(1, 16, 1, 2, 3, 65)]), "stages.0.se"),
        (mobilenet([(1, 16, 1, 2, 5, 4), (1, 16, 1, 1, 5, 4)]), "stages.1"),
        (mobilenet([(1, 16, 1, 2)]) | {"activation": "gelu"}, "activation"),
        (mobilenet([(1, 16, 1, 2)]) | {"stem_stride": 4}, "stem_stride"),
    ],
)
def test_an_invalid_definition_names_its_field(d: dict[str, Any], field: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        decode_architecture(d)
    assert field in {problem.field for problem in refused.value.problems}


@pytest.mark.parametrize(
    ("d", "field"),
    [
        (RESNET | {"stages": [{"channels": {"min": 9, "max": 3}, "repeats": 1}]}, "stages.0.channels.min"),
        (RESNET | {"stages": [{"channels": 8, "repeats": 1, "stride": 2}]}, "stages.0.stride"),
        (RESNET | {"stages": {}}, "stages"),
        (RESNET | {"stem": "large"}, "stem"),
        (RESNET | {"stem_channels": [16, 32]}, "stem_channels"),
        (RESNET | {"bias": [0, 1]}, "bias"),
        (
            RESNET
            | {"block": "regnet_x", "width_per_group": 8}
            | {"stages": [{"channels": 4, "repeats": 1}, {"channels": [8, 12], "repeats": 1}]},
            "stages.1.channels",
        ),
        (RESNET | {"stages": [3]}, "stages.0"),
        (CONVNEXT | {"patch": [2, 4]}, "patch"),
        (CONVNEXT | {"input": {"channels": 3, "resolution": [7, 32]}}, "input"),
        (CONVNEXT | {"stages": [{"channels": [8, 16], "repeats": [0, 1]}]}, "stages.0.repeats.0"),
        (DENSE | {"growth": [1, 4]}, "stages.0.layers"),
        (DENSE | {"compression": {"min": 50, "max": 60}}, "compression"),
        (DENSE | {"bottleneck": [0, 4]}, "bottleneck"),
        (DENSE | {"input": {"channels": 3, "resolution": [1, 32]}}, "input"),
        (DENSE | {"stages": [{"layers": 4}]}, "stages"),
        (DENSE | {"stages": [{"layers": 2, "channels": 8}] * 2}, "stages.0.channels"),
        (RESNET | {"stages": [{"channels": [8, 2], "repeats": 1}], "width_per_group": 16}, "width_per_group"),
        (mobilenet([*SEPARATE, (6, 24, 40, 1), (6, 24, 23, 1)]), "stages.3.repeats"),
        (mobilenet(SEPARATE) | {"input": {"channels": 3, "resolution": [0, 32]}}, "input.resolution.0"),
        (mobilenet(SEPARATE) | {"input": {"resolution": 32}}, "input.channels"),
        (mobilenet(SEPARATE) | {"input": {"channels": 3, "resolution": 32, "height": 3}}, "input.height"),
        (mobilenet(SEPARATE, stem=0), "stem_channels"),
        (mobilenet(SEPARATE) | {"stages": [STAGE | {"kernel": [3, 4]}]}, "stages.0.kernel"),
        (mobilenet(SEPARATE) | {"stages": [STAGE | {"kernel": [1, 3]}]}, "stages.0.kernel.0"),
        (mobilenet(SEPARATE) | {"stages": [STAGE | {"se": {"min": 0, "max": 65}}]}, "stages.0.se.max"),
        (mobilenet(SEPARATE) | {"activation": "gelu"}, "activation"),
        (mobilenet(SEPARATE) | {"stem_stride": [1, 2]}, "stem_stride"),
        (mobilenet([(16, 8192, 64, 1)]) | {"input": {"channels": 3, "resolution": 8192}}, ""),
    ],
)
def test_an_invalid_space_names_its_field(d: dict[str, Any], field: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        decode_space(d)
    assert field in {problem.field for problem in refused.value.problems}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_space_reads_back_equal(family: str) -> None:
    rng = Random(family)
    for _ in range(20):
        space = decode_space(random_space(rng, family))
        again = decode_space(space.to_json())
        assert (again, again.digest, hash(again)) == (space, space.digest, hash(space))
        assert space.option_bound() >= space.chain().options()


def test_a_reference_can_be_a_named_network() -> None:
    objective = decode_objective({"minimize": "params", "reference": "mobilenet_v2"})
    assert isinstance(objective, Minimize)
    assert objective.least_mass == Fraction(1287)
    with pytest.raises(DefinitionError) as refused:
        decode_objective({"minimize": "params", "reference": "lenet"})
    assert [problem.field for problem in refused.value.problems] == ["reference"]


def test_a_space_with_several_resolutions_has_a_caveat() -> None:
    space = mobilenet(SEPARATE, stem=8, last=16) | {"num_classes": 2}
    fixed = find(space | {"input": {"channels": 3, "resolution": 32}}, {"max_params": 10**12}, Maximize())
    chosen = find(space | {"input": {"channels": 3, "resolution": [32, 64]}}, {"max_params": 10**12}, Maximize())
    assert fixed.certificate.caveats == ("limits_used_below_60",)
    assert chosen.certificate.caveats == ("resolutions_differ", "limits_used_below_60")
