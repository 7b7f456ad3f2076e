"""The methods that sample or evolve, without proof: Optuna's TPE and NSGA-II, and random search."""

from __future__ import annotations

from itertools import chain
from random import Random

import numpy as np
import optuna

from bench.answers import Answer, Stopwatch
from bench.cases import Case
from nnmass_core.families.densenet_cnn import DenseNetCnnSpace
from nnmass_core.families.mobilenet_v2_space import MobileNetV2Space
from nnmass_core.scoring.batch import score_densenet_cnn
from nnmass_core.spaces.axis import Axis
from nnmass_core.spaces.base import Space

BATCH = 100_000
SEED = 0


def tpe(case: Case, seconds: float) -> Answer:
    """Search with Optuna's tree-structured Parzen estimator; the limits are passed as constraints."""
    return _optuna(case, seconds, optuna.samplers.TPESampler(seed=SEED))


def nsga2(case: Case, seconds: float) -> Answer:
    """Search with Optuna's NSGA-II; the limits are passed as constraints."""
    return _optuna(case, seconds, optuna.samplers.NSGAIISampler(seed=SEED))


def _optuna(case: Case, seconds: float, sampler: optuna.samplers.BaseSampler) -> Answer:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, caps, answer, watch = case.space, case.caps(), Answer(), Stopwatch()
    choices = _choices(space)

    def objective(trial: optuna.Trial) -> float:
        chosen = [values[trial.suggest_int(name, 0, len(values) - 1)] for name, values in choices]
        figures = space.architecture(list(chain.from_iterable(chosen))).evaluation
        used = {"params": figures.params, "macs": figures.macs}
        for name, cap in caps.items():
            trial.set_constraint(name, used[name] / cap - 1)
        if all(used[name] <= cap for name, cap in caps.items()):
            answer.improve(watch.seconds, float(figures.mass))
        return float(figures.mass)

    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, timeout=seconds)
    answer.seconds = watch.seconds
    answer.more["trials"] = len(study.trials)
    return answer


Choices = list[tuple[str, list[tuple[int, ...]]]]


def _choices(space: Space) -> Choices:
    """Return the choices that an architecture of the space is drawn from, in the order of its integers.

    Each is a name and its values.
    """
    if isinstance(space, DenseNetCnnSpace):
        axes = zip(space.width, space.depth, space.skip_channels, strict=True)
        named = [
            (f"{name}{c}", axis) for c, triple in enumerate(axes) for name, axis in zip("wdt", triple, strict=True)
        ]
        return [(name, _single(axis)) for name, axis in named]
    assert isinstance(space, MobileNetV2Space)
    ends = [("stem", _single(space.stem_channels)), ("last", _single(space.last_channels))]
    stages = [(f"{name}{k}", _single(axis)) for k, stage in enumerate(space.stages) for name, axis in stage.named]
    return [("resolution", list(space.input.sizes)), *ends, *stages]


def _single(axis: Axis) -> list[tuple[int, ...]]:
    return [(value,) for value in axis.values]


def random_search(case: Case, seconds: float) -> Answer:
    """Draw architectures uniformly and score them: dense ones with our own array interface, millions per second."""
    space = case.space
    if isinstance(space, DenseNetCnnSpace):
        return _random_arrays(space, case.caps(), seconds)
    choices, caps, answer = _choices(space), case.caps(), Answer()
    draw, watch, drawn = Random(SEED), Stopwatch(), 0
    while watch.seconds < seconds:
        chosen = [draw.choice(values) for _, values in choices]
        figures = space.architecture(list(chain.from_iterable(chosen))).evaluation
        drawn += 1
        if figures.params <= caps["params"] and figures.macs <= caps["macs"]:
            answer.improve(watch.seconds, float(figures.mass))
    answer.seconds = watch.seconds
    answer.more["trials"] = drawn
    return answer


def _random_arrays(space: DenseNetCnnSpace, caps: dict[str, int], seconds: float) -> Answer:
    answer = Answer()
    draw = np.random.default_rng(SEED)
    watch, drawn = Stopwatch(), 0
    axes = [np.array(values, np.int64).reshape(-1) for _, values in _choices(space)]
    while watch.seconds < seconds:
        cells = np.column_stack([draw.choice(values, BATCH) for values in axes]).reshape(BATCH, space.cells.largest, 3)
        scores = score_densenet_cnn(space.input.largest, space.num_classes, cells)
        fits = np.logical_and.reduce([getattr(scores, name) <= cap for name, cap in caps.items()])
        drawn += BATCH
        if fits.any():
            answer.improve(watch.seconds, float(scores.nn_mass[fits].max()))
    answer.seconds = watch.seconds
    answer.more["trials"] = drawn
    return answer
