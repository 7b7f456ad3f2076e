"""Routes of the devices."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.errors import NotFound
from app.fields import PathName, problems
from nnmass_core.devices import devices

router = APIRouter(prefix="/v1/devices", tags=["devices"])


class DeviceItem(BaseModel):
    """A device and its memory, all of it: what the program itself needs is for its maker to take off."""

    name: str = Field(description="As `budget.device` takes it.")
    title: str
    flash_bytes: int = Field(description="For weights.")
    ram_bytes: int = Field(description="For activations: the largest region with one run of addresses.")
    source: str = Field(description="The document with these figures.")
    note: str
    limits: dict[str, int] = Field(description="What naming the device in a budget sets.")


class DeviceList(BaseModel):
    """All devices."""

    items: list[DeviceItem]
    next_cursor: str | None = None


@router.get("", response_model=DeviceList)
def list_devices() -> dict[str, Any]:
    """List the devices that a budget can name, with their memory limits and where these are from."""
    return {"items": [device.to_json() for device in devices().values()]}


@router.get("/{name}", response_model=DeviceItem, responses=problems(404))
def get_device(name: PathName) -> dict[str, Any]:
    """Return a device."""
    if name not in devices():
        raise NotFound("there is no such device; GET /v1/devices lists them")
    return devices()[name].to_json()
