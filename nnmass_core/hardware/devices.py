"""Devices: their memory according to their documents, and their measured speed.

A budget's `device` sets limits on weights and activations, the latency model of the search, and the precision where the
budget names none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import resources
from typing import Any

from nnmass_core.codec import (
    LARGEST_INTEGER,
    JsonObject,
    as_integer,
    check_integer,
    decode,
    encode,
    json_schema,
    object_schema,
    one_of,
    sha256_of,
    unknown_fields,
)
from nnmass_core.costs import COSTS
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.hardware.latency import LINE, LatencyModel

# untyped: arguments of a Device, checked one by one

KIB, MIB, GIB = 2**10, 2**20, 2**30

MICROCONTROLLER_BYTES = 16 * MIB
"""A device with less flash or less RAM than this is a microcontroller."""

NAME = "[a-z][a-z0-9._-]{0,63}"
"""The form of a device's name."""

TEXTS = {
    "title": (200, "Name for people.", "My board"),
    "source": (500, "Document with these figures.", "its data sheet, page 12"),
    "note": (2000, "What is excluded, and which part or board it is.", "Revision C."),
}
"""The descriptive fields of a profile: their maximum number of characters, a description and an example."""

MEMORY = ("flash_bytes", "ram_bytes")

USUAL_PRECISION = "fp32"
"""The precision of a budget that names none and has no device."""

SHARED = "One memory holds weights, activations and everything else; each limit is the whole memory."


@dataclass(frozen=True)
class Device:
    """A device's whole memory (the user must subtract what the rest of the program needs) and its speed.

    flash_bytes holds the weights, ram_bytes the activations: the largest region of RAM with contiguous addresses, since
    tensors are not split. None: unknown or, as on a computer, not the limiting factor. source: the document with the
    figures; note: which part or board, and what is excluded. latency: measured times of operators, if there are any.
    """

    name: str
    title: str
    flash_bytes: int | None
    ram_bytes: int | None
    source: str
    note: str
    latency: LatencyModel | None = None

    def limits(self) -> dict[str, int]:
        """Return the limits that the device sets, by their names in a budget."""
        bounds = {cost.limit: getattr(self, cost.memory) for cost in COSTS.values() if cost.memory}
        return {name: bound for name, bound in bounds.items() if bound is not None}

    @property
    def microcontroller(self) -> bool:
        """Whether it has less flash or less RAM than 16 MiB."""
        return any(size is not None and size < MICROCONTROLLER_BYTES for size in (self.flash_bytes, self.ram_bytes))

    @property
    def default_precision(self) -> str:
        """The precision of a budget with this device that names none.

        It is that of the device's latency profile; without one int8 for a microcontroller, since its runtimes compute
        with integers, and fp32 for other devices.
        """
        if self.latency is not None:
            return self.latency.precision
        return "int8" if self.microcontroller else USUAL_PRECISION

    def definition(self) -> JsonObject:
        """Write the profile in the form that `read_device` reads, JSON-ready."""
        plain = {name: getattr(self, name) for name in FIELDS}
        return {**plain, "latency": None if self.latency is None else encode(self.latency)}

    def to_json(self) -> JsonObject:
        """Write the device with the limits and the default precision that it sets, as JSON-ready objects."""
        return {**self.definition(), "limits": self.limits(), "default_precision": self.default_precision}

    def named(self) -> str | JsonObject:
        """Return a permanent reference to the device for a request: its name if it is built in, else the whole profile.

        A result therefore depends only on its request.
        """
        known = devices().get(self.name)
        if known is None:
            return self.definition()
        # the title, source and note are words about the device: another wording is the same device
        same = replace(known, title=self.title, source=self.source, note=self.note) == self
        return self.name if same else self.definition()

    @cached_property
    def digest(self) -> str:
        """A hash of the profile: a device that is measured again has another profile and hash."""
        return f"sha256:{sha256_of(self.definition())}"


FIELDS = ("name", "title", *MEMORY, "source", "note")


