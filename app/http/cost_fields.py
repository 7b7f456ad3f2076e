"""Fields of bodies and answers that the table of costs gives: one for each limit, one for each cost."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, create_model

from app.http.fields import Natural
from nnmass_core.budget import LARGEST_NUMBER
from nnmass_core.costs import COSTS, Cost

Model = TypeVar("Model", bound=BaseModel)


def with_limits(base: type[Model]) -> type[Model]:
    """Return a model with the fields of another, then a field for each limit of a budget."""
    return create_model("WithLimits", __base__=base, **{cost.limit: _limit(cost) for cost in COSTS.values()})


def _limit(cost: Cost) -> Any:
    bound = Natural if cost.whole else Annotated[float, Field(gt=0, le=LARGEST_NUMBER)]
    return bound | None, Field(None, description=cost.description)


def with_costs(base: type[Model], *, timed: bool) -> type[Model]:
    """Return a model with the fields of another, then a field for each cost; with `timed` for estimated ones too."""
    costs = [cost for cost in COSTS.values() if timed or not cost.timed]
    return create_model("WithCosts", __base__=base, **{cost.name: _figure(cost) for cost in costs})


def _figure(cost: Cost) -> Any:
    kind = int if cost.whole else float
    if cost.timed:
        return kind | None, Field(
            None, description="For one input, estimated; null without a device that has a latency profile."
        )
    if cost.compute is not None:
        return kind | None, Field(None, description="Null in rankings that were stored without this cost.")
    return kind, ...
