"""The models of a campaign, against refits without each result in turn and the regression that they come from."""

from __future__ import annotations

import numpy as np
import pytest

from nnmass_core.campaigns.plan import Measured, fit_results, plan
from nnmass_core.campaigns.pool import ListPool, costs_of
from nnmass_core.campaigns.spread import in_order
from tests.core.test_campaign_plans import accuracy_of, networks

POOL = ListPool(networks(200))
LISTED = POOL.candidates(0)
ACCURACY = np.array([accuracy_of(POOL, key) for key in LISTED.keys])


def results(count: int, seed: int = 0) -> list[Measured]:
    rows = np.random.default_rng(seed).permutation(len(LISTED))[:count]
    return [Measured(LISTED.keys[row], float(ACCURACY[row])) for row in rows]


def test_leave_one_out_errors_are_those_of_refits() -> None:
    from sklearn.gaussian_process import GaussianProcessRegressor

    fitted = fit_results(POOL, results(12), LISTED)
    assert fitted is not None
    process = fitted._process
    figures, values = process.X_train_, process.y_train_
    errors = []
    for row in range(12):
        others = np.arange(12) != row
        again = GaussianProcessRegressor(process.kernel_, optimizer=None).fit(figures[others], values[others])
        errors.append(float(values[row] - again.predict(figures[[row]])[0]) * process._y_train_std)
    assert fitted.error == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-9)


def test_the_score_orders_networks_as_its_regression_predicts() -> None:
    from sklearn.linear_model import LinearRegression

    fitted = fit_results(POOL, results(60), LISTED)
    assert fitted is not None
    scores = fitted.score.of(costs_of(LISTED), LISTED.terms) * fitted.score.quantum
    slope = LinearRegression().fit(scores[:, None], ACCURACY)
    assert slope.coef_[0] == pytest.approx(1, abs=0.1)
    assert np.corrcoef(scores, ACCURACY)[0, 1] > 0.95
    assert fitted.score_error == pytest.approx(np.std(ACCURACY - slope.predict(scores[:, None])), rel=0.5)


def test_the_process_predicts_what_is_no_sum_and_says_how_far_off_it_is() -> None:
    fitted = fit_results(POOL, results(60), LISTED)
    assert fitted is not None
    mean, deviation = fitted.predict(LISTED)
    errors = np.abs(mean - ACCURACY)
    assert np.sqrt(np.mean(errors**2)) < 0.5 * fitted.score_error
    low, high = np.transpose([fitted.interval(*one) for one in zip(mean, deviation, strict=True)])
    assert np.mean((low <= ACCURACY) & (high >= ACCURACY)) > 0.9


def test_more_networks_make_predictions_around_them_more_certain() -> None:
    fitted = fit_results(POOL, results(12), LISTED)
    assert fitted is not None
    before = fitted.predict(LISTED)[1]
    row = int(np.argmax(before))
    after = fitted.deviation_after(LISTED, LISTED.take(np.array([row])))
    assert after[row] < 0.7 * before[row]
    assert np.all(after <= before + 1e-6)


def test_later_rounds_take_predicted_networks_with_intervals() -> None:
    first = plan(POOL, [], 8, 0).proposals
    second = plan(POOL, [Measured(one.key, accuracy_of(POOL, one.key)) for one in first], 8, 0)
    assert second.fit is not None
    assert (second.fit.networks, second.fit.proved) == (8, True)
    assert second.fit.best is not None
    assert second.fit.best <= second.fit.bound
    assert {one.role for one in second.proposals} <= {"best_predicted", "most_uncertain"}
    assert "best_predicted" in {one.role for one in second.proposals}
    for one in second.proposals:
        assert one.predicted is not None
        assert one.predicted.low < one.predicted.accuracy < one.predicted.high
        assert one.predicted.error > 0


def test_a_campaign_comes_closer_to_the_best_than_random_networks() -> None:
    measured: list[Measured] = []
    for count in (6, 3, 3):
        measured += [Measured(one.key, accuracy_of(POOL, one.key)) for one in plan(POOL, measured, count, 0).proposals]
    drawn = [ACCURACY[in_order(LISTED, "random", seed, ())[:12]].max() for seed in range(20)]
    assert ACCURACY.max() - max(one.accuracy or 0 for one in measured) < 0.5 * np.mean(ACCURACY.max() - drawn)


@pytest.mark.parametrize("accuracies", [[80.0, 81.0, 82.0], [80.0] * 8])
def test_too_little_is_not_fitted(accuracies: list[float]) -> None:
    few = [Measured(key, accuracy) for key, accuracy in zip(LISTED.keys, accuracies, strict=False)]
    assert fit_results(POOL, few, LISTED) is None
