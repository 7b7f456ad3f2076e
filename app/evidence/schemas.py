"""Responses about evidence."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.http.fields import DIGEST_EXAMPLE, RecipeDigest


class Estimate(BaseModel):
    """A figure with its 95 % bootstrap interval over networks; null where it is undefined."""

    value: float | None = Field(description="The figure, from -1 to 1, or -2 to 2 for a difference.", examples=[0.83])
    low: float | None = Field(description="Lower end of the interval.", examples=[0.61])
    high: float | None = Field(description="Upper end of the interval.", examples=[0.93])


class Correlations(BaseModel):
    """Signed rank correlations with test accuracy."""

    spearman: Estimate = Field(description="Spearman's rho.")
    kendall: Estimate = Field(description="Kendall's tau-b.")


class Measures(BaseModel):
    """NN-Mass and its baselines, on the same networks."""

    nn_mass: Correlations = Field(description="Of NN-Mass with accuracy.")
    params: Correlations = Field(description="Of params with accuracy.")
    macs: Correlations = Field(description="Of MACs with accuracy.")


class Differences(BaseModel):
    """Spearman's rho of NN-Mass minus that of a cost, on the same resamples."""

    nn_mass_minus_params: Estimate = Field(description="Rho of NN-Mass minus rho of params.")
    nn_mass_minus_macs: Estimate = Field(description="Rho of NN-Mass minus rho of MACs.")


class OutsideBands(BaseModel):
    """Numbers of networks with fewer than four others of equal cost."""

    params: int = Field(description="Networks outside all bands of equal params.", examples=[3])
    macs: int = Field(description="Networks outside all bands of equal MACs.", examples=[2])


class Band(Measures):
    """Networks of equal cost: the most expensive costs at most 25 % more than the cheapest."""

    cost: str = Field(description="The cost that is equal: `params` or `macs`.", examples=["params"])
    min: int = Field(description="Cost of the cheapest network, as a count.", examples=[812074])
    max: int = Field(description="Cost of the most expensive network, as a count.", examples=[999706])
    n: int = Field(description="Number of networks in the band.", examples=[12])


class EvidenceScope(BaseModel):
    """The compared trainings: equal images, inputs, classes and recipe."""

    dataset: str = Field(description="Key of the dataset, with its options.", examples=["mnist-5k"])
    data_digest: str = Field(
        description="Digest of the images; equal for equal images in equal order.", examples=[DIGEST_EXAMPLE]
    )
    task: str = Field(description="Shape of one input and number of classes.", examples=["784 -> 10"])
    recipe: str = Field(description="Name of the recipe, or its digest.", examples=["mlp-paper"])
    recipe_digest: RecipeDigest
    adapted: str | None = Field(
        description="Digest of the recipe as adapted to few images; null when it was trained as requested.",
        examples=[DIGEST_EXAMPLE],
    )
    family: str | None = Field(description="Null for all families together.", examples=["densenet_mlp"])
    n: int = Field(description="Number of networks.", examples=[24])


class TopK(BaseModel):
    """How many of the k most accurate networks a measure ranks among its first k, as a share from 0 to 1."""

    k: int = Field(description="Number of networks: a tenth of all, at most ten.", examples=[2])
    by_chance: float = Field(description="Share that a random ranking finds on average.", examples=[0.083])
    nn_mass: float = Field(description="Share that NN-Mass finds.", examples=[0.5])
    params: float = Field(description="Share that params find.", examples=[0.0])
    macs: float = Field(description="Share that MACs find.", examples=[0.0])


