"""Calibrate a device: time operators, fit a model to them, and measure the model's error on whole networks.

An operator that is timed in isolation finds its inputs and weights in the cache, and is faster than within a network. A
factor for each group of operators, fitted on some networks, corrects this. Other networks, on which nothing is fitted,
then give the error: their measured latencies, as fractions of the estimates, form the band that is reported with every
estimate.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import torch
from scipy.optimize import nnls

from nnmass_core.architecture import Architecture
from nnmass_core.budget import Budget
from nnmass_core.costs import NANOSECONDS
from nnmass_core.engine.chain import Chain
from nnmass_core.errors import NotPossible
from nnmass_core.hardware import fitting
from nnmass_core.hardware.devices import Device
from nnmass_core.hardware.fitting import FIELDS, PRICES, least_squares
from nnmass_core.hardware.latency import KINDS, HeldOut, LatencyModel, OperatorTime, estimate
from nnmass_core.named.presets import resolve_space
from nnmass_core.nets import build
from nnmass_core.request import SearchRequest
from nnmass_core.search import search
from nnmass_core.training.measure import latency_ms
from nnmass_core.training.operators import COUNTS, cases

Clock = Callable[[], float]
"""Returns seconds since any start."""

OnProgress = Callable[[float, str], None]
"""Receives the progress in [0, 1], and the name of the current step."""

Drawn = tuple[str, Architecture]
"""A space's name, and a network from it."""

SEED = 0
WARM_UP, LEAST_RUNS, MOST_RUNS, RUN_SECONDS = 3, 5, 60, 0.025
SPACES = (
    "densenet-cifar",
    "densenet-cifar-depthwise",
    "mobilenet-v2-tiny-free",
    "resnet-tiny-free",
    "wide-resnet-cifar-free",
)
"""The spaces whose networks are measured."""

FITTED_EACH, HELD_OUT_EACH = 3, 4
"""Networks drawn from each space to fit factors on, and to hold out; for each, one network from a search is added.

Searches find other networks than random draws: where an operator's estimate is too low, a search uses more of it.
"""

PASSES = 2
"""How often a network is timed, with others in between: the minimum counts, since other load only adds time."""

GROUPS = (
    ("convolution_1x1", "convolution_3x3", "convolution_7x7", "grouped_3x3", "patches", "linear"),
    ("depthwise_3x3", "depthwise_5x5", "depthwise_7x7"),
    ("normalise", "layer_norm", "activate", "add", "pool"),
    ("send", "concatenate"),
)
"""Operators that slow down alike within a network: by what they compute, or by what they move."""

PULL = 0.05
"""How strongly a factor is pulled to 1, so that a group without networks keeps its timed value."""

MOST_MACS = 400_000_000


@dataclass(frozen=True)
class Measured:
    """A held-out network, with its estimated and measured latency in milliseconds."""

    architecture: Architecture
    estimated: float
    measured: float

    @property
    def share(self) -> float:
        """The measured latency as a fraction of the estimate."""
        return self.measured / self.estimated


@dataclass(frozen=True)
class Calibration:
    """A fitted model, and the networks that show its error."""

    model: LatencyModel
    networks: tuple[Measured, ...]


def calibrate(
    clock: Clock, on_progress: OnProgress, *, device: str = "cpu", threads: int = 1, machine: str = ""
) -> Calibration:
    """Measure a device of this machine: `cpu`, `cuda` or `mps`, with `threads` threads for one input.

    Raises NotPossible when torch does not find the device.
    """
    try:
        where = torch.device(device)
        torch.zeros(1, device=where)
    except (RuntimeError, AssertionError) as error:
        raise NotPossible("no_device", f"torch finds no device {device} on this machine") from error
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            operators = fit(_times(clock, on_progress, where))
            drawn, others = _drawn()
            fitted = _with_found(drawn, _model(operators, UNKNOWN, threads, machine))
            operators = in_company(operators, fitted, _took_all(fitted, clock, where, on_progress, (0.3, 0.6)))
            model = _model(operators, UNKNOWN, threads, machine)
            held_out = [one for one in _with_found(others, model) if one not in fitted]
            times = _took_all(held_out, clock, where, on_progress, (0.6, 1.0))
            networks = tuple(_compared(model, one, time) for one, time in zip(held_out, times, strict=True))
    finally:
        torch.set_num_threads(before)
    return Calibration(_model(operators, error_of(networks), threads, machine), networks)


