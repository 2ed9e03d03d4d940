"""HiGHS behind the models: integer programs, and the prices that a linear relaxation puts on time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import highspy
import numpy as np

from sky_core.optimizer.effort import Effort, now
from sky_core.optimizer.goal import Goal
from sky_core.optimizer.methods.messages import Prices
from sky_core.optimizer.problem import Floats
from sky_core.optimizer.programs.model import Answer, Known, Model, Placement
from sky_core.optimizer.space import Space

ROOM = 20.0  # HiGHS looks at the clock on the wall, which runs this much faster than CPU time on a very busy host
LOOSE = 1e-6  # relative: what the relaxation's deadline is looser by, so that rounding cannot make it infeasible
INFEASIBLE = (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible)


def load(model: Model, *, relaxed: bool) -> highspy.Highs:
    """A solver holding the model, or its linear relaxation."""
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = model.columns, len(model.lower_row)
    lp.col_cost_ = np.concatenate(model.objective)
    lp.col_lower_ = np.zeros(model.columns)
    lp.col_upper_ = np.concatenate(model.upper)
    lp.row_lower_, lp.row_upper_ = np.array(model.lower_row), np.array(model.upper_row)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.array(model.starts, dtype=np.int32)
    lp.a_matrix_.index_ = np.concatenate(model.index).astype(np.int32)
    lp.a_matrix_.value_ = np.concatenate(model.value)
    if not relaxed:
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[flag] for flag in np.concatenate(model.integer).tolist()]
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    highs.passModel(lp)
    return highs


def run(model: Model, effort: Effort, known: Known | None = None) -> Answer:
    """Solve to a relative gap of 1e-7, or to what is good enough by now, from known values of some columns."""
    highs = load(model, relaxed=False)
    highs.setOptionValue("time_limit", max(0.1, ROOM * effort.left))
    highs.setOptionValue("mip_rel_gap", max(1e-7, effort.gap if now() > effort.patient_until else 0.0))
    highs.setOptionValue("mip_abs_gap", 1e-9)
    highs.setOptionValue("presolve", "off")  # spaces are reduced already, and its restarts cost three times the search

    def watch(event: Any) -> None:
        found = event.data_out
        if now() > effort.until or effort.enough(found.mip_primal_bound, found.mip_dual_bound):
            event.interrupt()

    highs.cbMipInterrupt += watch
    if known is not None:  # what is left is to prove it rather than to find a better one
        for heuristic in ("rins", "root_reduced_cost"):
            highs.setOptionValue(f"mip_heuristic_run_{heuristic}", False)
        highs.setSolution(len(known[0]), known[0].astype(np.int32), known[1])
    highs.run()
    info = highs.getInfo()
    infeasible = highs.getModelStatus() in INFEASIBLE
    found = not infeasible and info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    values = np.array(highs.getSolution().col_value) if found else None
    return Answer(values, math.inf if infeasible else info.mip_dual_bound, infeasible)


def prices(
    space: Space,
    placement: Placement,
    goal: Goal,
    factors: Sequence[float],
    *,
    effort: Effort,
) -> list[Prices] | None:
    """What the linear relaxation charges for time at these multiples of the deadline, the deadline itself first.

    All are valid at the deadline. None if the relaxation shows that nothing keeps the limits.
    """
    assert placement.makespan is not None, "prices of time need finish times in the model"
    highs = load(placement.model, relaxed=True)
    highs.cbSimplexInterrupt += lambda event: event.interrupt(now() > effort.until)
    found: list[Prices] = []
    for factor in factors:
        highs.setOptionValue("time_limit", max(0.1, ROOM * effort.left))
        highs.changeColBounds(placement.makespan, 0.0, goal.deadline_hours * factor * (1 + LOOSE))
        highs.run()
        status = highs.getModelStatus()
        if status in INFEASIBLE and not found:
            return None
        if status == highspy.HighsModelStatus.kOptimal:
            duals = np.array(highs.getSolution().row_dual)
            spend = 0.0 if placement.budget is None else max(0.0, -float(duals[placement.budget]))
            duals = np.maximum(0.0, duals)
            found.append(_balanced(space, placement, goal, duals, spend))
        elif status not in INFEASIBLE:
            break  # out of time
    return found


def _balanced(space: Space, placement: Placement, goal: Goal, duals: Floats, spend: float) -> Prices:
    """Prices from duals, mended where rounding left more flowing into a task than out of it."""
    link, last = duals[placement.wait], duals[placement.last]
    for v in range(len(space.tasks)):
        last[v] = max(last[v], float(np.sum(link[space.into[v]]) - np.sum(link[space.out[v]])))
    total, weight, constant = float(np.sum(last)), goal.weights.time, 0.0
    if total > weight and math.isfinite(goal.deadline_hours):
        constant -= (total - weight) * goal.deadline_hours
    elif total > weight:
        link, last = link * (weight / total), last * (weight / total)
    if spend > 0:
        constant -= spend * goal.budget_usd
    return Prices(goal.weights.cost + spend, link, last, constant)
