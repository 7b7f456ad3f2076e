"""Answers about evidence."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Estimate(BaseModel):
    """A figure with its 95 % bootstrap interval over networks; null where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


class Correlations(BaseModel):
    """Rank correlations with test accuracy, signs kept."""

    spearman: Estimate
    kendall: Estimate


class Measures(BaseModel):
    """NN-Mass beside its baselines, on the same networks."""

    nn_mass: Correlations
    params: Correlations
    macs: Correlations


class Differences(BaseModel):
    """Spearman's rho of NN-Mass less that of a cost, on the same resamples."""

    nn_mass_minus_params: Estimate
    nn_mass_minus_macs: Estimate


class OutsideBands(BaseModel):
    """Networks that fewer than four others match in cost."""

    params: int
    macs: int


class Band(Measures):
    """Networks of equal cost: the dearest costs at most a quarter more than the cheapest."""

    cost: str
    min: int
    max: int
    n: int


class EvidenceScope(BaseModel):
    """Which trainings are compared: the same images, inputs and classes, and the same recipe."""

    dataset: str
    data_digest: str
    task: str
    recipe: str
    recipe_digest: str
    family: str | None = Field(description="Null: all families together.")
    n: int


class EvidenceAnswer(BaseModel):
    """Accuracy against NN-Mass, params and MACs."""

    n: int = Field(description="Networks.")
    runs: int = Field(description="Trainings: networks times seeds.")
    diverged: int = Field(description="Networks whose training diverged; they have no accuracy and are not counted.")
    scope: EvidenceScope | None
    others: list[EvidenceScope] = Field(description="What else there is evidence on; `dataset` and `recipe` choose.")
    overall: Measures
    difference: Differences
    outside_bands: OutsideBands
    bands: list[Band]
    top_k: dict[str, Any] | None
    fit: dict[str, Any] | None = Field(description="The line of accuracy on log NN-Mass at equal width.")
    fits: list[dict[str, Any]]
    statement: str
