"""Limits taken from a reference: their numbers, the answers within them, the stored form, and the space without one."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from nnmass_core.architecture import Architecture
from nnmass_core.budget import Budget
from nnmass_core.engine.control import Control
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_architecture
from nnmass_core.hardware.devices import devices
from nnmass_core.named.networks import named_network, named_networks
from nnmass_core.named.presets import MAKERS, preset
from nnmass_core.named.within import TAKEN, scaled, space_within
from nnmass_core.request import SearchRequest
from nnmass_core.search import search
from tests.parsed import parsed

RESNET8 = "mlperf-tiny-resnet8"


def request(budget: dict[str, Any], **more: Any) -> SearchRequest:
    return SearchRequest.from_json({"budget": budget, **more})


def costs(name: str, precision: str = "fp32", batch: int = 1) -> dict[str, Any]:
    """Return the limits that a network's own figures would be."""
    figures = named_network(name).evaluation.report(precision, batch)
    return {f"max_{cost}": figures[cost] for cost in TAKEN}


@pytest.mark.parametrize(
    ("name", "ratio"),
    [
        (RESNET8, {}),
        ("mlperf-tiny-vww", {}),
        ("mlperf-tiny-kws", {}),
        ("mlperf-tiny-ad", {}),
        ("resnet18", {"macs": 0.55}),
    ],
)
def test_an_answer_within_a_reference_is_that_of_its_costs_as_limits(name: str, ratio: dict[str, float]) -> None:
    asked = request({"within": name, "ratio": ratio}, top_k=3)
    limits = costs(name)
    limits["max_macs"] = math.floor(Fraction(str(ratio.get("macs", 1))) * limits["max_macs"])
    assert dict(asked.budget.bounds) == limits
    found = search(asked, Control())
    plain = search(SearchRequest(space=asked.space, budget=Budget(**limits), top_k=3), Control())
    assert found.ranking == plain.ranking != ()
    within = found.certificate.within
    assert within is not None
    assert replace(found.certificate, within=None) == plain.certificate
    assert (within.reference, within.limits) == (named_network(name), limits)
    assert within.ratio == dict.fromkeys(TAKEN, 1.0) | ratio
    best = found.ranking[0].architecture
    assert (best.input_shape, best.num_classes) == (within.reference.input_shape, within.reference.num_classes)


def test_precision_and_batch_are_those_of_the_budget() -> None:
    for named, precision, batch in (({"precision": "fp16", "batch": 8}, "fp16", 8), ({"device": "rp2040"}, "int8", 1)):
        asked = request({"within": RESNET8, **named})
        assert dict(asked.budget.bounds) == costs(RESNET8, precision, batch)


def test_the_lower_of_the_limits_of_device_and_reference_applies() -> None:
    asked = request({"within": "resnet50", "device": "stm32f746", "precision": "fp32"})
    memory = devices()["stm32f746"].limits()
    assert {limit.name: limit.bound for limit in asked.budget.limits()} == costs("resnet50") | memory
    assert asked.within is not None
    assert asked.within.limits(asked.budget) == costs("resnet50")


