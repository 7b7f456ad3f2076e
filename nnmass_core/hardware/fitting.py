"""Fit the times of operators to measurements, with least squares that give no negative time.

`nnmass calibrate` fits them to operators that it times itself. Here they are fitted to the times of whole networks,
whoever measured them: docs/theory.md (78). scipy is loaded when first needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

OFF_CHIP = "off_chip"
"""The quantity of each kind that is counted beyond the elements on the chip, where networks are fitted."""

ON_CHIP = (0, *(2**n for n in range(16, 22)))
"""The elements on the chip that are tried; 0 stands for no `off_chip` times."""

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
        on_chip: The elements on the chip that these times count from, one of `ON_CHIP`.
        prices: The times in the order of `COLUMNS`, in nanoseconds, (m,).
        estimates: Milliseconds of each network, (n,), from a fit to other networks.
    """

    operators: tuple[OperatorTime, ...]
    on_chip: int
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
    times = np.array(milliseconds, np.float64)
    tried = _tried(works)
    needed = _networks_for(tried[0].shape[1])
    if len(times) < needed:
        message = f"needs at least {needed} networks to fit {tried[0].shape[1]} times, and has {len(times)}"
        raise DefinitionError.at("", "too_few_networks", message)
    estimates = np.empty_like(times)
    for held_out, others in _folds(len(times)):
        figures = tried[_chosen({n: each[others] for n, each in tried.items()}, times[others])]
        estimates[held_out] = figures[held_out] @ least_squares(figures[others], times[others])
    if not estimates.all():
        raise DefinitionError.at("", "too_few_networks", "has a network that has nothing in common with the others")
    on_chip = _chosen(tried, times)
    figures = figures_of(works, on_chip)
    prices = np.zeros(figures.shape[1])
    prices[_terms(figures)] = least_squares(tried[on_chip], times) * NANOSECONDS
    return NetworkFit(_operators(works, prices), on_chip, prices, estimates)


def _tried(works: Sequence[Sequence[Work]]) -> dict[int, Floats]:
    """Return, for each of `ON_CHIP`, the figures that have a time of their own.

    Elements on a chip are tried where the networks are as many as the times when a fifth of four fifths is held out.
    """
    tried: dict[int, Floats] = {}
    for on_chip in ON_CHIP:
        figures = figures_of(works, on_chip)
        terms = _terms(figures)
        if not tried or _networks_for(_networks_for(len(terms))) <= len(works):
            tried[on_chip] = figures[:, terms]
    return tried


def _folds(n: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the places of each part of n networks, and those of all others."""
    for held_out in np.array_split(np.random.default_rng(SEED).permutation(n), FOLDS):
        yield held_out, np.setdiff1d(np.arange(n), held_out)


def _chosen(tried: Mapping[int, Floats], times: Floats) -> int:
    """Return the elements on the chip with the least squared relative error of networks that were not fitted."""
    if len(tried) == 1:
        return next(iter(tried))
    errors = dict.fromkeys(tried, 0.0)
    for on_chip, figures in tried.items():
        for held_out, others in _folds(len(times)):
            shares = figures[held_out] @ least_squares(figures[others], times[others]) / times[held_out]
            errors[on_chip] += float(((shares - 1) ** 2).sum())
    return min(errors, key=errors.__getitem__)


COLUMNS = [(kind, name) for kind in KINDS for name in (*PRICES[kind], OFF_CHIP)]
"""The kinds and quantities whose times are fitted."""


def figures_of(works: Sequence[Sequence[Work]], on_chip: int = 0) -> Floats:
    """Return how much of each of `COLUMNS` each network contains, (n, m).

    Args:
        works: The operators of each network, stage by stage.
        on_chip: The elements on the chip; with 0 nothing counts as off the chip.
    """
    return np.array([sum((_figures(part, on_chip) for part in work), np.zeros(len(COLUMNS))) for work in works])


@lru_cache(maxsize=32_768)
def _figures(part: Work, on_chip: int) -> Floats:
    """Return how much of each of `COLUMNS` a stage contains, (m,); many networks of a table have a stage in common."""
    figures = dict.fromkeys(COLUMNS, 0)
    for each in part:
        for name in PRICES[each.kind]:
            figures[each.kind, name] += getattr(each, FIELDS[name])
        if on_chip:
            figures[each.kind, OFF_CHIP] += each.off_chip(on_chip)
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