UNKNOWN = HeldOut(networks=1, families=1, median_error=0.0, band_low=1.0, band_high=1.0, coverage=0.0)


def _model(operators: tuple[OperatorTime, ...], held_out: HeldOut, threads: int, machine: str) -> LatencyModel:
    runtime = f"torch {torch.__version__}"
    return LatencyModel(
        runtime=runtime, machine=machine, threads=threads, precision="fp32", operators=operators, held_out=held_out
    )


@dataclass(frozen=True)
class Timed:
    """One operator's figures in the order of `FIELDS`, and its time in nanoseconds."""

    kind: str
    figures: tuple[int, ...]
    nanoseconds: float


def _times(clock: Clock, on_progress: OnProgress, device: torch.device) -> list[Timed]:
    total, found = sum(COUNTS.values()), list[Timed]()
    for done, case in enumerate(cases(SEED, device)):
        on_progress(0.3 * done / total, f"timing operators, {done + 1} of {total}")
        found.append(Timed(case.work.kind, tuple(case.work[1:]), _median_of(case.run, clock, device)))
    return found


def _median_of(run: Callable[[], object], clock: Clock, device: torch.device) -> float:
    for _ in range(WARM_UP):
        run()
    times = [_once(run, clock, device)]
    runs = min(MOST_RUNS, max(LEAST_RUNS, int(RUN_SECONDS / max(times[0], 1e-7))))
    times += [_once(run, clock, device) for _ in range(runs)]
    return median(times) * 1e9


def _once(run: Callable[[], object], clock: Clock, device: torch.device) -> float:
    started = clock()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return clock() - started


def fit(times: list[Timed]) -> tuple[OperatorTime, ...]:
    """Return the times of every measured kind: non-negative least squares of the relative errors."""
    return tuple(_fit_kind(kind, [one for one in times if one.kind == kind]) for kind in KINDS)


def _fit_kind(kind: str, times: list[Timed]) -> OperatorTime:
    names = PRICES[kind]
    columns = [list(FIELDS).index(name) for name in names]
    figures = np.array([[one.figures[column] for column in columns] for one in times], np.float64)
    prices = least_squares(figures, np.array([one.nanoseconds for one in times]))
    return OperatorTime(kind=kind, **dict(zip(names, prices.tolist(), strict=True)))


def _drawn() -> tuple[list[Drawn], list[Drawn]]:
    """Return the networks to fit factors on, and those held out, each with its space; no network is in both."""
    rng = random.Random(SEED)  # noqa: S311 - networks are no secret
    fitted, held_out = list[Drawn](), list[Drawn]()
    for name in SPACES:
        networks = [(name, network) for network in sample(name, FITTED_EACH + HELD_OUT_EACH, rng)]
        fitted += networks[:FITTED_EACH]
        held_out += networks[FITTED_EACH:]
    return fitted, held_out


def _with_found(drawn: list[Drawn], model: LatencyModel) -> list[Architecture]:
    """Return networks, and for each the best that a search of its space finds within its estimated latency."""
    device, found = Device("here", "", None, None, "", "", model), list[Architecture]()
    for name, network in drawn:
        bound = estimate(model, "", network.work() or ()).milliseconds
        request = SearchRequest(
            space=resolve_space(name), budget=Budget(device=device, max_latency_ms=bound, max_macs=MOST_MACS), top_k=1
        )
        found += [network, *(ranked.architecture for ranked in search(request).ranking)]
    return list(dict.fromkeys(found))


