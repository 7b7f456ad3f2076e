"""What trained networks show about NN-Mass: how well it correlates with accuracy, compared with params and MACs.

Statistics are scipy's; it is loaded when first needed, so that importing this module stays fast. Every result is a pure
function of the points: resamples come from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import TypedDict

import numpy as np

from nnmass_core.codec import JsonObject
from nnmass_core.engine.chain import Floats

MEASURES = ("nn_mass", "params", "macs")
COSTS = ("params", "macs")

CONFIDENCE = 0.95
FEWEST = 5
"""With fewer networks there is no interval, no band and no top k: resamples would hardly differ."""

RESAMPLES = 2000
SLOW_RESAMPLES = 200
"""Resamples of Kendall's tau, which takes longer to compute."""

PAIRED = 64
"""Up to this number of networks Kendall's tau is computed on all pairs of networks, for many resamples together."""

SEED = 0

UNDEFINED = 9.0
"""Less than every correlation: replaces NaN inside the bootstrap, which warns about every NaN."""

BAND = 1.25
"""In a band of equal cost the most expensive network costs at most this many times the cheapest."""

FEWEST_RUNS = 8
FEWEST_MASSES = 3
"""A line needs this number of trained networks of equal width, and this number of different NN-Masses among them."""

TOP_SHARE = 10
"""The top k are one network in this many, and at most this many networks."""


class Estimate(TypedDict):
    """A figure with its 95 % bootstrap interval; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


class Correlations(TypedDict):
    """Rank correlations of a measure with accuracy."""

    spearman: Estimate
    kendall: Estimate


class Measures(TypedDict):
    """The correlations of each measure."""

    nn_mass: Correlations
    params: Correlations
    macs: Correlations


class Differences(TypedDict):
    """Spearman's rho of NN-Mass less that of each cost."""

    nn_mass_minus_params: Estimate
    nn_mass_minus_macs: Estimate


class Band(Measures):
    """The correlations within a band of equal cost, and the band."""

    cost: str
    min: int
    max: int
    n: int


class ColumnEvidence(Measures):
    """The correlations of a column that somebody gave, beside those of the measures on the same networks.

    minus_nn_mass and the others: Spearman's rho of the column less that of the measure, on the same resamples.
    """

    n: int
    column: Correlations
    minus_nn_mass: Estimate
    minus_params: Estimate
    minus_macs: Estimate


class Evidence(TypedDict):
    """What `evidence_of` returns."""

    n: int
    runs: int
    overall: Measures
    difference: Differences
    bands: list[Band]
    outside_bands: dict[str, int]
    top_k: dict[str, float] | None
    fit: JsonObject | None
    fits: list[JsonObject]
    statement: str


@dataclass(frozen=True)
class Point:
    """One network: its mean test accuracy, in [0, 1], over `runs` seeds, and its measures.

    Where somebody else measured the accuracy, `runs` is 0 and its unit is theirs.
    """

    arch_id: str
    family: str
    widths: tuple[int, ...]
    nn_mass: float
    params: int
    macs: int
    accuracy: float
    runs: int


@dataclass(frozen=True)
class Prediction:
    """The expected accuracy of one new network, in [0, 1], with its 95 % prediction interval.

    n: networks that the line was fitted to. extrapolated: the NN-Mass lies outside their range.
    """

    value: float
    low: float
    high: float
    n: int
    extrapolated: bool