@cache
def devices() -> dict[str, Device]:
    """Return every device by its name."""
    known = (
        Device(
            "stm32f407",
            "STM32F407 (Cortex-M4)",
            1 * MIB,
            128 * KIB,
            "STMicroelectronics DS8626, STM32F405xx STM32F407xx",
            "The largest flash of the series. SRAM1 and SRAM2, without the separate 64 KiB of CCM.",
        ),
        Device(
            "stm32f746",
            "STM32F746 (Cortex-M7)",
            1 * MIB,
            320 * KIB,
            "STMicroelectronics DS10916, STM32F745xx STM32F746xx",
            "The largest flash of the series. DTCM (64 KiB), SRAM1 and SRAM2 are contiguous.",
        ),
        Device(
            "stm32f767",
            "STM32F767 (Cortex-M7)",
            2 * MIB,
            512 * KIB,
            "STMicroelectronics DS11532, STM32F765xx STM32F767xx STM32F768Ax STM32F769xx",
            "The largest flash of the series. DTCM (128 KiB), SRAM1 and SRAM2 are contiguous.",
        ),
        Device(
            "stm32h743",
            "STM32H743 (Cortex-M7)",
            2 * MIB,
            512 * KIB,
            "STMicroelectronics DS12110, STM32H742xI/G STM32H743xI/G",
            "AXI SRAM only: TCM and the SRAM of the other domains, of 1 MiB in total, are separate.",
        ),
        Device(
            "nrf52840",
            "nRF52840 (Cortex-M4)",
            1 * MIB,
            256 * KIB,
            "Nordic Semiconductor, nRF52840 Product Specification",
            "As on the Arduino Nano 33 BLE.",
        ),
        Device(
            "nrf5340",
            "nRF5340, application core (Cortex-M33)",
            1 * MIB,
            512 * KIB,
            "Nordic Semiconductor, nRF5340 Product Specification",
            "Without the separate memory of the network core.",
        ),
        Device(
            "rp2040",
            "RP2040 on the Raspberry Pi Pico (Cortex-M0+)",
            2 * MIB,
            264 * KIB,
            "Raspberry Pi, RP2040 Datasheet and Pico Datasheet",
            "The chip has no flash; the Pico has 2 MiB. All six SRAM banks are contiguous.",
        ),
        Device(
            "rp2350",
            "RP2350 on the Raspberry Pi Pico 2 (Cortex-M33)",
            4 * MIB,
            520 * KIB,
            "Raspberry Pi, RP2350 Datasheet and Pico 2 Datasheet",
            "The Pico 2 has 4 MiB of flash. All SRAM banks are contiguous.",
        ),
        Device(
            "esp32-s3",
            "ESP32-S3-WROOM-1-N8 (Xtensa LX7)",
            8 * MIB,
            480 * KIB,
            "Espressif, ESP32-S3 Technical Reference Manual and ESP32-S3-WROOM-1 Datasheet",
            "The module has 8 MiB of flash. SRAM1 and SRAM2, contiguous for data; caches use a part.",
        ),
        Device(
            "esp32",
            "ESP32-WROOM-32E-N4 (Xtensa LX6)",
            4 * MIB,
            328 * KIB,
            "Espressif, ESP32 Technical Reference Manual and ESP32-WROOM-32E Datasheet",
            "The module has 4 MiB of flash. SRAM1 and SRAM2, contiguous for data; the radio uses a part.",
        ),
        Device(
            "stm32l476",
            "STM32L476 (Cortex-M4)",
            1 * MIB,
            96 * KIB,
            "STMicroelectronics DS10198, STM32L476xx",
            "The largest flash of the series. SRAM1, without the separate 32 KiB of SRAM2.",
        ),
        Device(
            "raspberry-pi-4b-4gb",
            "Raspberry Pi 4 Model B, 4 GB (Cortex-A72)",
            4 * GIB,
            4 * GIB,
            "Raspberry Pi, Raspberry Pi 4 Model B product brief",
            SHARED,
        ),
        Device(
            "raspberry-pi-5-8gb",
            "Raspberry Pi 5, 8 GB (Cortex-A76)",
            8 * GIB,
            8 * GIB,
            "Raspberry Pi, Raspberry Pi 5 product brief",
            SHARED,
        ),
        Device(
            "raspberry-pi-zero-2-w",
            "Raspberry Pi Zero 2 W (Cortex-A53)",
            512 * MIB,
            512 * MIB,
            "Raspberry Pi, Raspberry Pi Zero 2 W product brief",
            SHARED,
        ),
        Device(
            "jetson-orin-nano-8gb",
            "NVIDIA Jetson Orin Nano 8GB",
            8 * GIB,
            8 * GIB,
            "NVIDIA, Jetson Orin Nano Series Data Sheet",
            SHARED,
        ),
        Device("pixel-8", "Google Pixel 8 (phone)", 8 * GIB, 8 * GIB, "Google, Pixel 8 tech specs", SHARED),
        Device(
            "galaxy-s24", "Samsung Galaxy S24 (phone)", 8 * GIB, 8 * GIB, "Samsung, Galaxy S24 specifications", SHARED
        ),
        Device(
            "rtx-4090",
            "NVIDIA GeForce RTX 4090",
            24 * GIB,
            24 * GIB,
            "NVIDIA, GeForce RTX 4090 specifications",
            SHARED,
        ),
        Device("a100-40gb", "NVIDIA A100 40GB", 40 * GIB, 40 * GIB, "NVIDIA A100 Tensor Core GPU Datasheet", SHARED),
        Device("h100-80gb", "NVIDIA H100 80GB", 80 * GIB, 80 * GIB, "NVIDIA H100 Tensor Core GPU Datasheet", SHARED),
    )
    return {device.name: device for device in (*known, *_measured())}


