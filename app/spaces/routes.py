"""Routes of the named search spaces."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.errors import NotFound
from app.http.fields import PathName, problems
from nnmass_core.codec import JsonObject
from nnmass_core.named.presets import Preset, presets

# untyped: FastAPI shows a return value of this type as a plain object

router = APIRouter(prefix="/v1/spaces", tags=["spaces"])


class SpaceItem(BaseModel):
    """A named space."""

    name: str
    family: str
    description: str
    space_size: str


class SpaceList(BaseModel):
    """All named spaces."""

    items: list[SpaceItem]
    next_cursor: str | None = None


@router.get("", response_model=SpaceList)
def list_spaces() -> JsonObject:
    """List the named spaces."""
    return {"items": [_item(preset) for preset in presets().values()]}


@router.get("/{name}", responses=problems(404))
def get_space(name: PathName) -> dict[str, Any]:
    """Return the full definition of a space, for use as `space`."""
    if name not in presets():
        raise NotFound("there is no such space; GET /v1/spaces lists them")
    return presets()[name].space.to_json()


def _item(preset: Preset) -> JsonObject:
    return {
        "name": preset.name,
        "family": preset.space.family,
        "description": preset.description,
        "space_size": str(preset.space_size),
    }
