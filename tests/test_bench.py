"""The benchmark: each process answers, and the other solver that is installed proves the same value."""

from __future__ import annotations

import pytest

from bench import cold
from bench.cases import CASES
from bench.growth import GROWTH
from bench.run import measure
from bench.tables import cases_table, exponent, growth_table, options_per_cell


def test_the_benchmark_measures_proved_answers() -> None:
    names = list(GROWTH)[:2]
    growth = {name: measure(name, "ours", 10) for name in names}
    assert all(answer["proved"] and answer["more"]["found"] == 10 for answer in growth.values())
    sizes = [int(answer["more"]["space_size"]) for answer in growth.values()]
    assert [int(size) for size in sizes] == [GROWTH[name].space.chain().count() for name in names]
    assert f"| {sizes[0]:.1e} |" in growth_table(growth)


def test_another_solver_proves_the_same_value() -> None:
    pytest.importorskip("highspy", reason="HiGHS comes with the extra `bench`")
    answers = {method: measure("growth-40", method, 60) for method in ("ours", "cp_sat", "highs")}
    assert all(answer["proved"] for answer in answers.values())
    assert answers["cp_sat"]["value"] == pytest.approx(answers["ours"]["value"], abs=1e-5)
    assert answers["highs"]["value"] == pytest.approx(answers["ours"]["value"], abs=1e-5)
    assert cases_table({"growth-40": answers}).count("100.00 %") == len(answers)


def test_the_growth_exponent_equals_a_known_slope() -> None:
    small, *_, large = GROWTH
    n, m = options_per_cell(small), options_per_cell(large)
    growth = {small: {"seconds": 1.0}, large: {"seconds": (m / n) ** 0.5}}
    assert exponent(growth, "seconds") == pytest.approx(0.5)


def test_the_cases_have_the_specified_sizes() -> None:
    assert CASES["densenet-3-middling"].space.chain().count() == 170252539265024
    assert (
        min(CASES[f"densenet-4-{budget}"].space.chain().count() for budget in ("tight", "middling", "loose")) > 10**18
    )


def test_cold_starts_are_compared_with_a_bare_interpreter() -> None:
    cases = cold.measure(rounds=1)
    assert list(cases) == list(cold.CASES)
    assert cases[cold.BARE]["times_bare"] == 1.0
    assert all(case["cpu_seconds"]["least"] > 0 for case in cases.values())
    assert cold.table_of(cases).count("\n") == 1 + len(cases)
    with pytest.raises(RuntimeError, match="ended with 2"):
        cold.run(("-m", "nnmass", "nonsense"))