@dataclass(frozen=True)
class Line:
    """Accuracy as a line in log(NN-Mass), fitted by least squares to networks of one family and equal widths.

    residual_std: with n - 2 degrees of freedom. least_mass, most_mass: the range fitted. mean_log, spread_log: mean of
    log(NN-Mass) and the sum of its squared deviations.
    """

    family: str
    widths: tuple[int, ...]
    n: int
    slope: float
    intercept: float
    r2: float | None
    residual_std: float
    least_mass: float
    most_mass: float
    mean_log: float
    spread_log: float

    def predict(self, nn_mass: float) -> Prediction:
        """Predict one new network of these widths (Draper and Smith, Applied Regression Analysis, 3rd ed., 3.1).

        Bounds and value are clipped to [0, 1]. Raises ValueError for an NN-Mass that is not positive.
        """
        if not nn_mass > 0:
            raise ValueError("a line in log(NN-Mass) says nothing about an NN-Mass of 0 or less")
        x = float(np.log(nn_mass))
        value, half = self.intercept + self.slope * x, self.half_width(x)
        low, middle, high = (float(min(max(bound, 0.0), 1.0)) for bound in (value - half, value, value + half))
        return Prediction(middle, low, high, self.n, not self.least_mass <= nn_mass <= self.most_mass)

    def half_width(self, log_mass: float) -> float:
        """Return half the width of the 95 % prediction interval, before it is clipped."""
        from scipy.stats import t

        apart = (log_mass - self.mean_log) ** 2 / self.spread_log
        quantile = float(t.ppf((1 + CONFIDENCE) / 2, self.n - 2))
        return quantile * self.residual_std * float(np.sqrt(1 + 1 / self.n + apart))

    def to_json(self) -> JsonObject:
        """Write the line as JSON-ready objects; `prediction_half_width` is the one at the mean of log(NN-Mass)."""
        return {
            "family": self.family,
            "widths": list(self.widths),
            "n": self.n,
            "slope": self.slope,
            "intercept": self.intercept,
            "r2": self.r2,
            "residual_std": self.residual_std,
            "nn_mass_min": self.least_mass,
            "nn_mass_max": self.most_mass,
            "prediction_half_width": self.half_width(self.mean_log),
        }


def lines_of(points: Sequence[Point]) -> tuple[Line, ...]:
    """Return the lines that fit the points, the one of most networks first.

    Points of NN-Mass 0 are left out. A group of one family and equal widths gets a line if it has at least 8 networks
    with 3 different NN-Masses.
    """
    groups: dict[tuple[str, tuple[int, ...]], list[Point]] = {}
    for point in points:
        if point.nn_mass > 0:
            groups.setdefault((point.family, point.widths), []).append(point)
    enough = [g for g in groups.values() if len(g) >= FEWEST_RUNS and len({p.nn_mass for p in g}) >= FEWEST_MASSES]
    return tuple(sorted(map(_fit, enough), key=lambda line: (-line.n, line.family, line.widths)))


def _fit(group: list[Point]) -> Line:
    from scipy.stats import linregress

    masses = np.array([point.nn_mass for point in group])
    x, y = np.log(masses), np.array([point.accuracy for point in group])
    found = linregress(x, y)
    slope, intercept = float(found.slope), float(found.intercept)
    residual = y - (intercept + slope * x)
    r2 = None if np.ptp(y) == 0 else float(found.rvalue) ** 2  # constant accuracy leaves nothing to explain
    n, first = len(group), group[0]
    std = float(np.sqrt(residual @ residual / (n - 2)))
    least, most, spread = float(masses.min()), float(masses.max()), float(((x - x.mean()) ** 2).sum())
    return Line(first.family, first.widths, n, slope, intercept, r2, std, least, most, float(x.mean()), spread)


def evidence_of(points: Sequence[Point]) -> Evidence:
    """Return accuracy against NN-Mass, params and MACs as JSON-ready objects.

    n, runs: networks and trainings. overall: each measure's Spearman's rho and Kendall's tau-b with accuracy, with
    their signs. difference: NN-Mass's rho minus that of params and of MACs, on the same resamples. Each is a value with
    its 95 % percentile bootstrap interval over networks; the value is null below 3 networks and where something is
    constant, the interval below 5 networks.

    bands: the same within bands of equal cost. For params and for MACs the networks are sorted by cost. A band takes
    them from the cheapest on until one costs more than 1.25 times the first, which starts the next band. Bands of fewer
    than 5 are left out; outside_bands counts their networks by cost.

    top_k: the fraction of the k most accurate networks that are among the k of largest measure (ties by arch_id), and
    the fraction expected by chance, k / n; k is a tenth of the networks, from 1 to 10. null below 5 networks.

    fit, fits: the line of most networks, and all lines (see lines_of). statement: a summary in plain words.
    """
    return deepcopy(_evidence(tuple(points)))  # callers must not change the cached objects


