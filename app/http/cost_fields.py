"""Fields of bodies and answers that the table of costs gives: one for each limit, one for each cost."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, Field, create_model

from app.http.fields import Natural
from nnmass.amounts import bound_of
from nnmass_core.architecture import PartName
from nnmass_core.budget import LARGEST_MASS, LARGEST_NUMBER
from nnmass_core.codec import JsonObject
from nnmass_core.costs import COSTS, LEAST_MASS, MOST_DENSITY, MOST_MASS, Cost, costs_by_floor, costs_by_limit

# untyped: pydantic passes schemas of this type

Model = TypeVar("Model", bound=BaseModel)


def with_limits(base: type[Model]) -> type[Model]:
    """Return a model with the fields of another, then a field for each limit of a budget."""
    limits = {name: _limit(cost, cost.description) for name, cost in costs_by_limit().items()}
    floors = {name: _limit(cost, _floor_description(cost)) for name, cost in costs_by_floor().items()}
    masses = {LEAST_MASS: _mass("Minimum NN-Mass.", 500), MOST_MASS: _mass("Maximum NN-Mass.", 700)}
    about = "Maximum density of every cell, for families whose cells have a density."
    share: Any = Annotated[float, Field(ge=0, le=1)] | None, Field(None, description=about, examples=[0.8])
    return create_model("WithLimits", __base__=base, **limits, **floors, **masses, **{MOST_DENSITY: share})


def _limit(cost: Cost, description: str) -> Any:
    bound = Natural if cost.whole else Annotated[float, Field(gt=0, le=LARGEST_NUMBER)]
    return bound | None, Field(None, description=description, examples=[_example(cost)])


def _floor_description(cost: Cost) -> str:
    unit = f", in {cost.unit}" if cost.unit else ""
    return f"Minimum {cost.meaning}{unit}.{' Requires `device`.' if cost.timed else ''}"


def _mass(description: str, example: float) -> Any:
    return Annotated[float, Field(ge=0, le=LARGEST_MASS)] | None, Field(
        None, description=description, examples=[example]
    )


def with_costs(base: type[Model], *, timed: bool) -> type[Model]:
    """Return a model with the fields of another, then a field for each cost; with `timed` for estimated ones too."""
    costs = [cost for cost in COSTS.values() if timed or not cost.timed]
    return create_model("WithCosts", __base__=base, **{cost.name: _figure(cost) for cost in costs})


def _figure(cost: Cost) -> Any:
    kind, examples = int if cost.whole else float, [_example(cost)]
    about = f"{cost.meaning[:1].upper()}{cost.meaning[1:]}{f', in {cost.unit}' if cost.unit else ''}"
    if cost.timed:
        about += ", estimated; null without a device that has a latency profile."
        return kind | None, Field(None, description=about, examples=examples)
    if cost.compute is not None or cost.together:
        about += "; null in rankings that were stored without this cost."
        return kind | None, Field(None, description=about, examples=examples)
    return kind, Field(description=f"{about}.", examples=examples)


def _example(cost: Cost) -> float:
    """Return the first of the limits that the table gives as examples, in the cost's unit."""
    return bound_of(cost, re.split(r"[, ]", cost.example, maxsplit=1)[0])


def with_parts(schema: dict[str, Any]) -> None:
    """Add `cells` and `stages` to the schema of a network's figures; the network has the one that its family names."""
    for name in get_args(PartName):
        about = f"Definition and figures of each of the {name}, for families whose networks have {name}."
        schema["properties"][name] = {"type": "array", "items": PART, "description": about}


def _part_figure(kind: str, about: str, example: float) -> JsonObject:
    return {"type": kind, "description": about, "examples": [example]}


PART: JsonObject = {
    "title": "PartFigures",
    "type": "object",
    "additionalProperties": True,
    "required": ["nn_mass", "params", "macs"],
    "properties": {
        "nn_mass": _part_figure("number", "NN-Mass of the part, without a unit.", 110.13),
        "density": _part_figure("number", "Of a cell with skip connections: share of its possible links.", 0.98),
        "average_degree": _part_figure("number", "Of a cell with skip connections: mean links of a neuron.", 71.07),
        "params": _part_figure("integer", "Trainable parameters of the part.", 48936),
        "macs": _part_figure("integer", "Multiply-accumulates of the part for one input.", 49397760),
    },
}
"""The figures of a cell or stage; beside them, the fields of its definition."""
