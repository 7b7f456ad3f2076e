"""Devices as budgets: their memory limits apply, with and without other limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.errors import DefinitionError
from nnmass_core.hardware.devices import devices
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import SearchRequest
from nnmass_core.search import search
from tests.core.latencies import profile
from tests.parsed import parsed

SMALL_GREY = {
    "family": "densenet_cnn_depthwise",
    "input": {"channels": 1, "height": 48, "width": 48},
    "num_classes": 2,
    "cells": 3,
    "width": {"min": 8, "max": 64, "step": 8},
    "depth": {"min": 3, "max": 12},
    "skip_channels": {"min": 0, "max": 128, "step": 4},
}


def bounds(budget: Budget) -> dict[str, float]:
    return {limit.name: limit.bound for limit in budget.limits()}


def test_every_device_has_a_source_and_plausible_memory() -> None:
    for name, device in devices().items():
        assert device.name == name
        assert device.source
        if device.latency is not None:  # its times come from others, who measured no memory
            assert device.limits() == {}
            continue
        assert device.ram_bytes is not None
        assert device.flash_bytes is not None
        assert 64 * 2**10 <= device.ram_bytes <= device.flash_bytes <= 80 * 2**30


def test_the_lower_of_device_memory_and_given_limit_applies() -> None:
    part = devices()["stm32f746"]
    assert bounds(Budget(device="stm32f746")) == part.limits()
    assert bounds(Budget(device="stm32f746", max_weight_bytes=500_000))["max_weight_bytes"] == 500_000
    assert bounds(Budget(device="stm32f746", max_weight_bytes=10**9))["max_weight_bytes"] == part.flash_bytes
    assert Budget(**parsed(Budget(device="rp2040", max_macs=5).to_json())) == Budget(device="rp2040", max_macs=5)


@pytest.mark.parametrize("name", ["", "STM32F746", "toaster", 7, ["rp2040"]])
def test_an_unknown_device_names_its_field(name: object) -> None:
    with pytest.raises(DefinitionError, match=r"device: must be one of stm32f407, .*, or a profile"):
        Budget(device=name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["stm32f746", "rp2040", "nrf52840"])
def test_a_search_for_a_device_equals_a_search_with_its_memory_limits(name: str) -> None:
    space = resolve_space(SMALL_GREY)
    found = search(SearchRequest(space=space, budget=Budget(device=name, precision="int8"), top_k=3))
    limits: dict[str, Any] = devices()[name].limits()
    same = search(SearchRequest(space=space, budget=Budget(precision="int8", **limits), top_k=3))
    assert found.certificate.optimal
    assert found.ranking == same.ranking
    best = found.ranking[0].evaluation.report("int8")
    assert best["weight_bytes"] <= limits["max_weight_bytes"]
    assert best["peak_activation_bytes"] <= limits["max_peak_activation_bytes"]
    assert set(found.ranking[0].slack) == {"max_weight_bytes", "max_peak_activation_bytes"}


@pytest.mark.parametrize("name", list(devices()))
def test_a_budget_that_names_no_precision_has_that_of_its_device(name: str) -> None:
    """The boards with kilobytes of RAM compute with integers; phones, single-board computers and GPUs do not.

    Devices with times have the precision of these.
    """
    small = name.startswith(("stm32", "nrf", "rp2", "esp32", "zcu102", "vck190"))
    expected = "fp16" if name.endswith("-batched") else "int8" if small else "fp32"
    budget = Budget(device=name)
    assert budget.precision == devices()[name].default_precision == expected
    assert budget == Budget(device=name, precision=budget.precision)
    assert budget.to_json()["precision"] == budget.precision
    assert Budget(device=name, precision="fp16").precision == "fp16"


@pytest.mark.parametrize(
    ("given", "precision"),
    [
        ({}, "fp32"),
        ({"flash_bytes": 2**24 - 1}, "int8"),
        ({"flash_bytes": 2**24}, "fp32"),
        ({"ram_bytes": 2**24 - 1, "flash_bytes": 2**30}, "int8"),
        ({"ram_bytes": 2**24, "flash_bytes": 2**24}, "fp32"),
    ],
)
def test_the_default_precision_of_a_profile_follows_from_its_memory(given: dict[str, int], precision: str) -> None:
    assert Budget(device={"name": "mine", **given}).precision == precision


def test_the_default_precision_of_a_profile_with_latencies_is_theirs() -> None:
    board = profile(flash_bytes=2**20)
    assert Budget(device=board).precision == "fp32"
    assert len(Budget(device=board, max_latency_ms=5).timed_devices()) == 1
    board["latency"]["precision"] = "fp16"
    assert Budget(device=board).precision == "fp16"


def test_a_budget_without_a_device_counts_four_bytes() -> None:
    assert Budget().precision == Budget(precision=None).precision == Budget(max_weight_bytes=9).precision == "fp32"


def test_a_device_with_another_wording_is_known_by_its_name() -> None:
    device = devices()["stm32f746"]
    assert replace(device, note="worded in another way").named() == "stm32f746"
    assert replace(device, flash_bytes=1).named() != "stm32f746"
