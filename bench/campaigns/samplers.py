"""Networks that the samplers of Optuna propose."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState, create_trial

from bench.campaigns.budgets import Listed
from bench.campaigns.rivals import Trained

SAMPLERS = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler}


def sampled(sampler: str, listed: Listed, trainings: int, seed: int) -> list[int]:
    """Train what a sampler proposes, with its defaults: ten random proposals come first.

    Values that are sizes are integers in their order; the modules of TransNAS-Bench-101 are kinds without an order.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ordered = not listed.name.startswith("TransNAS")
    values = [np.unique(column) for column in listed.choices.T]
    space: dict[str, BaseDistribution] = {
        str(position): IntDistribution(0, len(found) - 1) if ordered else CategoricalDistribution([*range(len(found))])
        for position, found in enumerate(values)
        if len(found) > 1
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study = optuna.create_study(direction="maximize", sampler=SAMPLERS[sampler](seed=seed))
    trained = Trained(listed, seed)
    while len(trained.rows) < min(trainings, len(listed)):
        trial = study.ask(space)
        places = [trial.params.get(str(position), 0) for position in range(len(values))]
        row = trained.nearest(np.array([found[place] for found, place in zip(values, places, strict=True)]))
        study.tell(trial, state=TrialState.FAIL)
        params = {name: int(np.searchsorted(values[int(name)], listed.choices[row, int(name)])) for name in space}
        study.add_trial(create_trial(params=params, distributions=space, value=float(listed.accuracy[row])))
    return trained.rows
