"""The competitors that can prove optimality: OR-Tools CP-SAT and the HiGHS mixed-integer solver.

They receive the engine's own tables (one boolean per option of a stage, flow through the nodes). This is the strongest
form that we know: the products of widths are already expanded, and every cost is linear. The time to build their model
is not counted.
"""

from __future__ import annotations

import time
from dataclasses import replace

import highspy
import numpy as np
from ortools.sat.python import cp_model

from bench.answers import Answer, Stopwatch
from bench.cases import Case
from nnmass_core.engine.chain import QUANTITIES, Chain, Floats, Ints
from nnmass_core.engine.problem import MASS, ChainProblem, Key, maximize

SETUP = "setup_cpu_seconds"
"""The name of the processor time of building the model, in an answer's `more`."""

SCALE = 10**6
"""CP-SAT needs integers: NN-Mass in millionths, rounded, which is much finer than any difference shown."""


def problem_of(case: Case) -> ChainProblem:
    """Return a case as the engine's problem."""
    caps = tuple((QUANTITIES.index(quantity), bound) for quantity, bound in case.caps().items())
    return ChainProblem(case.space.chain(), (maximize("nn_mass"), maximize("nn_mass")), caps)


def cp_sat(case: Case, seconds: float) -> Answer:
    """Solve a case with CP-SAT on one core."""
    return solve_with_cp_sat(problem_of(case), seconds)


def highs(case: Case, seconds: float) -> Answer:
    """Solve a case with HiGHS on one core."""
    return solve_with_highs(problem_of(case), seconds)


def _flow(chain: Chain) -> list[tuple[Ints, Ints, Ints]]:
    """Return, for each boundary, (node, option, sign) of the flow balance: what enters a node also leaves it."""
    first = np.cumsum([0, *(len(stage) for stage in chain.stages)])
    rows: list[tuple[Ints, Ints, Ints]] = []
    for i, (this, following) in enumerate(zip(chain.stages, chain.stages[1:], strict=False)):
        node = np.concatenate([this.target, following.source])
        option = np.concatenate([first[i] + np.arange(len(this)), first[i + 1] + np.arange(len(following))])
        sign = np.repeat(np.array([1, -1]), [len(this), len(following)])
        rows.append((node, option, sign))
    return rows


def _rows(problem: ChainProblem, scale: int) -> list[tuple[Floats, float]]:
    """Return the limits as rows `use <= bound`, NN-Mass times a scale; equal values are within, as doubles allow."""
    additive = np.concatenate([stage.additive for stage in problem.chain.stages])
    rows = [(additive[:, column], float(bound)) for column, bound in problem.caps]
    rows += [(-additive[:, column], -float(bound)) for column, bound in problem.floors]
    slack = len(problem.chain.stages)  # each option's NN-Mass is rounded by half a unit at most
    for mass, sign in ((problem.least_mass, -1), (problem.most_mass, 1)):
        if mass is not None:
            rows.append((sign * np.rint(additive[:, MASS] * scale), sign * float(mass) * scale + slack))
    return rows


class _Improvements(cp_model.CpSolverSolutionCallback):
    def __init__(self, answer: Answer, unit: float) -> None:
        super().__init__()
        self._answer = answer
        self._unit = unit
        self._watch = Stopwatch()

    def on_solution_callback(self) -> None:
        self._answer.improve(self._watch.seconds, self.objective_value / self._unit)


def solve_with_cp_sat(problem: ChainProblem, seconds: float, *, of_peak: bool = False) -> Answer:
    """Solve with CP-SAT on one core. The answer's value is that of the first key, or of the least peak, in elements.

    Args:
        problem: The engine's problem; of its keys the first counts.
        seconds: The time limit.
        of_peak: Whether the peak is minimized in place of the first key.
    """
    building, cpu = Stopwatch(), time.process_time()
    chain = problem.chain if problem.peak is None else problem.chain.within_peak(problem.peak)
    model = cp_model.CpModel()
    takes = [[model.new_bool_var("") for _ in range(len(stage))] for stage in chain.stages]
    flat = [variable for stage in takes for variable in stage]
    model.add_exactly_one(takes[0])
    for node, option, sign in _flow(chain):
        order = np.argsort(node, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(node[order])) + 1):
            model.add(cp_model.LinearExpr.weighted_sum([flat[o] for o in option[rows]], sign[rows].tolist()) == 0)
    for use, bound in _rows(replace(problem, chain=chain), SCALE):
        model.add(cp_model.LinearExpr.weighted_sum(flat, np.rint(use).astype(np.int64).tolist()) <= int(bound))
    key, unit = problem.keys[0], 1.0
    if of_peak:
        peak = model.new_int_var(0, chain.peaks[-1], "")
        for stage, variables in zip(chain.stages, takes, strict=True):
            model.add(cp_model.LinearExpr.weighted_sum(variables, stage.peak.tolist()) <= peak)
        model.minimize(peak)
    else:
        unit = float(SCALE) if key.column == MASS else 1.0
        values = np.rint(_values(chain, key) * unit).astype(np.int64).tolist()
        goal = cp_model.LinearExpr.weighted_sum(flat, values)
        (model.maximize if key.sign > 0 else model.minimize)(goal)
    answer = Answer(setup_seconds=building.seconds, more={SETUP: time.process_time() - cpu})
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_time_in_seconds = seconds
    watch = Stopwatch()
    status = solver.solve(model, _Improvements(answer, unit))
    answer.seconds, answer.proved = watch.seconds, status == cp_model.OPTIMAL
    if answer.proved:
        answer.value = solver.objective_value / unit
    return answer


