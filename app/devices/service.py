"""Operations on devices: those built into the core, and profiles that an owner has posted."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import catalog
from app.errors import Invalid, NotFound, WrongState
from app.storage.db import now
from app.storage.locks import advisory_lock
from app.storage.models import DeviceProfile
from nnmass_core.codec import JsonObject
from nnmass_core.hardware.devices import Device, devices, read_device

MOST_PROFILES = 200
"""The most profiles that an owner may have."""


def every(session: Session, owner: str) -> list[JsonObject]:
    """Return the owner's profiles by name, then the built-in devices."""
    own = [read_device(profile) for profile in catalog.devices_of(session, owner)]
    return [*(_answer(one, own=True) for one in own), *(_answer(one, own=False) for one in devices().values())]


def _answer(device: Device, *, own: bool) -> JsonObject:
    return {**device.to_json(), "own": own}


def get(session: Session, owner: str, name: str) -> JsonObject:
    """Return a device. Raises NotFound."""
    known = devices().get(name)
    if known is not None:
        return _answer(known, own=False)
    profile = catalog.device(session, owner, name)
    if profile is None:
        raise NotFound("there is no such device; GET /v1/devices lists them")
    return _answer(read_device(profile), own=True)


def keep(session: Session, owner: str, profile: Any) -> tuple[JsonObject, bool]:
    """Store a profile under its name, in place of an earlier one. Return the response, and whether the name is new.

    Searches that referred to the earlier one do not change, since their requests contain it. Raises DefinitionError,
    Invalid for the name of a built-in device, and WrongState when the owner has too many profiles.
    """
    if not isinstance(profile, dict):
        raise Invalid.at("", "not_an_object", "must be an object")
    device = read_device(profile)
    if device.name in devices():
        raise Invalid.at("name", "taken", "is the name of a built-in device")
    advisory_lock(session, "devices", owner)  # the count must not change meanwhile
    row = session.get(DeviceProfile, (owner, device.name))
    new = row is None
    if row is None:
        if _count(session, owner) >= MOST_PROFILES:
            raise WrongState(f"you already have {MOST_PROFILES} device profiles; delete one first")
        row = DeviceProfile(owner=owner, name=device.name)
        session.add(row)
    row.definition, row.created_at = device.definition(), now(session)
    session.flush()
    return _answer(device, own=True), new


def _count(session: Session, owner: str) -> int:
    query = select(func.count()).select_from(DeviceProfile).where(DeviceProfile.owner == owner)
    return session.scalar(query) or 0


def delete(session: Session, owner: str, name: str) -> None:
    """Delete a profile. Raises NotFound."""
    advisory_lock(session, "devices", owner)
    gone = delete_from(DeviceProfile).where(DeviceProfile.owner == owner, DeviceProfile.name == name)
    if not session.execute(gone.returning(DeviceProfile.name)).all():
        raise NotFound("you have no such device profile")
