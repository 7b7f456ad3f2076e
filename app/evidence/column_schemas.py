"""Requests and responses about own columns of the evidence."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from app.http.fields import (
    ARCH_ID_EXAMPLE,
    FamilyName,
    Macs,
    NetworkId,
    NetworkName,
    NextCursor,
    NnMass,
    Params,
    Strict,
)
from nnmass_core.families import architecture_schema

# untyped: pydantic has no other type that OpenAPI shows as a plain object

MOST_POINTS = 1_000
LEAST, MOST = 1e-100, 1e100

EXAMPLE: dict[str, JsonValue] = {
    "points": [
        {
            "architecture": {
                "family": "densenet_mlp",
                "in_features": 784,
                "num_classes": 10,
                "width": 8,
                "depth": 16,
                "skip_channels": 4,
                "activation": "relu",
            },
            "name": "ours, 16 layers",
            "values": {"zico": 31.5, "published_accuracy": 0.913},
        }
    ]
}


def _in_range(value: float) -> float:
    if value != 0 and abs(value) < LEAST:
        raise ValueError(f"must be 0, or at least {LEAST} in magnitude")
    return value


COLUMN = "^[a-z][a-z0-9_]{0,39}$"
VALUES: dict[str, JsonValue] = {
    "type": "object",
    "propertyNames": {"type": "string", "pattern": COLUMN},
    "additionalProperties": {"type": "number", "minimum": -MOST, "maximum": MOST},
    "minProperties": 1,
    "maxProperties": 8,
}
"""The schema of figures by column, which pydantic would write with `patternProperties`: generators cannot read it."""

ColumnName = Annotated[str, Field(pattern=COLUMN)]
Figure = Annotated[float, Field(ge=-MOST, le=MOST), AfterValidator(_in_range)]
OwnColumns = Annotated[
    dict[str, float],
    Field(description="Figures by the names of their columns.", examples=[{"zico": 31.5}]),
]


class PointBody(Strict):
    """A network, by `arch_id` or `architecture`, and figures beside it."""

    arch_id: str | None = Field(
        None, max_length=64, description="Id of a known architecture.", examples=[ARCH_ID_EXAMPLE]
    )
    architecture: Annotated[Any, WithJsonSchema(architecture_schema())] | None = Field(
        None, description="Full definition of a network."
    )
    name: NetworkName | None = Field(
        None, description="Name of the network, for charts and tables.", examples=["ours, 16 layers"]
    )
    values: Annotated[dict[ColumnName, Figure], WithJsonSchema(VALUES)] = Field(
        min_length=1,
        max_length=8,
        description="Figures by the names of their columns: another proxy, or an accuracy that you measured.",
        examples=[{"zico": 31.5}],
    )


class PointsBody(Strict):
    """Networks with figures."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    points: list[PointBody] = Field(min_length=1, max_length=MOST_POINTS, description="Networks with figures.")


class PointItem(BaseModel):
    """A network and the figures that you uploaded beside it."""

    model_config = ConfigDict(from_attributes=True)

    arch_id: NetworkId
    name: str = Field(description="Name of the network; empty if it has none.", examples=["ours, 16 layers"])
    family: FamilyName
    task: str = Field(description="Shape of one input and number of classes.", examples=["784/10"])
    nn_mass: NnMass
    params: Params
    macs: Macs
    columns: OwnColumns


class PointsAnswer(BaseModel):
    """The networks of an upload, in its order."""

    items: list[PointItem] = Field(description="Each network with all its figures, those of earlier uploads included.")


class PointList(BaseModel):
    """One page of networks with figures."""

    items: list[PointItem] = Field(description="The networks of the page, by `arch_id`.")
    next_cursor: NextCursor


class ColumnItem(BaseModel):
    """One of your columns."""

    name: str = Field(description="Name of the column.", examples=["zico"])
    n: int = Field(description="Number of networks that have it.", examples=[24])


class ColumnList(BaseModel):
    """All your columns."""

    items: list[ColumnItem] = Field(description="The columns, by name.")
    next_cursor: NextCursor = None