class Fit(BaseModel):
    """A line of accuracy on the natural logarithm of NN-Mass, over networks of equal widths."""

    family: str = Field(description="Family of the networks.", examples=["densenet_mlp"])
    widths: list[int] = Field(description="Widths of the cells, or channels of the stages.", examples=[[8]])
    n: int = Field(description="Number of networks.", examples=[16])
    slope: float = Field(description="Change of accuracy for one unit of log NN-Mass.", examples=[0.012])
    intercept: float = Field(description="Accuracy at an NN-Mass of 1.", examples=[0.89])
    r2: float = Field(description="Share of the variance of accuracy that the line explains.", examples=[0.71])
    residual_std: float = Field(description="Standard deviation of accuracy around the line.", examples=[0.004])
    nn_mass_min: float = Field(description="Least NN-Mass of the networks.", examples=[12.5])
    nn_mass_max: float = Field(description="Greatest NN-Mass of the networks.", examples=[118.0])
    prediction_half_width: float = Field(
        description="Half of the 95 % prediction interval of accuracy, at the mean log NN-Mass.", examples=[0.009]
    )


class AccuracyDifference(BaseModel):
    """Accuracy of the networks of rankings less that of their random controls, on average."""

    n: int = Field(description="Number of pairs of a network and its control.", examples=[6])
    value: float = Field(description="Mean difference of accuracy, from -1 to 1.", examples=[-0.004])
    low: float | None = Field(
        description="Lower end of the 95 % bootstrap interval over pairs; null below 5 pairs.", examples=[-0.012]
    )
    high: float | None = Field(description="Upper end of the interval.", examples=[0.003])


class OwnColumn(Measures):
    """A column of yours beside NN-Mass, params and MACs, on the networks that have it."""

    name: str = Field(description="Name of the column.", examples=["zico"])
    n: int = Field(description="Number of networks that have it.", examples=[24])
    column: Correlations = Field(description="Of the column with accuracy.")
    minus_nn_mass: Estimate = Field(description="Rho of the column minus rho of NN-Mass.")
    minus_params: Estimate = Field(description="Rho of the column minus rho of params.")
    minus_macs: Estimate = Field(description="Rho of the column minus rho of MACs.")


class AgainstRandom(BaseModel):
    """Networks of rankings beside their random controls; null where none were trained."""

    near_budget: AccuracyDifference | None = Field(
        description="Beside random networks that use at least 90 % of a limit of the budget."
    )
    random: AccuracyDifference | None = Field(description="Beside random networks of similar cost.")


class EvidenceAnswer(BaseModel):
    """Accuracy against NN-Mass, params and MACs."""

    n: int = Field(description="Number of networks.", examples=[24])
    runs: int = Field(description="Number of trainings: one for each network and seed.", examples=[48])
    diverged: int = Field(
        description="Number of networks whose training diverged. They have no accuracy and are not in `n`.",
        examples=[0],
    )
    excluded: int = Field(
        description="Number of trainings that you excluded. They are in no other figure, and the statement names them.",
        examples=[0],
    )
    scope: EvidenceScope | None = Field(description="Which trainings are compared; null without any.")
    accuracy_column: str | None = Field(
        description="Your column that is the accuracy here; null for the test accuracy of trainings.", examples=[None]
    )
    others: list[EvidenceScope] = Field(description="Other evidence; select it with `dataset` and `recipe`.")
    against_random: AgainstRandom = Field(description="Networks of rankings beside random ones: read this first.")
    overall: Measures = Field(description="Correlations over all networks.")
    difference: Differences = Field(description="How much better NN-Mass ranks than a cost.")
    outside_bands: OutsideBands = Field(description="Networks that no band contains.")
    bands: list[Band] = Field(description="Correlations among networks of equal cost.")
    columns: list[OwnColumn] = Field(
        description="The columns that you uploaded (`POST /v1/evidence/points`), each on the networks that have it."
    )
    top_k: TopK | None = Field(description="Shares of the best networks that are found; null for too few networks.")
    fit: Fit | None = Field(description="Linear fit of accuracy on log NN-Mass at equal width: that of most networks.")
    fits: list[Fit] = Field(description="All such fits, that of most networks first.")
    statement: str = Field(
        description="Summary in plain words.", examples=["4 networks: too few to say anything about NN-Mass."]
    )
