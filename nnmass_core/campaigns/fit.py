"""Two models of accuracy that a campaign fits to what it measured: a sum over stages, and a Gaussian process.

The sum can be maximized over a whole space by the exact engine. The Gaussian process sees what is no sum, and says how
uncertain it is. Both come from scikit-learn, which the service depends on.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnmass_core.campaigns.pool import Candidates, Floats, Score, costs_of
from nnmass_core.errors import NotPossible

LEAST = 4
"""The fewest measured networks that a model is fitted to."""

QUANTUM = 1e-4
"""The unit of the fitted score, in percent of accuracy."""

PENALTIES = np.logspace(-2, 3, 11)
"""The penalties of ridge regression that are tried on standardized figures; leave-one-out error decides."""

LENGTHS, VARIANCES, NOISES = (0.3, 30.0), (0.05, 20.0), (1e-3, 0.5)
"""Bounds of the process's length scale, variance and noise, for standardized figures and accuracies."""

NORMAL_95 = 1.96


@dataclass(frozen=True, eq=False)
class Scale:
    """The mean and the standard deviation of figures, by which they are standardized, (figures,) each."""

    mean: Floats
    deviation: Floats

    @classmethod
    def of(cls, figures: Floats) -> Scale:
        """Return the scale of networks. figures: (n, figures); those that are all equal get 0 when standardized."""
        deviation = figures.std(axis=0)
        return cls(figures.mean(axis=0), np.where(deviation > 1e-12, deviation, np.inf))

    def standardized(self, figures: Floats) -> Floats:
        """Return standardized figures, (n, figures)."""
        scaled: Floats = (figures - self.mean) / self.deviation
        return scaled


@dataclass(frozen=True, eq=False)
class Fitted:
    """The models, fitted.

    Args:
        networks: How many networks they were fitted to.
        score: The sum over stages.
        score_error: The root mean square of its leave-one-out errors, in points.
        error: That of the Gaussian process: docs/theory.md (99).
        best: The best accuracy that was fitted.
    """

    networks: int
    score: Score
    score_error: float
    error: float
    best: float
    _process: Any
    _scale: Scale
    _widening: float

    def predict(self, networks: Candidates) -> tuple[Floats, Floats]:
        """Return the expected accuracy and its standard deviation, noise included, (n,) each."""
        mean, deviation = self._process.predict(self._figures(networks), return_std=True)
        return mean, deviation

    def interval(self, mean: float, deviation: float) -> tuple[float, float]:
        """Return the 95 % interval of a prediction, wider where the leave-one-out errors exceed their deviations."""
        half = NORMAL_95 * self._widening * deviation
        return mean - half, mean + half

    def deviation_after(self, networks: Candidates, more: Candidates) -> Floats:
        """Return the standard deviation of predictions once more networks are measured, whatever the result, (n,)."""
        from sklearn.gaussian_process import GaussianProcessRegressor

        figures = np.concatenate([self._process.X_train_, self._figures(more)])
        process = GaussianProcessRegressor(self._process.kernel_, optimizer=None).fit(figures, np.zeros(len(figures)))
        deviation: Floats = process.predict(self._figures(networks), return_std=True)[1]
        return deviation * float(self._process._y_train_std)  # noqa: SLF001 - the process scales accuracies by it

    def improvement(self, mean: Floats, deviation: Floats) -> Floats:
        """Return the expected improvement on the best accuracy (Mockus 1975), in points, (n,)."""
        from scipy.stats import norm

        ahead = mean - self.best
        found: Floats = ahead * norm.cdf(ahead / deviation) + deviation * norm.pdf(ahead / deviation)
        return found

    def _figures(self, networks: Candidates) -> Floats:
        return _balanced(self._scale.standardized(_figures(networks)))


def fit(measured: Candidates, accuracy: Floats, around: Candidates) -> Fitted | None:
    """Fit both models; None with too few results, or where all are equal.

    Args:
        measured: The measured networks.
        accuracy: Their accuracy in percent, (n,).
        around: The networks by which figures are standardized.

    Raises:
        NotPossible: scikit-learn is not installed.
    """
    if len(measured) < LEAST or np.ptp(accuracy) == 0:
        return None
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
    except ModuleNotFoundError as missing:
        message = "fitting a campaign's models requires scikit-learn: install nnmass-service, or the extra train"
        raise NotPossible("scikit_learn_missing", message) from missing
    scale = Scale.of(_figures(around))
    kernel = ConstantKernel(1.0, VARIANCES) * Matern(2.0, LENGTHS, nu=2.5) + WhiteKernel(0.03, NOISES)
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a value at its bound is as intended
        process.fit(_balanced(scale.standardized(_figures(measured))), accuracy)
    score, score_error = _fit_score(measured, accuracy, Scale.of(_summed(around)))
    errors, deviations = left_out(process)
    error = float(np.sqrt(np.mean(errors**2)))
    widening = max(1.0, float(np.sqrt(np.mean((errors / deviations) ** 2))))
    return Fitted(len(measured), score, score_error, error, float(accuracy.max()), process, scale, widening)


def left_out(process: Any) -> tuple[Floats, Floats]:
    """Return what a Gaussian process without each result in turn errs by on it, and the deviation it gives, (n,) each.

    In points; its hyperparameters stay: docs/theory.md (99).
    """
    from scipy.linalg import cho_solve  # loaded when first needed: the service's API imports this module

    precision = np.diag(cho_solve((process.L_, True), np.eye(len(process.L_))))
    scale = process._y_train_std  # noqa: SLF001 - see above
    return process.alpha_ / precision * scale, scale / np.sqrt(precision)


def _fit_score(measured: Candidates, accuracy: Floats, scale: Scale) -> tuple[Score, float]:
    """Return the fitted sum, docs/theory.md (98), and its leave-one-out error, the least of all penalties."""
    from sklearn.linear_model import RidgeCV

    ridge = RidgeCV(PENALTIES, store_cv_results=True).fit(scale.standardized(_summed(measured)), accuracy)
    weights = ridge.coef_ / scale.deviation
    error = float(np.sqrt(ridge.cv_results_.mean(axis=0).min()))
    return Score(weights[:3], weights[3:], QUANTUM), error


def _summed(networks: Candidates) -> Floats:
    """Return the figures of the sum: params, MACs, NN-Mass and the terms, (n, 3 + terms)."""
    return np.column_stack([costs_of(networks), networks.terms])


def _figures(networks: Candidates) -> Floats:
    """Return the figures of the process: log params, log MACs, log NN-Mass and the terms, (n, 3 + terms)."""
    costs = np.column_stack([np.log(networks.params), np.log(networks.macs), np.log1p(networks.nn_mass)])
    return np.column_stack([costs, networks.terms])


def _balanced(figures: Floats) -> Floats:
    """Return figures for which the costs and the terms each count as one in a squared distance, (n, 3 + terms)."""
    weights = np.full(figures.shape[1], 1 / np.sqrt(max(figures.shape[1] - 3, 1)))
    weights[:3] = 1 / np.sqrt(3)
    balanced: Floats = figures * weights
    return balanced
