"""Evidence from trained networks: correlations against scipy and by hand, bands, lines, and statements."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from nnmass_core.verification.evidence import (
    FEWEST_RUNS,
    MEASURES,
    Line,
    Point,
    compare_column,
    evidence_of,
    lines_of,
)
from tests.parsed import parsed

UNDEFINED = {"value": None, "low": None, "high": None}


def point(i: int, nn_mass: float, params: int, macs: int, accuracy: float, **more: Any) -> Point:
    given: dict[str, Any] = {"family": "densenet_cnn", "widths": (16, 32, 64), "runs": 3} | more
    return Point(arch_id=f"arch_{i:03d}", nn_mass=float(nn_mass), params=params, macs=macs, accuracy=accuracy, **given)


def points_of(rows: Sequence[tuple[float, int, int, float]]) -> list[Point]:
    return [point(i, *row) for i, row in enumerate(rows)]


def random_points(n: int, seed: int, *, of_mass: float = 0.05, of_params: float = 0.0) -> list[Point]:
    """Accuracy follows log(NN-Mass) and log(params) with some noise; values are coarse, so that there are ties."""
    rng = np.random.default_rng(seed)
    masses = rng.integers(5, 80, n) * 10.0
    params = rng.integers(5, 30, n) * 100_000
    macs = params * rng.integers(60, 150, n)
    noise = rng.normal(0, 0.01, n)
    accuracy = np.round(0.7 + of_mass * np.log(masses / 300) + of_params * np.log(params / 1e6) + noise, 3)
    rows = zip(masses.tolist(), params.tolist(), macs.tolist(), accuracy.tolist(), strict=True)
    return points_of(list(rows))


def columns(points: Sequence[Point], name: str) -> list[float]:
    return [getattr(p, name) for p in points]


def found_in(points: list[Point]) -> Any:
    return parsed(evidence_of(points))


@pytest.mark.parametrize("n", [3, 7, 40, 64, 65, 120])
def test_correlations_equal_those_of_scipy(n: int) -> None:
    points = random_points(n, n)
    found = found_in(points)
    accuracy = columns(points, "accuracy")
    for name in MEASURES:
        rho = stats.spearmanr(columns(points, name), accuracy).statistic
        tau = stats.kendalltau(columns(points, name), accuracy).statistic
        assert found["overall"][name]["spearman"]["value"] == pytest.approx(rho, abs=1e-12)
        assert found["overall"][name]["kendall"]["value"] == pytest.approx(tau, abs=1e-12)
    assert (found["n"], found["runs"]) == (n, 3 * n)


def test_correlations_with_ties_equal_values_worked_out_by_hand() -> None:
    """NN-Mass ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: rho = 4.5 / sqrt(4.5 x 5), tau-b = 5 / sqrt(5 x 6)."""
    found = found_in(points_of([(1, 9, 1, 0.1), (2, 8, 1, 0.2), (2, 7, 1, 0.3), (5, 6, 1, 0.4)]))["overall"]
    assert found["nn_mass"]["spearman"]["value"] == pytest.approx(4.5 / math.sqrt(22.5))
    assert found["nn_mass"]["kendall"]["value"] == pytest.approx(5 / math.sqrt(30))
    assert found["params"]["spearman"]["value"] == pytest.approx(-1)
    assert found["macs"] == {"spearman": UNDEFINED, "kendall": UNDEFINED}


@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_order_has_correlation_one_or_minus_one(sign: int) -> None:
    found = found_in(points_of([(100 + sign * i, 50 - i, 7 + i, 0.5 + 0.01 * i) for i in range(20)]))
    for kind in ("spearman", "kendall"):
        assert found["overall"]["nn_mass"][kind] == pytest.approx({"value": sign, "low": sign, "high": sign})
        assert found["overall"]["params"][kind]["value"] == pytest.approx(-1)
    assert found["difference"]["nn_mass_minus_params"]["value"] == pytest.approx(sign + 1)
    assert found["top_k"]["nn_mass"] == (1 if sign > 0 else 0)


def test_a_column_is_compared_as_nn_mass_is() -> None:
    """NN-Mass itself, given as a column, has its own figures, and never differs from itself."""
    points = random_points(40, 3)
    found = parsed(compare_column(points, columns(points, "nn_mass")))
    overall = found_in(points)["overall"]
    assert found["column"]["spearman"] == overall["nn_mass"]["spearman"]
    assert {name: found[name]["spearman"]["value"] for name in MEASURES} == pytest.approx(
        {name: overall[name]["spearman"]["value"] for name in MEASURES}
    )
    assert found["minus_nn_mass"] == {"value": 0, "low": 0, "high": 0}
    assert found["minus_params"] == found_in(points)["difference"]["nn_mass_minus_params"]
    other = [-value for value in columns(points, "accuracy")]
    assert parsed(compare_column(points, other))["column"]["kendall"]["value"] == pytest.approx(-1)


def test_networks_without_trainings_have_no_count_of_runs() -> None:
    points = [point(i, 10 * i + 10, 100 + i, 5000 + i, 90 - i, runs=0) for i in range(6)]
    assert found_in(points)["statement"].startswith("Over 6 networks the Spearman correlation")


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_networks_have_no_correlations(n: int) -> None:
    found = found_in(random_points(n, 1))
    assert found["overall"] == {name: {"spearman": UNDEFINED, "kendall": UNDEFINED} for name in MEASURES}
    assert set(map(str, found["difference"].values())) == {str(UNDEFINED)}
    assert (found["bands"], found["top_k"], found["fit"], found["fits"]) == ([], None, None, [])
    assert "too few to say anything" in found["statement"]


def test_four_networks_have_correlations_without_intervals() -> None:
    found = found_in(random_points(4, 2))
    figure = found["overall"]["nn_mass"]["spearman"]
    assert figure["value"] is not None
    assert (figure["low"], figure["high"], found["top_k"]) == (None, None, None)
    assert "too few to say anything" in found["statement"]


def test_constant_accuracy_has_no_correlations() -> None:
    found = found_in(points_of([(10 * i + 10, 1000 + i, 5000 + i, 0.5) for i in range(12)]))
    assert found["overall"]["nn_mass"] == {"spearman": UNDEFINED, "kendall": UNDEFINED}
    assert "nothing can be said" in found["statement"]
    assert (found["fit"]["slope"], found["fit"]["r2"], found["fit"]["prediction_half_width"]) == (0, None, 0)
    assert "NaN" not in json.dumps(found)


def test_resamples_without_a_correlation_are_skipped() -> None:
    """Nine of ten networks agree, so that one resample in three has no correlation."""
    rows = [(10.0, 100, 1000, 0.5)] * 9 + [(20.0, 90, 1000, 0.6)]
    figure = found_in(points_of(rows))["overall"]["nn_mass"]
    assert figure["spearman"] == pytest.approx({"value": 1, "low": 1, "high": 1})
    assert figure["kendall"] == pytest.approx({"value": 1, "low": 1, "high": 1})


def test_intervals_cover_the_true_correlation() -> None:
    """Of normal pairs with Pearson's r, Spearman's rho is 6 / pi arcsin(r / 2); these intervals reach about 93 %."""
    rng = np.random.default_rng(4)
    r, covered, trials = 0.6, 0, 60
    for _ in range(trials):
        x, y = rng.multivariate_normal([0, 0], [[1, r], [r, 1]], 40).T
        found = found_in(points_of([(50 + x[i], 2**i, 2**i, 0.5 + 0.01 * y[i]) for i in range(40)]))
        figure = found["overall"]["nn_mass"]["spearman"]
        covered += figure["low"] <= 6 / math.pi * math.asin(r / 2) <= figure["high"]
    assert 0.85 <= covered / trials <= 0.99


def test_bands_equal_those_worked_out_by_hand() -> None:
    """Params 100..125 are one band, 126..157 the next; three networks about 1000 are too few."""
    params = [100, 110, 120, 124, 125, 126, 130, 140, 150, 157, 1000, 1001, 1002]
    rows = [(i % 5 + 1, p, 10**9, 0.5 + i % 5 / 10) for i, p in enumerate(params)]
    found = found_in(points_of(rows[::-1]))
    bands = [(b["cost"], b["min"], b["max"], b["n"]) for b in found["bands"]]
    assert bands == [("params", 100, 125, 5), ("params", 126, 157, 5), ("macs", 10**9, 10**9, 13)]
    assert found["outside_bands"] == {"params": 3, "macs": 0}
    assert found["bands"][0]["nn_mass"]["spearman"]["value"] == pytest.approx(1)
    assert found["bands"][2]["macs"]["spearman"] == UNDEFINED


def test_bands_contain_only_networks_of_equal_cost() -> None:
    points = random_points(90, 8)
    found = found_in(points)
    for band in found["bands"]:
        assert band["max"] <= 1.25 * band["min"]
        inside = [p for p in points if band["min"] <= getattr(p, band["cost"]) <= band["max"]]
        assert len(inside) == band["n"] >= 5
        rho = stats.spearmanr(columns(inside, "params"), columns(inside, "accuracy")).statistic
        assert band["params"]["spearman"]["value"] == pytest.approx(rho)
    for cost in ("params", "macs"):
        assert sum(b["n"] for b in found["bands"] if b["cost"] == cost) + found["outside_bands"][cost] == 90


@pytest.mark.parametrize(("n", "k"), [(5, 1), (14, 1), (16, 2), (60, 6), (100, 10), (300, 10)])
def test_top_k_counts_the_most_accurate_networks_among_the_best_of_each_predictor(n: int, k: int) -> None:
    points = points_of([(i, n - i, i // 2 if i < n - 1 else 0, 0.5 + i / 1000) for i in range(n)])
    top = found_in(points)["top_k"]
    assert (top["k"], top["by_chance"]) == (k, k / n)
    assert (top["nn_mass"], top["params"]) == (1, 0)
    assert top["macs"] == (k - 1) / k


def test_ties_in_the_top_k_are_broken_by_arch_id() -> None:
    rows = [(7, 10, 10, 0.5 + 0.01 * (i == 0)) for i in range(8)]
    assert found_in(points_of(rows))["top_k"]["nn_mass"] == 1
    last = [(7, 10, 10, 0.5 + 0.01 * (i == 7)) for i in range(8)]
    assert found_in(points_of(last))["top_k"]["nn_mass"] == 0


def straight(n: int, noise: float, rng: np.random.Generator) -> tuple[list[Point], np.ndarray[Any, Any]]:
    x = rng.uniform(3, 6, n)
    y = 0.5 + 0.05 * x + rng.normal(0, noise, n)
    return [point(i, math.exp(a), 10, 10, b) for i, (a, b) in enumerate(zip(x.tolist(), y.tolist(), strict=True))], x


def test_a_fitted_line_equals_the_matrix_form() -> None:
    """The textbook's matrix form: value x0' b, variance s^2 (1 + x0' (X'X)^-1 x0)."""
    points, x = straight(12, 0.02, np.random.default_rng(3))
    (line,) = lines_of(points)
    design = np.column_stack([np.ones(12), x])
    y = np.array(columns(points, "accuracy"))
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y
    residual = y - design @ beta
    variance = residual @ residual / 10
    assert [line.intercept, line.slope, line.n] == pytest.approx([*beta.tolist(), 12])
    assert line.r2 == pytest.approx(1 - residual @ residual / ((y - y.mean()) ** 2).sum())
    assert line.residual_std == pytest.approx(math.sqrt(variance))
    for mass in (10.0, 60.0, 500.0):
        at = np.array([1, math.log(mass)])
        half = 2.2281388519649385 * math.sqrt(variance * (1 + at @ inverse @ at))  # t of 0.975, 10 degrees of freedom
        found = line.predict(mass)
        assert found.value == pytest.approx(at @ beta)
        assert [found.low, found.high] == pytest.approx([at @ beta - half, min(at @ beta + half, 1)])
        assert (found.n, found.extrapolated) == (12, mass != 60.0 and not min(x) <= math.log(mass) <= max(x))
    assert line.to_json()["prediction_half_width"] == pytest.approx(
        2.2281388519649385 * math.sqrt(variance * (1 + 1 / 12))
    )


def test_prediction_intervals_have_their_nominal_coverage() -> None:
    rng = np.random.default_rng(9)
    inside = 0
    for _ in range(400):
        (line,) = lines_of(straight(10, 0.02, rng)[0])
        x = rng.uniform(3, 6)
        found = line.predict(math.exp(x))
        inside += found.low <= 0.5 + 0.05 * x + rng.normal(0, 0.02) <= found.high
    assert 0.925 <= inside / 400 <= 0.975


def test_predictions_are_clipped_and_marked_outside_the_range() -> None:
    (line,) = lines_of([point(i, 10.0 * (i + 1), 10, 10, 0.1 + 0.09 * i) for i in range(10)])
    above, below = line.predict(1e6), line.predict(1e-6)
    assert (above.value, above.high, above.extrapolated) == (1, 1, True)
    assert (below.value, below.low, below.extrapolated) == (0, 0, True)
    assert not line.predict(10).extrapolated
    assert not line.predict(100).extrapolated
    for nothing in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="NN-Mass"):
            line.predict(nothing)


def test_lines_are_fitted_within_one_width_and_family() -> None:
    wide = [point(i, 10 + i, 10, 10, 0.5 + 0.01 * i, widths=(32, 64, 128)) for i in range(9)]
    other = [point(20 + i, 10 + i, 10, 10, 0.9 - 0.01 * i, family="densenet_mlp") for i in range(8)]
    few = [point(40 + i, 10 + i, 10, 10, 0.5, widths=(8,)) for i in range(FEWEST_RUNS - 1)]
    alike = [point(50 + i, 10 + i % 2, 10, 10, 0.5, widths=(4,)) for i in range(20)]
    massless = [point(80 + i, 0, 10, 10, 0.5) for i in range(9)]
    everything = [*few, *other, *alike, *massless, *wide]
    lines = lines_of(everything)
    assert [(line.family, line.widths, line.n) for line in lines] == [
        ("densenet_cnn", (32, 64, 128), 9),
        ("densenet_mlp", (16, 32, 64), 8),
    ]
    assert lines[0].slope > 0 > lines[1].slope
    found = found_in(everything)
    assert found["fits"] == [line.to_json() for line in lines]
    assert found["fit"] == found["fits"][0]


def test_lines_need_different_values_of_nn_mass() -> None:
    assert lines_of([point(i, 10 + i % 2, 10, 10, 0.5) for i in range(30)]) == ()
    assert isinstance(lines_of([point(i, 10 + i % 3, 10, 10, 0.5) for i in range(8)])[0], Line)


def test_the_statement_reports_when_nn_mass_predicts_worse_than_params() -> None:
    result = found_in(random_points(60, 5, of_mass=0.0, of_params=0.1))
    assert "NN-Mass does no better than params here" in result["statement"]
    assert result["difference"]["nn_mass_minus_params"]["high"] < 0
    assert "chance" not in result["statement"].split("NN-Mass does no better than params here")[1].split("MACs")[0]


def test_the_statement_does_not_call_a_negative_correlation_a_success() -> None:
    result = found_in(random_points(40, 6, of_mass=-0.1, of_params=0.005))
    assert result["overall"]["nn_mass"]["spearman"]["high"] < 0
    assert "NN-Mass does no better than params here" in result["statement"]
    assert "More NN-Mass did not go with more accuracy" in result["statement"]


def test_the_statement_does_not_call_a_less_negative_correlation_than_params_a_success() -> None:
    result = found_in(random_points(40, 6, of_mass=-0.02, of_params=-0.2))
    assert result["difference"]["nn_mass_minus_params"]["value"] > 0 > result["overall"]["nn_mass"]["spearman"]["value"]
    assert "NN-Mass does no better than params here" in result["statement"]


def test_the_statement_does_not_call_a_draw_better() -> None:
    rows = [(10.0 * p, p, p, 0.5 + 0.01 * (p * 7 % 5)) for p in range(10, 20)]
    result = found_in(points_of(rows))
    assert result["difference"]["nn_mass_minus_params"] == {"value": 0, "low": 0, "high": 0}
    assert "NN-Mass does no better than params here" in result["statement"]
    assert "NN-Mass does no better than MACs here" in result["statement"]


def test_the_statement_reports_by_how_much_nn_mass_predicts_better() -> None:
    result = found_in(random_points(60, 7, of_mass=0.1))["statement"]
    assert result.startswith("Over 60 networks (180 runs) the Spearman correlation with accuracy is 0.9")
    assert "NN-Mass does better than params here: the difference is +" in result
    assert "does not include 0" in result
    assert "ahead of params in" in result


def test_the_statement_reports_that_the_difference_may_be_chance() -> None:
    result = found_in(random_points(8, 3, of_mass=0.01, of_params=0.01))
    low, high = (result["difference"]["nn_mass_minus_params"][end] for end in ("low", "high"))
    assert low < 0 < high
    assert "includes 0, so the difference may be chance" in result["statement"]


def test_params_that_do_not_vary_are_not_compared() -> None:
    result = found_in(points_of([(10 + i, 100, 1000 + 300 * i, 0.5 + 0.01 * i) for i in range(9)]))["statement"]
    assert "The params do not vary" in result
    assert "ahead of params in 1 of 1 band of equal params" in result


def test_the_evidence_is_deterministic_and_immutable() -> None:
    points = random_points(30, 1)
    first = found_in(points)
    text = json.dumps(first)
    first["overall"]["nn_mass"]["spearman"]["value"] = 7
    first["bands"].clear()
    assert json.dumps(evidence_of(tuple(points))) == text
    program = f"""
import json
from nnmass_core.verification.evidence import Point, evidence_of
print(json.dumps(evidence_of({points!r})))
"""
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == text


def test_importing_the_module_does_not_load_scipy() -> None:
    program = "import sys; from nnmass_core.verification import controls, evidence; print('scipy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "False"
