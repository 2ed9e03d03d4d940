"""CBC behind the models, through PuLP: the fallback where HiGHS is missing, and a second opinion in the tests."""

from __future__ import annotations

import math

import numpy as np
import pulp

from sky_core.optimizer.effort import Effort
from sky_core.optimizer.programs.model import Answer, Known, Model


def run(model: Model, effort: Effort, known: Known | None = None) -> Answer:
    """Solve to optimality; CBC tells no bound when it runs out of time, so that the bound is then -inf.

    ``known`` is not used: CBC takes start values from files only.
    """
    program = pulp.LpProblem("placement", pulp.LpMinimize)
    kinds = ("Continuous", "Integer")
    integer, upper = np.concatenate(model.integer), np.concatenate(model.upper)
    columns = [
        program.add_variable(f"c{j}", 0, None if math.isinf(upper[j]) else upper[j], kinds[int(integer[j])])
        for j in range(model.columns)
    ]
    program += pulp.LpAffineExpression(zip(columns, np.concatenate(model.objective).tolist(), strict=True))
    index, value = np.concatenate(model.index).tolist(), np.concatenate(model.value).tolist()
    for row, (begin, end) in enumerate(zip(model.starts, model.starts[1:], strict=False)):
        terms = pulp.lpSum(columns[j] * a for j, a in zip(index[begin:end], value[begin:end], strict=True))
        low, high = model.lower_row[row], model.upper_row[row]
        if low == high:
            program += terms == low
        elif math.isfinite(low):
            program += terms >= low
        else:
            program += terms <= high
    left = max(0.1, effort.left)
    program.solve(pulp.PULP_CBC_CMD(msg=False, timeLimit=left, gapRel=1e-7, threads=1))
    if program.status == pulp.LpStatusInfeasible:
        return Answer(None, math.inf, True)
    found = program.sol_status in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible)
    values = np.array([column.value() or 0.0 for column in columns]) if found else None
    proven = program.sol_status == pulp.LpSolutionOptimal
    return Answer(values, float(pulp.value(program.objective)) if proven else -math.inf, False)