@lru_cache(maxsize=8)
def _evidence(points: tuple[Point, ...]) -> Evidence:
    fits = [line.to_json() for line in lines_of(points)]
    bands, outside = _bands(points)
    overall, difference = _correlations(points)
    answer: Evidence = {
        "n": len(points),
        "runs": sum(point.runs for point in points),
        "overall": overall,
        "difference": difference,
        "bands": bands,
        "outside_bands": outside,
        "top_k": _top_k(points),
        "fit": fits[0] if fits else None,
        "fits": fits,
        "statement": "",
    }
    answer["statement"] = _statement(answer)
    return answer


def compare_column(points: Sequence[Point], values: Sequence[float]) -> ColumnEvidence:
    """Return how well a column orders accuracy, beside NN-Mass, params and MACs on the same networks.

    values: the column's figure for each point; more should mean more accurate. Figures and intervals are as in
    `evidence_of`.
    """
    return deepcopy(_compare_column(tuple(points), tuple(values)))  # callers must not change the cached objects


@lru_cache(maxsize=32)
def _compare_column(points: tuple[Point, ...], values: tuple[float, ...]) -> ColumnEvidence:
    columns = np.concatenate([np.array([values], np.float64), _columns_of(points)])
    rho, tau = _spearman(("column", *MEASURES), columns), _kendall(("column", *MEASURES), columns)
    return {
        "n": len(points),
        "column": {"spearman": rho["column"], "kendall": tau["column"]},
        **_measures(rho, tau),
        "minus_nn_mass": rho["column_minus_nn_mass"],
        "minus_params": rho["column_minus_params"],
        "minus_macs": rho["column_minus_macs"],
    }


def _columns_of(points: Sequence[Point]) -> Floats:
    """Return the measures and accuracy, (4, networks)."""
    return np.array([[getattr(point, name) for point in points] for name in (*MEASURES, "accuracy")], np.float64)


def _spearman(names: tuple[str, ...], columns: Floats) -> dict[str, Estimate]:
    """Return Spearman's rho of every named column with accuracy, and the first one's rho minus those of the others."""
    every = (*names, *(f"{names[0]}_minus_{other}" for other in names[1:]))
    return _figures(every, lambda drawn: _with_differences(_rhos(drawn)), columns, RESAMPLES)


def _kendall(names: tuple[str, ...], columns: Floats) -> dict[str, Estimate]:
    """Return Kendall's tau-b of every named column with accuracy."""
    return _figures(names, _taus, columns, SLOW_RESAMPLES)


def _figures(
    names: tuple[str, ...], statistic: Callable[[Floats], Floats], columns: Floats, resamples: int
) -> dict[str, Estimate]:
    """Return figures by name. statistic: maps columns, accuracy last, (k, ..., networks), to figures, (names, ...)."""
    resampled = _resampled(statistic, columns, resamples)
    return {name: _figure(*pair) for name, *pair in zip(names, statistic(columns), resampled, strict=True)}


def _figure(value: float, resampled: Floats) -> Estimate:
    """Return a figure with the interval of its resamples; resamples where it is undefined are left out."""
    defined = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or not len(defined):
        return {"value": float(value) if np.isfinite(value) else None, "low": None, "high": None}
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return {"value": float(value), "low": float(low), "high": float(high)}


