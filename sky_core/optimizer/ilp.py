"""The placement problem as a compact integer program, solved by HiGHS.

Variables: ``x`` one-hot per task over its candidates; per edge ``y >= 0`` over pairs of location groups, tied to
``x`` by the tight linearization (for each edge, the sums of ``y`` over children's groups are the parent's ``x``
and the other way round), so that ``y`` needs no integrality; finish times ``f`` and the makespan where time
matters. Formulation of the dissertation's section 4.1.3, linearized over locations rather than candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import highspy
import numpy as np

from sky_core.optimizer.problem import Bools, Edge, Floats, Ints, Problem


@dataclass
class Model:
    """A mixed integer program under construction: minimize ``objective @ columns`` within row and column bounds."""

    objective: list[Floats] = field(default_factory=list)
    upper: list[Floats] = field(default_factory=list)
    integer: list[Bools] = field(default_factory=list)
    columns: int = 0
    starts: list[int] = field(default_factory=lambda: [0])
    index: list[Ints] = field(default_factory=list)
    value: list[Floats] = field(default_factory=list)
    row_lower: list[float] = field(default_factory=list)
    row_upper: list[float] = field(default_factory=list)

    def add_columns(self, objective: Floats, upper: float, *, integer: bool = False) -> Ints:
        """Append columns within [0, upper]; their indices."""
        count = len(objective)
        self.objective.append(objective)
        self.upper.append(np.full(count, upper))
        self.integer.append(np.full(count, integer))
        self.columns += count
        return np.arange(self.columns - count, self.columns)

    def add_row(self, index: Ints, value: Floats, lower: float, upper: float) -> None:
        """Append ``lower <= value @ columns[index] <= upper``."""
        self.index.append(index)
        self.value.append(value)
        self.starts.append(self.starts[-1] + len(index))
        self.row_lower.append(lower)
        self.row_upper.append(upper)


@dataclass(frozen=True)
class Answer:
    """What HiGHS found: column values (None if infeasible or nothing in time) and the proven bound."""

    values: Floats | None
    bound: float
    optimal: bool
    infeasible: bool


def run(model: Model, time_limit_s: float) -> Answer:
    """Solve with HiGHS to a relative gap of 1e-7."""
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = model.columns, len(model.row_lower)
    lp.col_cost_ = np.concatenate(model.objective)
    lp.col_lower_ = np.zeros(model.columns)
    lp.col_upper_ = np.concatenate(model.upper)
    lp.row_lower_, lp.row_upper_ = np.array(model.row_lower), np.array(model.row_upper)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.array(model.starts, dtype=np.int32)
    lp.a_matrix_.index_ = np.concatenate(model.index).astype(np.int32)
    lp.a_matrix_.value_ = np.concatenate(model.value)
    kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
    lp.integrality_ = [kinds[flag] for flag in np.concatenate(model.integer).tolist()]
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("time_limit", time_limit_s)
    highs.setOptionValue("mip_rel_gap", 1e-7)
    highs.setOptionValue("mip_abs_gap", 1e-9)
    highs.passModel(lp)
    highs.run()
    status, info = highs.getModelStatus(), highs.getInfo()
    infeasible = status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible)
    found = math.isfinite(info.objective_function_value) and info.primal_solution_status == 2 and not infeasible
    values = np.array(highs.getSolution().col_value) if found else None
    return Answer(values, info.mip_dual_bound, status == highspy.HighsModelStatus.kOptimal, infeasible)


@dataclass
class Placement:
    """The columns of a placement problem in a model, and its cost and makespan as rows over them."""

    model: Model
    x: dict[str, Ints]
    cost_index: Ints
    cost_value: Floats
    makespan: int | None


def build(
    problem: Problem,
    kept: dict[str, Ints],
    *,
    cost_weight: float,
    time_weight: float,
    deadline_hours: float | None = None,
    budget_usd: float | None = None,
) -> Placement:
    """Model the problem over the kept candidates of each task."""
    model = Model()
    x: dict[str, Ints] = {}
    spent: list[tuple[Ints, Floats]] = []
    timed = time_weight > 0 or deadline_hours is not None
    for task in problem.tasks:
        cost = problem.cost[task][kept[task]]
        x[task] = model.add_columns(cost_weight * cost, 1.0, integer=True)
        model.add_row(x[task], np.ones(len(cost)), 1.0, 1.0)
        spent.append((x[task], cost))
    finish: dict[str, int] = {}
    makespan: int | None = None
    if timed:
        horizon = math.inf if deadline_hours is None else deadline_hours
        makespan = int(model.add_columns(np.array([time_weight]), horizon)[0])
        for task in problem.tasks:
            finish[task] = int(model.add_columns(np.zeros(1), horizon)[0])
            _after(model, finish[task], None, x[task], problem.hours[task][kept[task]], np.empty(0, int), np.empty(0))
            model.add_row(np.array([makespan, finish[task]]), np.array([1.0, -1.0]), 0.0, math.inf)
    for edge in problem.edges:
        y, cost, hours = _link(model, problem, kept, x, edge, cost_weight, timed)
        spent.append((y, cost))
        if timed:
            run_hours = problem.hours[edge.child][kept[edge.child]]
            _after(model, finish[edge.child], finish[edge.parent], x[edge.child], run_hours, y, hours)
    cost_index = np.concatenate([index for index, _ in spent])
    cost_value = np.concatenate([value for _, value in spent])
    if budget_usd is not None:
        model.add_row(cost_index, cost_value, -math.inf, budget_usd)
    return Placement(model, x, cost_index, cost_value, makespan)


def _after(
    model: Model, finish: int, start: int | None, x: Ints, run_hours: Floats, y: Ints, transfer_hours: Floats
) -> None:
    """finish >= start + transfer + run."""
    ends = [finish] if start is None else [finish, start]
    model.add_row(
        np.concatenate([ends, x, y]).astype(np.int64),
        np.concatenate([[1.0, -1.0][: len(ends)], -run_hours, -transfer_hours]),
        0.0,
        math.inf,
    )


def _link(
    model: Model,
    problem: Problem,
    kept: dict[str, Ints],
    x: dict[str, Ints],
    edge: Edge,
    cost_weight: float,
    timed: bool,
) -> tuple[Ints, Floats, Floats]:
    """Columns y over pairs of the two ends' locations, tied to x."""
    ends = (edge.parent, edge.child)
    at = [problem.location[task][kept[task]] for task in ends]
    matrix = np.stack([edge.cost, edge.hours] if timed else [edge.cost])
    rows, parent_group = _groups(matrix[:, at[0]][:, :, np.unique(at[1])].transpose(1, 0, 2))
    columns, child_group = _groups(matrix[:, np.unique(at[0])][:, :, at[1]].transpose(2, 0, 1))
    parent_at, child_at = at[0][rows], at[1][columns]
    cost = edge.cost[np.ix_(parent_at, child_at)].ravel()
    hours = edge.hours[np.ix_(parent_at, child_at)].ravel()
    y = model.add_columns(cost_weight * cost, 1.0)
    grid = y.reshape(len(rows), len(columns))
    for task, groups, lines in ((ends[0], parent_group, grid), (ends[1], child_group, grid.T)):
        for number, line in enumerate(lines):
            mine = x[task][groups == number]
            model.add_row(
                np.concatenate([line, mine]), np.concatenate([np.ones(len(line)), -np.ones(len(mine))]), 0.0, 0.0
            )
    return y, cost, hours


def _groups(rows: Floats) -> tuple[Ints, Ints]:
    """Which rows are equal: the first of each group, and the group of each row."""
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1))
    _, first, group = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    return first, group.reshape(-1)
