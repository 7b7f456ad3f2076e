"""Fit the times of operators to measurements, with least squares that give no negative time.

`nnmass calibrate` fits them to operators that it times itself. Here they are fitted to the times of whole networks,
whoever measured them: docs/theory.md (78). scipy is loaded when first needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nnmass_core.codec import Value
from nnmass_core.costs import NANOSECONDS
from nnmass_core.errors import DefinitionError
from nnmass_core.hardware.latency import KINDS, HeldOut, OperatorTime, TimedFamily, TimedField, Work, numbers_of

Floats = NDArray[np.float64]

PRICES = {
    "convolution_1x1": ("call", "mac", "read", "written", "weight"),
    "convolution_3x3": ("call", "mac", "read", "written", "weight"),
    "convolution_7x7": ("call", "mac", "written"),
    "depthwise_3x3": ("call", "read", "written"),
    "depthwise_5x5": ("call", "read", "written"),
    "depthwise_7x7": ("call", "read", "written"),
    "grouped_3x3": ("call", "mac", "read", "written", "weight"),
    "patches": ("call", "mac", "read", "written", "weight"),
    "linear": ("call", "mac", "read", "written"),
    "normalise": ("call", "written"),
    "layer_norm": ("call", "written"),
    "activate": ("call", "written"),
    "add": ("call", "written"),
    "pool": ("call", "read", "written"),
    "send": ("call", "written", "piece"),
    "concatenate": ("call", "written", "piece"),
}
"""The quantities fitted for each kind: one of those that rise and fall together."""

FIELDS = {"call": "calls", "mac": "macs", "read": "read", "written": "written", "weight": "weights", "piece": "pieces"}
"""The fields of `OperatorTime`, and those of `Operators`, in their order."""

FOLDS = 5
"""The parts of the networks that take turns in being held out."""

SEED = 0

TAIL = 40
"""Of so many networks, one is to be expected below the band, and one above it."""


@dataclass(frozen=True, eq=False)
class NetworkFit:
    """Times of operators that were fitted to networks.

    Args:
        operators: The times, fitted to all networks.
        prices: The same in the order of `COLUMNS`, in nanoseconds, (m,).
        estimates: Milliseconds of each network, (n,), from a fit to other networks.
    """

    operators: tuple[OperatorTime, ...]
    prices: Floats
    estimates: Floats


def least_squares(figures: Floats, times: Floats) -> Floats:
    """Return the prices, none negative, that estimate times with the least sum of squared relative errors.

    Args:
        figures: How much of each quantity a measurement contains, (n, m).
        times: The measured times, (n,), above 0.

    Returns:
        The price of one of each quantity, (m,), in the unit of the times.
    """
    from scipy.optimize import nnls  # slow to load, and few processes need it

    scale = figures.max(axis=0, initial=0.0)
    scale[scale == 0] = 1.0
    prices, _ = nnls(figures / scale / times[:, None], np.ones(len(times)), maxiter=100 * figures.shape[1])
    fitted: Floats = prices / scale
    return fitted


def fit_networks(works: Sequence[Sequence[Work]], milliseconds: Sequence[float]) -> NetworkFit:
    """Fit the times of operators to the measured times of networks: docs/theory.md (78).

    Args:
        works: The operators of each network, stage by stage, as `Architecture.work` returns them.
        milliseconds: The measured time of each network, above 0.

    Raises:
        DefinitionError: There are too few networks for the times to fit.
    """
    figures, times = figures_of(works), np.array(milliseconds, np.float64)
    terms = _terms(figures)
    needed = _networks_for(len(terms))
    if len(times) < needed:
        message = f"needs at least {needed} networks to fit {len(terms)} times, and has {len(times)}"
        raise DefinitionError.at("", "too_few_networks", message)
    used = figures[:, terms]
    estimates = np.empty_like(times)
    for held_out in np.array_split(np.random.default_rng(SEED).permutation(len(times)), FOLDS):
        others = np.setdiff1d(np.arange(len(times)), held_out)
        estimates[held_out] = used[held_out] @ least_squares(used[others], times[others])
    if not estimates.all():
        raise DefinitionError.at("", "too_few_networks", "has a network that has nothing in common with the others")
    prices = np.zeros(figures.shape[1])
    prices[terms] = least_squares(used, times) * NANOSECONDS
    return NetworkFit(_operators(works, prices), prices, estimates)


COLUMNS = [(kind, name) for kind in KINDS for name in PRICES[kind]]
"""The kinds and quantities whose times are fitted."""


def figures_of(works: Sequence[Sequence[Work]]) -> Floats:
    """Return how much of each of `COLUMNS` each network contains, (n, m).

    Args:
        works: The operators of each network, stage by stage.
    """
    return np.array([sum(map(_figures, work), np.zeros(len(COLUMNS))) for work in works])


@lru_cache(maxsize=4096)
def _figures(part: Work) -> Floats:
    """Return how much of each of `COLUMNS` a stage contains, (m,); many networks of a table have a stage in common."""
    figures = dict.fromkeys(COLUMNS, 0)
    for each in part:
        for name in PRICES[each.kind]:
            figures[each.kind, name] += getattr(each, FIELDS[name])
    return np.array([*figures.values()], np.float64)


def _terms(figures: Floats) -> list[int]:
    """Return the columns with a time of their own: of columns that rise and fall together the first.

    What all networks contain alike is one of them, the time that no choice changes.
    """
    terms: dict[tuple[float, ...], int] = {}
    for column, values in enumerate(figures.T):
        if values.any():
            terms.setdefault(tuple((values / values.max()).tolist()), column)
    return list(terms.values())


def _networks_for(terms: int) -> int:
    """Return the fewest networks of which the others are enough when one part is held out."""
    return next(count for count in range(terms, 2 * terms + FOLDS) if count - -(-count // FOLDS) >= terms)


def _operators(works: Sequence[Sequence[Work]], prices: Floats) -> tuple[OperatorTime, ...]:
    """Return a time for each kind that the networks have, also where it is 0: a kind without one is unknown."""
    kinds = {operators.kind for work in works for part in work for operators in part}
    priced: dict[str, dict[str, float]] = {kind: {"call": 0.0} for kind in KINDS if kind in kinds}
    for (kind, name), price in zip(COLUMNS, prices.tolist(), strict=True):
        if kind in priced:
            priced[kind][name] = price
    return tuple(OperatorTime(kind=kind, **times) for kind, times in priced.items())


def error_of(estimated: Floats, measured: Floats | Sequence[float], families: int) -> HeldOut:
    """Return the error of estimates, and the band for one more network: docs/theory.md (78).

    If n networks and one more are drawn in the same way, the one more is equally likely to take each place among the
    n + 1 shares measured / estimated: it is between the k lowest and the k highest with a probability of
    (n + 1 - 2 k) / (n + 1) (a conformal prediction interval). Of up to 78 networks the band has all shares.

    Args:
        estimated: Estimates, (n,), none from a fit to the network itself.
        measured: Measured times, (n,), in the same unit.
        families: The number of families of the networks.
    """
    shares = np.sort(np.asarray(measured) / estimated)
    n = len(shares)
    k = max(1, (n + 1) // TAIL)
    return HeldOut(
        networks=n,
        families=families,
        median_error=float(np.median(np.abs(1 / shares - 1))),
        band_low=min(1.0, float(shares[k - 1])),
        band_high=max(1.0, float(shares[n - k])),
        coverage=max(0.0, (n + 1 - 2 * k) / (n + 1)),
    )


def families_of(networks: Sequence[tuple[str, Value]]) -> tuple[TimedFamily, ...]:
    """Return the number of networks of each family, and the ranges of the numbers in their definitions.

    Args:
        networks: The family and the definition of each.
    """
    values: dict[str, dict[str, list[float]]] = {}
    counts: dict[str, int] = {}
    for family, network in networks:
        counts[family] = counts.get(family, 0) + 1
        ranges = values.setdefault(family, {})
        for field, value in numbers_of(network):
            ranges.setdefault(field, []).append(value)
    return tuple(
        TimedFamily(
            family=family,
            networks=counts[family],
            fields=tuple(TimedField(field=field, least=min(of), greatest=max(of)) for field, of in ranges.items()),
        )
        for family, ranges in values.items()
    )
