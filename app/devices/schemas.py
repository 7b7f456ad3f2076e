"""Requests and responses about devices."""

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
"""A device profile, as `nnmass calibrate` writes it; the core decodes it."""


DeviceName = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{NAME}$"})]
"""A device's name in a path; any other form is answered with NotFound."""


class DeviceItem(BaseModel):
    """A device: its total memory, including what the program itself needs, and its speed."""

    name: str = Field(description="Name for `budget.device`.")
    title: str
    flash_bytes: int | None = Field(description="Memory for weights; null if the device sets no limit.")
    ram_bytes: int | None = Field(description="Memory for activations: the largest contiguous region.")
    source: str = Field(description="Document with these figures.")
    note: str
    latency: Annotated[Any, WithJsonSchema({"anyOf": [json_schema(LatencyModel), {"type": "null"}]})] = Field(
        None, description="Operator times from `nnmass calibrate`, and their error on networks that were not fitted."
    )
    limits: dict[str, int] = Field(description="Limits that the device sets in a budget.")
    own: bool = Field(description="True for your own profiles, false for built-in devices.")


class DeviceList(BaseModel):
    """All devices."""

    items: list[DeviceItem]
    next_cursor: str | None = None
