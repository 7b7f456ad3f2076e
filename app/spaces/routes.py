"""Routes of the named search spaces."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, WithJsonSchema

from app.errors import NotFound
from app.http.dependencies import WidePagingDep
from app.http.fields import FamilyName, NextCursor, PathName, problems
from nnmass_core.codec import JsonObject
from nnmass_core.families import space_schema
from nnmass_core.named.presets import Preset, presets

# untyped: FastAPI shows a return value of this type as a plain object

router = APIRouter(prefix="/v1/spaces", tags=["spaces"])


SpaceName = Annotated[PathName, Field(description="Name of the space.", examples=["densenet-cifar"])]
Definition = Annotated[dict[str, Any], WithJsonSchema(space_schema())]


class SpaceItem(BaseModel):
    """A named space."""

    name: str = Field(description="Name for `space`.", examples=["densenet-cifar"])
    family: FamilyName
    description: str = Field(description="What it is for.", examples=["DenseNets with three cells for CIFAR."])
    space_size: str = Field(description="Exact number of distinct architectures, in decimal.", examples=["17836014"])


class SpaceList(BaseModel):
    """All named spaces."""

    items: list[SpaceItem] = Field(description="The spaces.")
    next_cursor: NextCursor = None


@router.get("", response_model=SpaceList)
def list_spaces(paging: WidePagingDep) -> JsonObject:
    """List the named spaces."""
    page, following = paging.page_of({"list": "spaces"}, list(presets().values()))
    return {"items": [_item(preset) for preset in page], "next_cursor": following}


@router.get("/{name}", response_model=Definition, responses=problems(404))
def get_space(name: SpaceName) -> JsonObject:
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
