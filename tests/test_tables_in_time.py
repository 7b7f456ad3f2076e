"""A time limit that passes while the tables of a space are worked out."""

from __future__ import annotations

from typing import Any

import pytest

from app.searches.schemas import Result
from nnmass import formatting
from nnmass_core.budget import Budget
from nnmass_core.engine.control import FEW_OPTIONS, Control, OutOfTime, stage_built, watching_tables
from nnmass_core.families import decode_space
from nnmass_core.named.presets import presets
from nnmass_core.request import Maximize, Objective, Pareto, SearchRequest
from nnmass_core.search import search

# untyped: spaces as JSON has them


class Interrupted(Exception):
    """What a report raises to cancel a search."""


def large() -> SearchRequest:
    """Return a question of a space of 661,456 options that no cache has."""
    definition: dict[str, Any] = presets()["densenet-cifar-free"].space.to_json()
    definition["skip_channels"]["step"] = 1
    return SearchRequest(space=decode_space(definition), budget=Budget(max_params=1_000_000), objective=Maximize())


@pytest.mark.parametrize("objective", [Maximize(), Pareto(("params",))])
def test_an_answer_without_tables_says_so(objective: Objective) -> None:
    asked = large()
    asked = SearchRequest(space=asked.space, budget=asked.budget, objective=objective)
    found = search(asked, Control(expired=lambda: True))
    certificate = found.certificate
    assert (found.ranking, certificate.optimal, certificate.feasible) == ((), False, None)
    assert (certificate.space_size, certificate.bound, certificate.unfinished) == (None, None, ("tables",))
    result = found.report(0.5)
    assert Result.model_validate(result).space_size is None
    assert formatting.certificate(result, asked.to_json()).startswith("Timed out after 500 ms, before the tables")


def test_tables_are_no_longer_worked_out_than_to_the_end_of_a_stage() -> None:
    looked: list[float] = []

    def expired() -> bool:
        looked.append(1)
        return True

    assert search(large(), Control(expired=expired)).certificate.space_size is None
    assert len(looked) == 1


def test_a_search_can_be_canceled_while_its_tables_are_worked_out() -> None:
    def report(fraction: float, message: str) -> None:
        if message == "working out the tables":
            raise Interrupted

    with pytest.raises(Interrupted):
        search(large(), Control(report=report))


def test_small_tables_are_worked_out_however_short_the_time_limit() -> None:
    with watching_tables(Control(expired=lambda: True)):
        stage_built(FEW_OPTIONS)
        with pytest.raises(OutOfTime):
            stage_built(1)
    stage_built(FEW_OPTIONS + 1)