def _took_all(
    networks: list[Architecture],
    clock: Clock,
    device: torch.device,
    on_progress: OnProgress,
    share: tuple[float, float],
) -> list[float]:
    """Return the milliseconds of one input of each network, the minimum of PASSES. share: of the whole work."""
    times: list[list[float]] = [[] for _ in networks]
    low, high = share
    for turn in range(PASSES):
        for done, network in enumerate(networks):
            part = (turn + done / len(networks)) / PASSES
            on_progress(low + (high - low) * part, f"timing networks, {done + 1} of {len(networks)}")
            times[done].append(took(network, clock, device))
    return [min(of) for of in times]


def _compared(model: LatencyModel, network: Architecture, milliseconds: float) -> Measured:
    return Measured(network, estimate(model, "", network.work() or ()).milliseconds, milliseconds)


def in_company(
    operators: tuple[OperatorTime, ...], networks: list[Architecture], milliseconds: list[float]
) -> tuple[OperatorTime, ...]:
    """Return the operators with the factors of their groups that fit the measured times of these networks.

    Non-negative least squares of the relative errors, with each factor pulled slightly to 1.
    """
    prices = {operator.kind: operator.prices for operator in operators}
    shares = np.array([_by_group(network, prices) for network in networks]) / np.array(milliseconds)[:, None]
    rows = np.vstack([shares, PULL * np.eye(len(GROUPS))])
    factors, _ = nnls(rows, np.concatenate([np.ones(len(networks)), np.full(len(GROUPS), PULL)]))
    by_kind = {kind: factor for group, factor in zip(GROUPS, factors.tolist(), strict=True) for kind in group}
    return tuple(_scaled(operator, by_kind[operator.kind]) for operator in operators)


def _by_group(network: Architecture, prices: dict[str, tuple[float, ...]]) -> list[float]:
    """Return the milliseconds of each group of operators in a network."""
    total = dict.fromkeys(prices, 0.0)
    for part in network.work() or ():
        for each in part:
            total[each.kind] += sum(p * n for p, n in zip(prices[each.kind], each[1:], strict=True)) / NANOSECONDS
    return [sum(total[kind] for kind in group) for group in GROUPS]


def _scaled(operator: OperatorTime, factor: float) -> OperatorTime:
    return replace(operator, **{name: factor * getattr(operator, name) for name in FIELDS})


def took(network: Architecture, clock: Clock, device: torch.device) -> float:
    """Return the measured milliseconds of one input of a network."""
    module = build(network, SEED).to(device)
    return float(latency_ms(module, network.input_shape, clock)["value"])


def sample(name: str, count: int, rng: random.Random) -> list[Architecture]:
    """Return networks of a named space with at most MOST_MACS, with a randomly drawn option for each stage."""
    space, found = resolve_space(name), list[Architecture]()
    chain = space.chain()
    while len(found) < count:
        network = space.architecture(_path(chain, rng))
        if network.evaluation.macs <= MOST_MACS and network not in found:
            found.append(network)
    return found


def _path(chain: Chain, rng: random.Random) -> list[int]:
    node, path = 0, list[int]()
    for stage in chain.stages:
        option = rng.choice(np.flatnonzero(stage.source == node).tolist())
        path.append(option)
        node = int(stage.target[option])
    integers: list[int] = chain.path_integers(np.array([path]))[0].tolist()
    return integers


def error_of(networks: tuple[Measured, ...]) -> HeldOut:
    """Return the error of the estimates, and the band of the held-out networks."""
    estimated, measured = (np.array([getattr(one, name) for one in networks]) for name in ("estimated", "measured"))
    return fitting.error_of(estimated, measured, len({one.architecture.family for one in networks}))


__all__ = ["Calibration", "Measured", "calibrate", "error_of", "fit", "in_company", "sample", "took"]
