"""Routes of the devices."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from app.devices import service
from app.devices.schemas import DeviceItem, DeviceList, DeviceName, Profile
from app.http.dependencies import Owner, ReadSession, WidePagingDep, WriteSession
from app.http.fields import BODY_ERRORS, problems
from nnmass_core.codec import JsonObject

router = APIRouter(prefix="/v1/devices", tags=["devices"])


@router.get("", response_model=DeviceList)
def list_devices(session: ReadSession, owner: Owner, paging: WidePagingDep) -> JsonObject:
    """List the devices for budgets, with their limits and sources. Your own device profiles come first."""
    items, following = paging.page_of({"list": "devices", "owner": owner}, service.every(session, owner))
    return {"items": items, "next_cursor": following}


@router.post(
    "",
    status_code=201,
    response_model=DeviceItem,
    responses={
        200: {"model": DeviceItem, "description": "Replaced the profile with this name."},
        **problems(*BODY_ERRORS, 409),
    },
)
def keep_device(body: Annotated[Profile, Body()], session: WriteSession, owner: Owner, response: Response) -> Any:
    """Store a device profile, as `nnmass calibrate` writes it, for use in budgets."""
    answer, new = service.keep(session, owner, body)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/v1/devices/{answer['name']}"
    return answer


@router.get("/{device_name}", response_model=DeviceItem, responses=problems(404))
def get_device(device_name: DeviceName, session: ReadSession, owner: Owner) -> JsonObject:
    """Return a device."""
    return service.get(session, owner, device_name)


@router.delete("/{device_name}", status_code=204, responses=problems(*BODY_ERRORS, 404))
def delete_device(device_name: DeviceName, session: WriteSession, owner: Owner) -> None:
    """Delete one of your device profiles. Searches that used it remain unchanged."""
    service.delete(session, owner, device_name)
