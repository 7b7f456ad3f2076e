"""Devices and what their data sheets say of memory: the limits that `budget.device` stands for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from nnmass_core.errors import DefinitionError

KIB, MIB = 2**10, 2**20


@dataclass(frozen=True)
class Device:
    """A device's memory, all of it: the program's own share of flash and RAM must be left by whoever knows it.

    flash_bytes holds the weights, ram_bytes the activations: the largest region of RAM with one run of addresses, since
    tensors are not split. source: the document with the figures; note: which part or board, and what was left out.
    """

    name: str
    title: str
    flash_bytes: int
    ram_bytes: int
    source: str
    note: str

    def limits(self) -> dict[str, int]:
        """Return the limits that the device sets, by the names that a budget has for them."""
        return {"max_weight_bytes": self.flash_bytes, "max_peak_activation_bytes": self.ram_bytes}

    def to_json(self) -> dict[str, Any]:
        """Write the device as JSON-ready objects."""
        return {**vars(self), "limits": self.limits()}


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
            "The largest flash of the series. SRAM1 and SRAM2; the 64 KiB of CCM lie elsewhere.",
        ),
        Device(
            "stm32f746",
            "STM32F746 (Cortex-M7)",
            1 * MIB,
            320 * KIB,
            "STMicroelectronics DS10916, STM32F745xx STM32F746xx",
            "The largest flash of the series. DTCM (64 KiB), SRAM1 and SRAM2 follow each other.",
        ),
        Device(
            "stm32f767",
            "STM32F767 (Cortex-M7)",
            2 * MIB,
            512 * KIB,
            "STMicroelectronics DS11532, STM32F765xx STM32F767xx STM32F768Ax STM32F769xx",
            "The largest flash of the series. DTCM (128 KiB), SRAM1 and SRAM2 follow each other.",
        ),
        Device(
            "stm32h743",
            "STM32H743 (Cortex-M7)",
            2 * MIB,
            512 * KIB,
            "STMicroelectronics DS12110, STM32H742xI/G STM32H743xI/G",
            "The AXI SRAM; of the 1 MiB in all, TCM and the SRAM of the other domains lie elsewhere.",
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
            "The network core's own memory is left out.",
        ),
        Device(
            "rp2040",
            "RP2040 on the Raspberry Pi Pico (Cortex-M0+)",
            2 * MIB,
            264 * KIB,
            "Raspberry Pi, RP2040 Datasheet and Pico Datasheet",
            "The chip has no flash; the Pico's is 2 MiB. All six banks of SRAM follow each other.",
        ),
        Device(
            "rp2350",
            "RP2350 on the Raspberry Pi Pico 2 (Cortex-M33)",
            4 * MIB,
            520 * KIB,
            "Raspberry Pi, RP2350 Datasheet and Pico 2 Datasheet",
            "The Pico 2's flash is 4 MiB. All banks of SRAM follow each other.",
        ),
        Device(
            "esp32-s3",
            "ESP32-S3-WROOM-1-N8 (Xtensa LX7)",
            8 * MIB,
            512 * KIB,
            "Espressif, ESP32-S3 Series Datasheet and ESP32-S3-WROOM-1 Datasheet",
            "The module's flash is 8 MiB. SRAM in all; caches and the radio take a part. No PSRAM.",
        ),
    )
    return {device.name: device for device in known}


def device_named(name: object) -> Device:
    """Return a device by its name. Raises DefinitionError."""
    if not isinstance(name, str) or name not in devices():
        raise DefinitionError.at("device", "unknown_device", f"must be one of {', '.join(devices())}")
    return devices()[name]