def _resampled(statistic: Callable[[Floats], Floats], columns: Floats, resamples: int) -> Floats:
    """Return a statistic of the networks resampled with replacement, (figures, resamples); no resamples below 5."""
    from scipy.stats import bootstrap

    if columns.shape[1] < FEWEST:
        return np.full((len(statistic(columns)), 0), np.nan)
    found = bootstrap(
        tuple(columns),
        lambda *drawn, axis: np.nan_to_num(statistic(np.stack(drawn)), nan=UNDEFINED),
        n_resamples=resamples,
        batch=max(1, 250_000 // columns.shape[1]),
        vectorized=True,
        paired=True,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    distribution: Floats = found.bootstrap_distribution
    return np.where(distribution == UNDEFINED, np.nan, distribution)


def _rhos(columns: Floats) -> Floats:
    """Return Spearman's rho of every column but the last with the last, accuracy; NaN where it is undefined.

    columns: (k, ..., networks). Returns (k - 1, ...).
    """
    from scipy.stats import rankdata

    return _correlated(columns, lambda values: np.asarray(rankdata(values, axis=-1)))


def _correlated(columns: Floats, transformed: Callable[[Floats], Floats]) -> Floats:
    """Return Pearson's r of every column with accuracy, both transformed; NaN where it is undefined."""
    from scipy.stats import pearsonr

    if columns.shape[-1] < 3:
        return np.full(columns.shape[:-1], np.nan)[:-1]
    varies = np.ptp(columns, axis=-1) > 0
    defined = varies[:-1] & varies[-1]  # scipy warns of constants, which are common in resamples
    values = transformed(columns)
    accuracy = np.broadcast_to(values[-1], values[:-1].shape)
    found = np.full(defined.shape, np.nan)
    if np.any(defined):
        found[defined] = pearsonr(values[:-1][defined], accuracy[defined], axis=-1).statistic
    return found


def _with_differences(rhos: Floats) -> Floats:
    """Return rhos with the first minus each of the others below them."""
    return np.concatenate([rhos, rhos[:1] - rhos[1:]])


def _taus(columns: Floats) -> Floats:
    """Return Kendall's tau-b of every column with accuracy; NaN where it is undefined. Shapes as in `_rhos`."""
    from scipy.stats import kendalltau

    if columns.shape[-1] <= PAIRED:
        return _correlated(columns, _signs)
    taus = np.full(columns.shape[:-1], np.nan)[:-1]
    for place in np.ndindex(taus.shape):
        # the asymptotic p-value, which is not used, costs the least
        taus[place] = kendalltau(columns[place], columns[(-1, *place[1:])], method="asymptotic").statistic
    return taus


def _signs(values: Floats) -> Floats:
    """Return the sign of the difference of all pairs, whose Pearson's r is tau-b (Daniels, Biometrika 33, 1944)."""
    signs: Floats = np.sign(values[..., :, None] - values[..., None, :])
    return signs.reshape(*values.shape[:-1], -1)


def _correlations(points: Sequence[Point]) -> tuple[Measures, Differences]:
    """Return the correlations by measure, and NN-Mass's Spearman's rho minus those of the costs."""
    columns = _columns_of(points)
    rho, tau = _spearman(MEASURES, columns), _kendall(MEASURES, columns)
    differences: Differences = {
        "nn_mass_minus_params": rho["nn_mass_minus_params"],
        "nn_mass_minus_macs": rho["nn_mass_minus_macs"],
    }
    return _measures(rho, tau), differences


def _measures(rho: dict[str, Estimate], tau: dict[str, Estimate]) -> Measures:
    return {
        "nn_mass": {"spearman": rho["nn_mass"], "kendall": tau["nn_mass"]},
        "params": {"spearman": rho["params"], "kendall": tau["params"]},
        "macs": {"spearman": rho["macs"], "kendall": tau["macs"]},
    }


def _bands(points: Sequence[Point]) -> tuple[list[Band], dict[str, int]]:
    """Return the bands of equal cost, and the number of networks outside all bands, by cost."""
    bands: list[Band] = []
    outside = dict.fromkeys(COSTS, 0)
    for cost in COSTS:
        for group in _groups_of_equal_cost(points, cost):
            if len(group) < FEWEST:
                outside[cost] += len(group)
                continue
            spent = [getattr(point, cost) for point in group]
            measures, _ = _correlations(group)
            bands.append({"cost": cost, "min": min(spent), "max": max(spent), "n": len(group), **measures})
    return bands, outside


def _groups_of_equal_cost(points: Sequence[Point], cost: str) -> list[list[Point]]:
    groups: list[list[Point]] = []
    for point in sorted(points, key=lambda point: (getattr(point, cost), point.arch_id)):
        if groups and getattr(point, cost) <= BAND * getattr(groups[-1][0], cost):
            groups[-1].append(point)
        else:
            groups.append([point])
    return groups


def _top_k(points: Sequence[Point]) -> dict[str, float] | None:
    n = len(points)
    if n < FEWEST:
        return None
    k = min(max(1, round(n / TOP_SHARE)), TOP_SHARE)
    best = _first(points, "accuracy", k)
    overlap = {name: len(best & _first(points, name, k)) / k for name in MEASURES}
    return {"k": k, "by_chance": k / n, **overlap}


def _first(points: Sequence[Point], name: str, k: int) -> set[str]:
    """Return the arch_ids of the k networks with the largest value; ties by arch_id."""
    return {point.arch_id for point in sorted(points, key=lambda point: (-getattr(point, name), point.arch_id))[:k]}


def _statement(answer: Evidence) -> str:
    """Summarize a result of `evidence_of` in plain words."""
    n = answer["n"]
    if n < FEWEST:
        return f"{_count(n, 'network')}: too few to say anything about NN-Mass."
    overall = answer["overall"]
    rho = {"params": overall["params"]["spearman"], "macs": overall["macs"]["spearman"]}
    mass = overall["nn_mass"]["spearman"]
    if mass["value"] is None:
        return f"Over {n} networks NN-Mass or accuracy does not vary, so nothing can be said about NN-Mass."
    useful = mass["value"] > 0
    runs = f" ({_count(answer['runs'], 'run')})" if answer["runs"] else ""
    figures = f"{_said(mass)} for NN-Mass, {_said(rho['params'])} for params, {_said(rho['macs'])} for MACs"
    sentences = [
        f"Over {n} networks{runs} the Spearman correlation with accuracy is {figures}.",
        *([] if useful else ["More NN-Mass did not go with more accuracy."]),
        _compared("params", answer["difference"]["nn_mass_minus_params"], useful=useful),
        _compared("MACs", answer["difference"]["nn_mass_minus_macs"], useful=useful),
        _compared_in_bands(answer["bands"]),
    ]
    return " ".join(sentences)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _said(figure: Estimate) -> str:
    if figure["value"] is None:
        return "undefined"
    return f"{figure['value']:.2f} ({_interval(figure)})"


def _interval(figure: Estimate) -> str:
    if figure["low"] is None:
        return "no interval"
    return f"95 % interval {figure['low']:.2f} to {figure['high']:.2f}"


def _compared(cost: str, difference: Estimate, *, useful: bool) -> str:
    """State how NN-Mass's correlation compares with that of a cost, and whether chance explains the difference.

    useful: NN-Mass's own correlation is positive; otherwise it is no better than any cost.
    """
    value, low, high = difference["value"], difference["low"], difference["high"]
    if value is None:
        return f"The {cost} do not vary, so NN-Mass cannot be compared with them."
    verdict = f"NN-Mass does {'better' if useful and value > 0 else 'no better'} than {cost} here"
    if low is None or high is None:
        return f"{verdict} (difference {value:+.2f})."
    if high < 0:
        verdict += ", it does worse"
    chance = "includes 0, so the difference may be chance" if low <= 0 <= high else "does not include 0"
    return f"{verdict}: the difference is {value:+.2f}, and its 95 % interval, {low:+.2f} to {high:+.2f}, {chance}."


def _compared_in_bands(bands: list[Band]) -> str:
    if not bands:
        return f"No {FEWEST} networks have equal cost, so nothing can be said at equal cost."
    parts = []
    for cost, name in (("params", "params"), ("macs", "MACs")):
        of_cost = [band for band in bands if band["cost"] == cost]
        ahead = sum(_is_ahead(band) for band in of_cost)
        parts.append(f"{ahead} of {_count(len(of_cost), 'band')} of equal {name}")
    return f"At equal cost NN-Mass is ahead of params in {parts[0]} and in {parts[1]}."


def _is_ahead(band: Band) -> bool:
    """Return whether NN-Mass correlates with accuracy, and better than params; constant params have a rho of 0."""
    mass, params = band["nn_mass"]["spearman"]["value"], band["params"]["spearman"]["value"]
    return mass is not None and mass > max(params or 0.0, 0.0)
