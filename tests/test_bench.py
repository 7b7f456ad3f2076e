"""The benchmark: each process answers, and the other solver that is installed proves the same value."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import cold, hard
from bench.cases import CASES
from bench.growth import GROWTH
from bench.run import measure
from bench.stages import STAGES, request_of
from bench.tables import cases_table, exponent, growth_table, options_per_cell
from nnmass_core.search import search


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


def test_questions_of_the_hard_set_are_measured_and_shown(tmp_path: Path) -> None:
    question = hard.questions("densenet-mlp-mnist")["front of params, MACs"]
    now = hard.measure(hard.HERE, question | {"time_limit_seconds": 60}, 60)
    assert now["proved"]
    refused = hard.measure(hard.HERE, question | {"time_limit_seconds": 60, "diversity": "beauty"}, 60)
    assert refused["seconds"] is None
    assert "diversity" in refused["refused"]
    late = {"seconds": 60.0, "proved": False}
    found = {"now": now | {"seconds": 0.5}, "before": now | {"seconds": 2.0}, "cp_sat": late}
    found["highs"] = {"seconds": 1.0, "proved": True}
    case = "densenet-mlp-mnist: front of params, MACs"
    assert (
        hard.row(case, found) == f"| {case} | {now['found']} | 0.500 | 2.000 | 4.0 | yes | - | >60 | 1.000 | 2.0 | - |"
    )
    stopped = found | {"highs": {"seconds": 1.0, "proved": False}}
    assert hard.row(case, stopped).endswith("| - | >60 | >1 | >2.0 | - |")
    assert hard.summary({case: stopped})[1] == "A solver is faster than the whole answer, in 0 of 1 questions."
    unproved = found | {"now": now | {"seconds": 0.5, "proved": False}}
    assert hard.summary({case: unproved})[1].endswith(f"in 1 of 1 questions ({case}).")
    same_job = found | {"now": now | {"seconds": 2.0}, "engine": {"seconds": 0.25, "proved": True}}
    assert hard.row(case, same_job).endswith("| 0.250 | >60 | 1.000 | 0.5 | 4.0 |")
    whole, engine = hard.summary({case: same_job})[1:3]
    assert (whole[-2:], "in 0 of 1 questions" in engine) == (").", True)
    hard.save({"cases": {case: found | {"before": refused}}, "stages": {}}, tmp_path)
    assert "| unknown | - |" in (tmp_path / "hard.md").read_text()


def test_patience_limits_a_solver_by_the_time_that_this_release_took() -> None:
    assert hard.solver_limit({"seconds": 4.0, "proved": True}, 60.0, 3.0) == 12.0
    assert hard.solver_limit({"seconds": 0.1, "proved": True}, 60.0, 3.0) == 1.0
    assert hard.solver_limit({"seconds": 40.0, "proved": True}, 60.0, 3.0) == 60.0
    assert hard.solver_limit({"seconds": 4.0, "proved": False}, 60.0, 3.0) == 60.0
    assert hard.solver_limit({"seconds": 4.0, "proved": True}, 60.0, None) == 60.0


def test_every_number_of_stages_has_an_answer() -> None:
    assert list(STAGES) == list(range(2, 13))
    small = request_of(STAGES[2])
    (space,) = small.space.spaces
    assert space.chain().count() == 48**2
    assert search(small).ranking


def test_solvers_give_the_value_of_each_single_answer() -> None:
    pytest.importorskip("highspy", reason="HiGHS comes with the extra `bench`")
    for kind, question in hard.questions("densenet-tiny-free").items():
        if kind in ("most, 10", "least peak, 1", "least params"):
            best = search(request_of(question)).ranking[0].evaluation
            value = {"MACs": best.macs, "params": best.params, "peak, 1": best.peak_elements}
            value["weights"] = 4 * (best.weights + best.indices)
            expected = value.get(kind.partition(" ")[2], float(best.mass))
            for method in (*hard.SOLVERS, hard.ENGINE):
                found = hard.measure_solver(method, question, 60)
                assert found["proved"]
                assert found["value"] == pytest.approx(expected, rel=1e-6)


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
