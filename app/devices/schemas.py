"""Requests and responses about devices."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, WithJsonSchema

from app.http.fields import NextCursor, Precision
from nnmass_core.codec import json_schema
from nnmass_core.hardware.devices import NAME, device_schema, devices
from nnmass_core.hardware.latency import LatencyModel

EXAMPLE = {
    "name": "my-board",
    "title": "My board",
    "flash_bytes": 2097152,
    "ram_bytes": 262144,
    "source": "its data sheet, page 12",
    "note": "Revision C.",
}
Profile = Annotated[Any, WithJsonSchema({**device_schema(), "examples": [EXAMPLE]})]
"""A device profile, as `nnmass calibrate` writes it; the core decodes it."""


DeviceName = Annotated[
    str,
    WithJsonSchema({"type": "string", "pattern": f"^{NAME}$", "examples": ["stm32f746"]}),
    Field(description="Name of the device."),
]
"""A device's name in a path; any other form is answered with NotFound."""

BOARD = devices()["stm32f746"]
"""The device of the examples."""


class DeviceItem(BaseModel):
    """A device: its total memory, including what the program itself needs, and its speed."""

    name: str = Field(description="Name for `budget.device`.", examples=[BOARD.name])
    title: str = Field(description="Name for people.", examples=[BOARD.title])
    flash_bytes: int | None = Field(
        description="Memory for weights, in bytes; null if the device sets no limit.", examples=[BOARD.flash_bytes]
    )
    ram_bytes: int | None = Field(
        description="Memory for activations, in bytes: the largest contiguous region; null if the device sets no "
        "limit.",
        examples=[BOARD.ram_bytes],
    )
    source: str = Field(description="Document with these figures.", examples=[BOARD.source])
    note: str = Field(
        description="What is excluded, and which part or board it is.",
        examples=[BOARD.note],
    )
    latency: Annotated[Any, WithJsonSchema({"anyOf": [json_schema(LatencyModel), {"type": "null"}]})] = Field(
        None, description="Operator times from `nnmass calibrate`, and their error on networks that were not fitted."
    )
    limits: dict[str, int] = Field(
        description="Limits that the device sets in a budget, by their names, in bytes.",
        examples=[BOARD.limits()],
    )
    default_precision: Precision = Field(
        description="Precision of a budget that names this device and no precision: that of its latency profile, else "
        "int8 for a microcontroller (flash or RAM below 16 MiB), else fp32.",
        examples=[BOARD.default_precision],
    )
    own: bool = Field(description="True for your own profiles, false for built-in devices.", examples=[False])


class DeviceList(BaseModel):
    """All devices."""

    items: list[DeviceItem] = Field(description="Your own profiles, then the built-in devices.")
    next_cursor: NextCursor = None