def _values(chain: Chain, key: Key) -> Floats:
    return np.concatenate([stage.additive[:, key.column] for stage in chain.stages])


def solve_with_highs(problem: ChainProblem, seconds: float, *, of_peak: bool = False) -> Answer:
    """Solve with HiGHS on one core; arguments and answer are those of `solve_with_cp_sat`."""
    building, cpu = Stopwatch(), time.process_time()
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("time_limit", seconds)
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.setOptionValue("mip_abs_gap", 1.0 / SCALE)
    solver.passModel(_linear_program(problem, of_peak=of_peak))
    answer = Answer(setup_seconds=building.seconds, more={SETUP: time.process_time() - cpu})
    watch = Stopwatch()
    solver.cbMipImprovingSolution.subscribe(
        lambda event: answer.improve(watch.seconds, event.data_out.objective_function_value)
    )
    solver.run()
    answer.seconds = watch.seconds
    answer.proved = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    if answer.proved:
        answer.value = solver.getObjectiveValue()
    return answer


def _linear_program(problem: ChainProblem, *, of_peak: bool) -> highspy.HighsLp:
    """Return the model column by column: an option, the two nodes that it joins, and its use of each limit.

    A least peak is one more column: it is at least the peak of the option of every stage.
    """
    chain = problem.chain if problem.peak is None else problem.chain.within_peak(problem.peak)
    n = chain.options()
    row, column, value = (
        [np.zeros(len(chain.stages[0]), np.int64)],
        [np.arange(len(chain.stages[0]))],
        [np.ones(len(chain.stages[0]))],
    )
    rows = 1
    for (node, option, sign), nodes in zip(_flow(chain), chain.nodes[1:], strict=False):
        row.append(rows + node)
        column.append(option)
        value.append(sign.astype(np.float64))
        rows += nodes
    lower, upper = [1.0, *[0.0] * (rows - 1)], [1.0, *[0.0] * (rows - 1)]
    for use, bound in _rows(replace(problem, chain=chain), SCALE):
        size = max(abs(bound), 1.0)
        row.append(np.full(n, rows))
        column.append(np.arange(n))
        value.append(use / size)
        lower.append(-highspy.kHighsInf)
        upper.append(bound / size)
        rows += 1
    key = problem.keys[0]
    costs, signs, tops, kinds = _values(chain, key), key.sign, [1.0] * n, [highspy.HighsVarType.kInteger] * n
    if of_peak:
        largest = float(chain.peaks[-1])
        costs, signs, tops, kinds = np.zeros(n + 1), -1, [*tops, largest], [*kinds, highspy.HighsVarType.kContinuous]
        costs[n] = 1.0
        first = np.cumsum([0, *(len(stage) for stage in chain.stages)])
        for start, stage in zip(first, chain.stages, strict=False):
            row.append(np.full(len(stage) + 1, rows))
            column.append(np.append(start + np.arange(len(stage)), n))
            value.append(np.append(stage.peak / largest, -1.0 / largest))
            lower.append(-highspy.kHighsInf)
            upper.append(0.0)
            rows += 1
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = len(costs), rows
    program.col_cost_ = costs
    program.sense_ = highspy.ObjSense.kMaximize if signs > 0 else highspy.ObjSense.kMinimize
    program.col_lower_, program.col_upper_ = np.zeros(len(costs)), np.array(tops)
    program.row_lower_, program.row_upper_ = np.array(lower), np.array(upper)
    program.integrality_ = kinds
    order = np.argsort(np.concatenate(column), kind="stable")
    columns = np.concatenate(column)[order]
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_ = np.searchsorted(columns, np.arange(len(costs) + 1))
    program.a_matrix_.index_ = np.concatenate(row)[order]
    program.a_matrix_.value_ = np.concatenate(value)[order]
    return program
