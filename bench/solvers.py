"""Ask a solver a question, in this process: `python -m bench.solvers METHOD QUESTION SECONDS`, the question as JSON.

It prints the processor time of the solver without that of its model, its best value, and whether it is proved. The
method `engine` is this release's engine with the same job: ready tables, one proved optimum, no test of which limits
bind, no evaluation and no certificate; its time is the median of repeated solves, as for whole questions.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import time
from dataclasses import replace
from fractions import Fraction
from typing import Any

from bench.answers import Answer
from bench.asked import LONG, WARM_RUNS
from bench.exact import SETUP, solve_with_cp_sat, solve_with_highs
from bench.stages import request_of
from nnmass_core.budget import Floor, Limit, MassLimit
from nnmass_core.costs import COSTS
from nnmass_core.engine.control import Control
from nnmass_core.engine.listing import Listing, listable, listed_best
from nnmass_core.engine.peaks import least_peaks
from nnmass_core.engine.problem import PEAK, RANKING, ChainProblem, Key
from nnmass_core.engine.sums.limited import best_paths
from nnmass_core.request import Maximize, Minimize, SearchRequest
from nnmass_core.search import LISTED, chain_for


def solve_with_engine(problem: ChainProblem, seconds: float, *, of_peak: bool = False) -> Answer:
    """Solve with the engine as `nnmass.search` does; arguments and value are those of `solve_with_cp_sat`."""
    started = time.monotonic()
    control = Control.timed(lambda: (time.monotonic() - started) / seconds)
    others = RANKING if of_peak else tuple(key for key in RANKING if key.column != problem.keys[0].column)
    problem = replace(problem, keys=others if of_peak else (problem.keys[0], *others))
    if problem.chain.count() <= LISTED and listable(problem.chain):
        found = listed_best(Listing(problem.chain, control), problem, 1, of_peak=of_peak, distinct_shapes=False)
    elif of_peak:
        found = least_peaks(problem, 1, control, distinct_shapes=False)
    else:
        found = best_paths(problem, 1, control)
    value = None
    if len(found.additive):
        value = -found.bound if of_peak else float(found.additive[0, problem.keys[0].column])
    return Answer(value=value, proved=found.complete, more={SETUP: 0.0})


METHODS = {"cp_sat": solve_with_cp_sat, "highs": solve_with_highs, "engine": solve_with_engine}


def problem_of(request: SearchRequest) -> tuple[ChainProblem, bool]:
    """Return a request as a problem whose first key is the objective, and whether its peak is minimized."""
    chain = chain_for(request.space, request.budget, (cost for _, cost in request.costs))
    columns, objective, limits = chain.quantities, request.objective, request.budget.all_limits()
    quantity, sign, of_peak = "nn_mass", 1, False
    if isinstance(objective, Minimize) or (isinstance(objective, Maximize) and objective.quantity in COSTS):
        name = objective.cost if isinstance(objective, Minimize) else objective.quantity
        quantity, sign = COSTS[name].quantity, -1 if isinstance(objective, Minimize) else 1
        of_peak, quantity = quantity == PEAK, "nn_mass" if quantity == PEAK else quantity
    caps = {one.cost.quantity: one.elements for one in limits if isinstance(one, Limit)}
    peak = caps.pop(PEAK, None)
    floors = [(columns.index(one.cost.quantity), one.elements) for one in limits if isinstance(one, Floor)]
    masses = [one for one in limits if isinstance(one, MassLimit)]
    least = [one.mass for one in masses if one.lower]
    least += [objective.least_mass] if isinstance(objective, Minimize) and objective.least_mass is not None else []
    return ChainProblem(
        chain,
        (Key(columns.index(quantity), sign),),
        tuple((columns.index(name), bound) for name, bound in caps.items()),
        peak,
        max(least, default=None),
        tuple(floors),
        min((one.mass for one in masses if not one.lower), default=None),
    ), of_peak


def solved(method: str, question: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the time of a solver, its value in elements, and whether it is proved."""
    request = request_of(question)
    problem, of_peak = problem_of(request)
    took, first = 0.0, None
    if request.spend is not None:
        column = problem.chain.quantities.index(COSTS[request.spend.quantity].quantity)
        first, took = _timed(method, replace(problem, keys=(Key(column, 1),)), seconds)
        if first.value is None:
            return {"seconds": took, "proved": False, "value": None}
        floor = math.ceil(Fraction(repr(request.spend.share)) * round(first.value))
        problem = replace(problem, floors=(*problem.floors, (column, floor)))
    answer, more = _timed(method, problem, seconds - took, of_peak=of_peak)
    proved = answer.proved and (first is None or first.proved)
    return {"seconds": took + more, "proved": proved, "value": answer.value}


def _timed(method: str, problem: ChainProblem, seconds: float, *, of_peak: bool = False) -> tuple[Answer, float]:
    """Solve; return the answer and the processor time, without that of building the model."""
    started = time.process_time()
    answer = METHODS[method](problem, seconds, of_peak=of_peak)
    return answer, time.process_time() - started - answer.more[SETUP]


def measured(method: str, question: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return what `solved` does; the engine's time is the median of solves after a first one."""
    found = solved(method, question, seconds)
    if method != "engine" or found["seconds"] > LONG:
        return found
    again = [solved(method, question, seconds)["seconds"] for _ in range(WARM_RUNS)]
    return found | {"seconds": statistics.median(again)}


if __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(json.dumps(measured(sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3]))))