def test_a_ratio_may_name_every_cost_that_no_device_times() -> None:
    assert set(scaled()) == {*TAKEN, "depth", "memory_bytes"}
    asked = request({"within": RESNET8, "ratio": {"depth": 2, "memory_bytes": 0.333}})
    figures = named_network(RESNET8).evaluation.report("fp32")
    more = {"max_depth": 2 * figures["depth"], "max_memory_bytes": 333 * figures["memory_bytes"] // 1000}
    assert dict(asked.budget.bounds) == costs(RESNET8) | more
    assert search(replace(asked, top_k=1), Control()).certificate.optimal


def test_a_limit_replaces_that_of_the_reference() -> None:
    asked = request({"within": RESNET8, "ratio": {"macs": 0.5}, "max_macs": 9_000_000, "min_params": 10})
    assert dict(asked.budget.bounds) == costs(RESNET8) | {"max_macs": 9_000_000, "min_params": 10}
    within = search(replace(asked, top_k=1), Control()).certificate.within
    assert within is not None
    assert within.limits == {name: bound for name, bound in costs(RESNET8).items() if name != "max_macs"}
    # a reference of which nothing is left is no part of the question
    replaced = {name: bound - 1 for name, bound in costs(RESNET8).items()}
    assert request({"within": RESNET8, **replaced}).to_json() == request(replaced, space=asked.space.form).to_json()


def test_requests_of_one_meaning_have_one_form_which_reads_back() -> None:
    reference = named_network(RESNET8)
    known = {reference.arch_id: reference.definition()}
    asked = request({"within": RESNET8, "ratio": {"macs": 0.5}})
    half = reference.evaluation.macs // 2
    for budget in (
        {"within": reference.definition(), "ratio": {"macs": 0.50, "params": 1}},
        {"within": {"arch_id": reference.arch_id}, "ratio": {"macs": 0.5}},
        {"within": RESNET8, "ratio": {"macs": 0.5}, "max_macs": half, "max_params": None},
        asked.to_json()["budget"],
    ):
        same = SearchRequest.from_json({"budget": budget}, known.get)
        assert (same, same.digest) == (asked, asked.digest)
    assert asked.to_json()["budget"] == {
        **costs(RESNET8),
        "max_macs": half,
        "precision": "fp32",
        "within": reference.definition(),
        "ratio": dict.fromkeys(TAKEN, 1.0) | {"macs": 0.5},
    }
    assert asked.version == 2
    # the numbers alone are another question: their answer names no reference
    plain = request(dict(asked.budget.bounds), space=asked.space.form)
    assert (plain.digest != asked.digest, plain.version) == (True, 2)


def test_stored_numbers_count_also_where_a_network_or_a_rule_has_changed() -> None:
    stored: dict[str, Any] = parsed(request({"within": RESNET8, "ratio": {"macs": 0.5}}).to_json())
    stored["budget"]["max_macs"] += 1  # as the rules of costs at that time gave it
    read = SearchRequest.from_json(stored)
    assert dict(read.budget.bounds)["max_macs"] == stored["budget"]["max_macs"]
    assert read.within is not None
    assert "macs" not in dict(read.within.ratio)


def test_nothing_fits_and_what_would() -> None:
    found = search(request({"within": "resnet18", "ratio": {"macs": 0.001}}), Control()).certificate
    assert found.feasible is False
    assert found.relaxation is not None
    assert {name for name, least in found.relaxation.items() if least is not None} == {"max_macs"}
    enough = found.relaxation["max_macs"]
    again = search(request({"within": "resnet18", "max_macs": enough}, top_k=1), Control())
    assert again.certificate.feasible
    assert again.ranking[0].slack["max_macs"] == 0


@pytest.mark.parametrize(
    ("budget", "fields"),
    [
        ({"within": "resnet8"}, ["budget.within"]),
        ({"within": 5}, ["budget.within"]),
        ({"within": {"arch_id": "arch_0"}}, ["budget.within.arch_id"]),
        ({"within": {"family": "resnet"}}, ["budget.within.input", "budget.within.num_classes"]),
        ({"ratio": {"macs": 0.5}}, ["budget.ratio"]),
        ({"within": RESNET8, "ratio": [0.5]}, ["budget.ratio"]),
        ({"within": RESNET8, "ratio": {"mac": 1, "latency_ms": 1}}, ["budget.ratio.mac", "budget.ratio.latency_ms"]),
        ({"within": RESNET8, "ratio": {"macs": 0}}, ["budget.ratio.macs"]),
        ({"within": RESNET8, "ratio": {"macs": 101}}, ["budget.ratio.macs"]),
        ({"within": RESNET8, "ratio": {"macs": True}}, ["budget.ratio.macs"]),
        ({"within": RESNET8, "ratio": {"macs": math.nan}}, ["budget.ratio.macs"]),
        ({"within": RESNET8, "ratio": {"macs": "half"}, "batch": 0}, ["budget.ratio.macs", "budget.batch"]),
        ({"within": RESNET8, "min_macs": 10**9}, ["budget.min_macs"]),
        ({"within": "mobilenet_v1"}, ["space"]),
        ({"within": "regnet_x_3_2gf"}, ["space"]),
        ({}, ["space"]),
    ],
)
def test_what_is_wrong_names_its_field(budget: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(DefinitionError) as refused:
        request(budget)
    assert [problem.field for problem in refused.value.problems][: len(fields)] == fields


PRESETS = {
    "mobilenet_v2": "mobilenet-v2-imagenet",
    "efficientnet_b4": "mobilenet-v2-imagenet",
    "resnet18": "resnet-imagenet",
    "resnext50_32x4d": "resnet-imagenet",
    "resnet20": "resnet-tiny",
    RESNET8: "resnet-tiny",
    "mlperf-tiny-vww": "mobilenet-v1-vww",
    "mlperf-tiny-kws": "ds-cnn-keywords",
}


@pytest.mark.parametrize(("name", "chosen"), PRESETS.items())
def test_without_a_space_it_has_the_ranges_of_a_preset_and_all_else_of_the_reference(name: str, chosen: str) -> None:
    reference, space = named_network(name), space_within(named_network(name)).to_json()
    ranges, network = MAKERS[chosen]()[1], reference.definition()
    assert space["stages"] == preset(chosen).space.to_json()["stages"]
    others = {field: value for field, value in network.items() if field not in ("stages", "version")}
    varied = {field for field, value in ranges.items() if isinstance(value, list) or "min" in str(value)}
    assert {field: space.get(field) for field in others.keys() - varied} == {
        field: value for field, value in others.items() if field not in varied
    }


@pytest.mark.parametrize("name", MAKERS)
def test_the_networks_of_every_preset_have_a_space(name: str) -> None:
    reference = preset(name).space.largest()
    space = space_within(reference)
    assert (space.family, space.largest().input_shape) == (reference.family, reference.input_shape)


def test_of_several_presets_the_one_of_inputs_nearest_in_size_is_chosen() -> None:
    cells = [{"width": 16, "depth": 6, "skip_channels": 10}]
    for side, channels, chosen in ((28, 3, "densenet-tiny"), (32, 1, "densenet-cifar"), (60, 3, "densenet-cifar")):
        image = {"channels": channels, "height": side, "width": side}
        network = {"family": "densenet_cnn", "input": image, "num_classes": 7, "cells": cells}
        space = space_within(decode_architecture(network)).to_json()
        assert space == preset(chosen).space.to_json() | {"input": image, "num_classes": 7}


def test_every_named_network_has_the_space_of_a_preset_or_an_error_that_names_presets() -> None:
    known = {name: without_space(network) for name, network in named_networks().items()}
    missing = {name.split("_x_")[0] for name, said in known.items() if said}
    assert {"mobilenet_v1", "regnet"} <= missing
    assert all(said in ("", "required") for said in known.values())


def without_space(network: Architecture) -> str:
    """Return why a network has no space, as a code; empty where it has one."""
    try:
        space_within(network)
    except DefinitionError as error:
        return error.problems[0].code
    return ""