def _measured() -> list[Device]:
    """Return the devices with a profile fitted to networks that others timed, as `bench.timings` writes them."""
    profiles = resources.files("nnmass_core.hardware").joinpath("measured.json").read_text(encoding="utf-8")
    return [_decode(profile) for profile in json.loads(profiles)]


def read_device(data: object) -> Device:
    """Return a device by its name, or from its profile as parsed JSON. Raises DefinitionError with every problem."""
    if isinstance(data, Device):
        return data
    if isinstance(data, Mapping):
        return _decode(data)
    if not isinstance(data, str) or data not in devices():
        raise unknown_device(data, devices())
    return devices()[data]


def unknown_device(name: object, known: Iterable[str]) -> DefinitionError:
    """Return the error about a name that is not one of the known devices'."""
    return DefinitionError.at("", "unknown_device", one_of(name, known, after=", or a profile"))


def _decode(data: Mapping[str, Any]) -> Device:
    problems = list(unknown_fields(data, {*FIELDS, "latency"}))
    name = data.get("name")
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        problems.append(
            Problem("name", "bad_name", "must be a letter followed by up to 63 of a-z, 0-9, dot, dash and underscore")
        )
    found: dict[str, Any] = {"name": name}
    for field, (longest, *_) in TEXTS.items():
        found[field] = data.get(field, "")
        if not isinstance(found[field], str) or len(found[field]) > longest or not re.fullmatch(LINE, found[field]):
            problems.append(Problem(field, "bad_text", f"must be one line of at most {longest} characters"))
    for field in MEMORY:
        found[field] = as_integer(data.get(field))
        if found[field] is not None:
            problems += check_integer(found[field], 0, LARGEST_INTEGER, field)
    if data.get("latency") is not None:
        try:
            found["latency"] = decode(LatencyModel, data["latency"])
        except DefinitionError as error:
            problems += error.under("latency").problems
    if problems:
        raise DefinitionError(problems)
    return Device(**found)


def device_schema() -> JsonObject:
    """Describe a profile as JSON Schema."""
    latency, about_latency = json_schema(LatencyModel), "Operator times, measured by `nnmass calibrate`."
    memory = {
        "flash_bytes": ("Memory for weights, in bytes.", 2 * MIB),
        "ram_bytes": ("Memory for activations, in bytes: one contiguous region.", 256 * KIB),
    }
    size: JsonObject = {"type": "integer", "minimum": 0, "maximum": LARGEST_INTEGER}
    properties: JsonObject = {
        "name": {
            "type": "string",
            "pattern": f"^{NAME}$",
            "description": "Name to use in `budget.device`.",
            "examples": ["my-board"],
        },
        **{
            field: {
                "type": "string",
                "maxLength": longest,
                "pattern": f"^{LINE}$",
                "description": about,
                "examples": [example],
            }
            for field, (longest, about, example) in TEXTS.items()
        },
        **{
            field: {
                "anyOf": [size, {"type": "null"}],
                "description": f"{about} If omitted: no limit.",
                "examples": [example],
            }
            for field, (about, example) in memory.items()
        },
        "latency": {"anyOf": [latency, {"type": "null"}], "description": about_latency},
    }
    return object_schema("DeviceProfile", properties, optional=properties.keys() - {"name"})
