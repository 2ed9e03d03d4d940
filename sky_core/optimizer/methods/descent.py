"""Better plans one task at a time: cheaper ones that are no slower, or faster ones that are no dearer.

A pass goes over the tasks with the others where they are. It proves nothing and ends in a local optimum, but costs next
to nothing: what breaks ties between plans that are equally good in what was asked for.
"""

from __future__ import annotations

import math

import numpy as np

from sky_core.optimizer.goal import TINY
from sky_core.optimizer.problem import Floats
from sky_core.optimizer.space import Space

PASSES = 12


def cheaper(space: Space, picks: list[int], deadline_hours: float) -> list[int]:
    """A plan that costs no more than the given one, and keeps the deadline if that does."""
    return _descend(space, picks, deadline_hours, by_cost=True)


def faster(space: Space, picks: list[int]) -> list[int]:
    """A plan that costs no more than the given one and does not end later."""
    return _descend(space, picks, math.inf, by_cost=False)


def _descend(space: Space, picks: list[int], deadline_hours: float, *, by_cost: bool) -> list[int]:
    picks = list(picks)
    for _ in range(PASSES):
        after = _after(space, picks)
        finish = np.zeros(len(space.tasks))
        moved = False
        for v in range(len(space.tasks)):
            usd, end = _here(space, picks, finish, v)
            present = picks[v]
            if by_cost:
                fits = end + after[v] <= max(deadline_hours, float(end[present] + after[v][present]))
                best = int(np.argmin(np.where(fits, usd, np.inf)))
                gains = usd[best] < usd[present] - TINY
            else:
                through = end + after[v]  # the longest path through the task: what it may cost others is in it
                best = int(np.argmin(np.where(usd <= usd[present] + TINY, through, np.inf)))
                gains = through[best] < through[present] - TINY
            if gains:
                picks[v], moved = best, True
            finish[v] = end[picks[v]]
        if not moved:
            break
    return picks


def _here(space: Space, picks: list[int], finish: Floats, v: int) -> tuple[Floats, Floats]:
    """(c,) USD of task v and of all its links, and (c,) its finish, for each of its candidates."""
    at, start = space.at[v], np.zeros(len(space.at[v]))
    usd = space.cost[v].copy()
    for link in (space.links[k] for k in space.into[v]):
        parent = space.at[link.parent][picks[link.parent]]
        usd += link.units * link.cost[parent, at]
        np.maximum(start, finish[link.parent] + link.units * link.hours[parent, at], out=start)
    for link in (space.links[k] for k in space.out[v]):
        usd += link.units * link.cost[at, space.at[link.child][picks[link.child]]]
    return usd, start + space.hours[v]


def _after(space: Space, picks: list[int]) -> list[Floats]:
    """Per task and candidate: hours from its finish to the end of the DAG, all behind it staying where it is."""
    after: list[Floats] = [np.empty(0)] * len(space.tasks)
    for v in reversed(range(len(space.tasks))):
        rest = np.zeros(len(space.at[v]))
        for link in (space.links[k] for k in space.out[v]):
            u, pick = link.child, picks[link.child]
            behind = space.hours[u][pick] + after[u][pick]
            np.maximum(rest, link.units * link.hours[space.at[v], space.at[u][pick]] + behind, out=rest)
        after[v] = rest
    return after
