"""The methods that sample or evolve, and prove nothing: Optuna's TPE and NSGA-II, and random search."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna

from bench.answers import Answer, Stopwatch
from bench.cases import Case
from nnmass_core.architecture import Image
from nnmass_core.axis import Axis
from nnmass_core.families.densenet_cnn import Cell, DenseNetCnn, DenseNetCnnSpace
from nnmass_core.scoring import score_densenet_cnn

BATCH = 100_000
SEED = 0


def tpe(case: Case, seconds: float) -> Answer:
    """Search with Optuna's tree-structured Parzen estimator, its constraints given as constraints."""
    return _optuna(case, seconds, optuna.samplers.TPESampler(seed=SEED))


def nsga2(case: Case, seconds: float) -> Answer:
    """Search with Optuna's NSGA-II, its constraints given as constraints."""
    return _optuna(case, seconds, optuna.samplers.NSGAIISampler(seed=SEED))


def _optuna(case: Case, seconds: float, sampler: optuna.samplers.BaseSampler) -> Answer:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, caps, answer, watch = _densenet(case), case.caps(), Answer(), Stopwatch()

    def objective(trial: optuna.Trial) -> float:
        figures = _suggested(space, trial).evaluation
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


def _densenet(case: Case) -> DenseNetCnnSpace:
    space = case.space
    assert isinstance(space, DenseNetCnnSpace)
    return space


def _suggested(space: DenseNetCnnSpace, trial: optuna.Trial) -> DenseNetCnn:
    def choose(name: str, axis: Axis) -> int:
        values = axis.values
        place: int = trial.suggest_int(name, 0, len(values) - 1)
        return values[place]

    axes = zip(space.width, space.depth, space.skip_channels, strict=True)
    cells = tuple(
        Cell(width=choose(f"w{c}", w), depth=choose(f"d{c}", d), skip_channels=choose(f"t{c}", t))
        for c, (w, d, t) in enumerate(axes)
    )
    return DenseNetCnn(input=space.input, num_classes=space.num_classes, cells=cells)


def random_search(case: Case, seconds: float) -> Answer:
    """Draw architectures evenly and score them with our own array interface, millions a second."""
    space, caps, answer = _densenet(case), case.caps(), Answer()
    image: Image = space.input
    draw = np.random.default_rng(SEED)
    watch, drawn = Stopwatch(), 0
    while watch.seconds < seconds:
        axes: list[Any] = [
            axis.values for triple in zip(space.width, space.depth, space.skip_channels, strict=True) for axis in triple
        ]
        columns = [draw.choice(np.array(values, np.int64), BATCH) for values in axes]
        scores = score_densenet_cnn(image, space.num_classes, np.column_stack(columns).reshape(BATCH, space.cells, 3))
        fits = np.logical_and.reduce([getattr(scores, name) <= cap for name, cap in caps.items()])
        drawn += BATCH
        if fits.any():
            answer.improve(watch.seconds, float(scores.nn_mass[fits].max()))
    answer.seconds = watch.seconds
    answer.more["trials"] = drawn
    return answer
