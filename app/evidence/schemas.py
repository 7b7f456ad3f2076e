"""Responses about evidence."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

# untyped: pydantic has no other type that OpenAPI shows as a plain object


class Estimate(BaseModel):
    """A figure with its 95 % bootstrap interval over networks; null where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


class Correlations(BaseModel):
    """Signed rank correlations with test accuracy."""

    spearman: Estimate
    kendall: Estimate


class Measures(BaseModel):
    """NN-Mass and its baselines, on the same networks."""

    nn_mass: Correlations
    params: Correlations
    macs: Correlations


class Differences(BaseModel):
    """Spearman's rho of NN-Mass minus that of a cost, on the same resamples."""

    nn_mass_minus_params: Estimate
    nn_mass_minus_macs: Estimate


class OutsideBands(BaseModel):
    """Numbers of networks with fewer than four others of equal cost."""

    params: int
    macs: int


class Band(Measures):
    """Networks of equal cost: the most expensive costs at most 25 % more than the cheapest."""

    cost: str
    min: int
    max: int
    n: int


class EvidenceScope(BaseModel):
    """The compared trainings: equal images, inputs, classes and recipe."""

    dataset: str
    data_digest: str
    task: str
    recipe: str
    recipe_digest: str
    family: str | None = Field(description="Null for all families together.")
    n: int


class EvidenceAnswer(BaseModel):
    """Accuracy against NN-Mass, params and MACs."""

    n: int = Field(description="Number of networks.")
    runs: int = Field(description="Number of trainings: one for each network and seed.")
    diverged: int = Field(
        description="Number of networks whose training diverged. They have no accuracy and are not in `n`."
    )
    scope: EvidenceScope | None
    others: list[EvidenceScope] = Field(description="Other evidence; select it with `dataset` and `recipe`.")
    overall: Measures
    difference: Differences
    outside_bands: OutsideBands
    bands: list[Band]
    top_k: dict[str, Any] | None
    fit: dict[str, Any] | None = Field(description="Linear fit of accuracy on log NN-Mass at equal width.")
    fits: list[dict[str, Any]]
    statement: str
