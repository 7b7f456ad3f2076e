"""The competitors that can prove optimality: OR-Tools CP-SAT and the HiGHS mixed-integer solver.

They receive the engine's own tables (one boolean per option of a stage, flow through the nodes). This is the strongest
form that we know: the products of widths are already expanded, and every cost is linear. The time to build their model
is not counted.
"""

from __future__ import annotations

import highspy
import numpy as np
from ortools.sat.python import cp_model

from bench.answers import Answer, Stopwatch
from bench.cases import Case
from nnmass_core.engine.chain import QUANTITIES, Chain, Ints

SCALE = 10**6
"""CP-SAT needs integers: NN-Mass in millionths, rounded, which is much finer than any difference shown."""


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


class _Improvements(cp_model.CpSolverSolutionCallback):
    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer
        self._watch = Stopwatch()

    def on_solution_callback(self) -> None:
        self._answer.improve(self._watch.seconds, self.objective_value / SCALE)


def cp_sat(case: Case, seconds: float) -> Answer:
    """Solve with CP-SAT on one core."""
    building = Stopwatch()
    chain = case.space.chain()
    model = cp_model.CpModel()
    takes = [[model.new_bool_var("") for _ in range(len(stage))] for stage in chain.stages]
    flat = [variable for stage in takes for variable in stage]
    model.add_exactly_one(takes[0])
    for node, option, sign in _flow(chain):
        order = np.argsort(node, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(node[order])) + 1):
            model.add(cp_model.LinearExpr.weighted_sum([flat[o] for o in option[rows]], sign[rows].tolist()) == 0)
    additive = np.concatenate([stage.additive for stage in chain.stages])
    for quantity, cap in case.caps().items():
        costs = additive[:, QUANTITIES.index(quantity)].astype(np.int64).tolist()
        model.add(cp_model.LinearExpr.weighted_sum(flat, costs) <= cap)
    masses = np.rint(additive[:, 0] * SCALE).astype(np.int64).tolist()
    model.maximize(cp_model.LinearExpr.weighted_sum(flat, masses))
    answer = Answer(setup_seconds=building.seconds)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_time_in_seconds = seconds
    watch = Stopwatch()
    status = solver.solve(model, _Improvements(answer))
    answer.seconds, answer.proved = watch.seconds, status == cp_model.OPTIMAL
    if answer.proved:
        answer.value = solver.objective_value / SCALE
    return answer


def highs(case: Case, seconds: float) -> Answer:
    """Solve with HiGHS on one core."""
    building = Stopwatch()
    chain = case.space.chain()
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("time_limit", seconds)
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.setOptionValue("mip_abs_gap", 1.0 / SCALE)
    solver.passModel(_linear_program(chain, case.caps()))
    answer = Answer(setup_seconds=building.seconds)
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


def _linear_program(chain: Chain, caps: dict[str, int]) -> highspy.HighsLp:
    """Return the model column by column: an option, the two nodes that it joins, and its use of each cap."""
    additive = np.concatenate([stage.additive for stage in chain.stages])
    n = len(additive)
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
    for quantity, cap in caps.items():
        row.append(np.full(n, rows))
        column.append(np.arange(n))
        value.append(additive[:, QUANTITIES.index(quantity)] / cap)
        lower.append(-highspy.kHighsInf)
        upper.append(1.0)
        rows += 1
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = n, rows
    program.col_cost_ = additive[:, 0]
    program.sense_ = highspy.ObjSense.kMaximize
    program.col_lower_, program.col_upper_ = np.zeros(n), np.ones(n)
    program.row_lower_, program.row_upper_ = np.array(lower), np.array(upper)
    program.integrality_ = [highspy.HighsVarType.kInteger] * n
    order = np.argsort(np.concatenate(column), kind="stable")
    columns = np.concatenate(column)[order]
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_ = np.searchsorted(columns, np.arange(n + 1))
    program.a_matrix_.index_ = np.concatenate(row)[order]
    program.a_matrix_.value_ = np.concatenate(value)[order]
    return program
