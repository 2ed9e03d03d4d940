"""Exact placement of a whole DAG: numbers in, numbers out. See :func:`solve`."""

from sky_core.optimizer.problem import Edge, Minimize, Problem, Solution, Weighted
from sky_core.optimizer.solve import solve

__all__ = ["Edge", "Minimize", "Problem", "Solution", "Weighted", "solve"]
