"""Exact placement of a whole DAG: numbers in, numbers out.

>>> import numpy as np
>>> from sky_core.optimizer import Edge, Problem, solve
>>> price = {"train": np.array([85.0, 44.0]), "infer": np.array([3.0, 21.0])}
>>> hours = {"train": np.array([28.0, 5.4]), "infer": np.array([8.2, 2.5])}
>>> place = {"train": np.array([0, 1]), "infer": np.array([0, 1])}
>>> model = Edge("train", "infer", cost=np.array([[0, 0.01], [0.01, 0]]), hours=np.zeros((2, 2)))
>>> solve(Problem(["train", "infer"], price, hours, place, [model])).choice
{'train': 1, 'infer': 0}
"""

from sky_core.optimizer.frontier import frontier
from sky_core.optimizer.problem import Edge, Limit, Minimize, Problem, Request, Solution, Weighted
from sky_core.optimizer.solve import solve

__all__ = [
    "Edge",
    "Limit",
    "Minimize",
    "Problem",
    "Request",
    "Solution",
    "Weighted",
    "frontier",
    "solve",
]
