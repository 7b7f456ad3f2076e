"""Requests and answers of devices."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, WithJsonSchema

from nnmass_core.codec import json_schema
from nnmass_core.hardware.devices import NAME, device_schema
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
"""A device's profile, as `nnmass calibrate` writes it; the core reads it."""


DeviceName = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{NAME}$"})]
"""A device's name in a path: what has not its form names none."""


class DeviceItem(BaseModel):
    """A device: its memory, all of it (what the program itself needs is for its maker to take off), and its speed."""

    name: str = Field(description="As `budget.device` takes it.")
    title: str
    flash_bytes: int | None = Field(description="For weights; null where it sets no limit.")
    ram_bytes: int | None = Field(description="For activations: the largest region with one run of addresses.")
    source: str = Field(description="The document with these figures.")
    note: str
    latency: Annotated[Any, WithJsonSchema({"anyOf": [json_schema(LatencyModel), {"type": "null"}]})] = Field(
        None, description="What operators take, as `nnmass calibrate` measured it, and its error on networks held out."
    )
    limits: dict[str, int] = Field(description="What naming the device in a budget sets.")
    own: bool = Field(description="Whether it is a profile of yours, not one that comes with the service.")


class DeviceList(BaseModel):
    """All devices."""

    items: list[DeviceItem]
    next_cursor: str | None = None
