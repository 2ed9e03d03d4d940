"""The least makespan by longest paths: a bound and a plan that cost two passes over the DAG.

Where one place has the fastest machines for all tasks, as it often is, the two meet and nothing else has to be asked.
"""

from __future__ import annotations

import numpy as np

from sky_core.optimizer.problem import Floats
from sky_core.optimizer.space import Space, ends


def fastest(space: Space) -> tuple[list[int], float]:
    """A plan that ends soon, and a makespan in hours that no plan stays below.

    Going down the DAG, each task takes the candidate from which the end can be reached soonest, whatever the tasks
    behind it do.
    """
    heads, tails = ends(space)
    bound = max(float(np.min(head + tail)) for head, tail in zip(heads, tails, strict=True))
    picks: list[int] = []
    finish: list[float] = []
    for v, hours in enumerate(space.hours):
        end = _arrival(space, picks, finish, v) + hours
        picks.append(int(np.argmin(end + tails[v])))
        finish.append(float(end[picks[v]]))
    return picks, bound


def _arrival(space: Space, picks: list[int], finish: list[float], v: int) -> Floats:
    """(c,) hours from the start until all that task v waits for is there, for each of its candidates."""
    start = np.zeros(len(space.at[v]))
    for link in (space.links[k] for k in space.into[v]):
        u = link.parent
        np.maximum(start, finish[u] + link.units * link.hours[space.at[u][picks[u]], space.at[v]], out=start)
    return start
