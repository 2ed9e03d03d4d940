"""One objective, one answer: the methods in the order that gets to a proof soonest.

Cost alone: messages, whose bound meets their plan on all but odd cases. Time alone: longest paths, whose bound often
meets theirs. With time otherwise: a linear relaxation puts a price on time, messages turn prices into bounds, labels
search within them. Whatever labels cannot prove, and whatever has side constraints, is for the integer program.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sky_core.optimizer.capacity import keeps
from sky_core.optimizer.effort import Effort
from sky_core.optimizer.goal import ROUNDING, TINY, Goal, above
from sky_core.optimizer.methods import labels, messages
from sky_core.optimizer.methods.descent import cheaper, faster
from sky_core.optimizer.methods.labels import Question
from sky_core.optimizer.methods.messages import Bound, Prices
from sky_core.optimizer.methods.paths import fastest
from sky_core.optimizer.problem import Ints, Problem, assess
from sky_core.optimizer.programs import integer, model
from sky_core.optimizer.programs.model import Solver
from sky_core.optimizer.space import Space, ends, prepare, within

Method = Literal["auto", "labels", "ilp", "cbc"]
WIDTHS = (200, 2_000, 16_000, 128_000)
LOOSER = (1.0, 0.8, 1.25)  # deadlines, relative to the asked one, at which time is priced: one price fits no label
FEW = WIDTHS[1]  # labels, in a search that costs less than setting up the integer program
SMALL = 2_000  # candidates left over all tasks
MEMORY = "messages about cost"


@dataclass(frozen=True)
class Best:
    """The best plan found; ``choice`` is None, with a bound of inf, if there is provably none.

    Attributes:
        value: Its objective.
        bound: A lower bound on the objective.
        settled: True if no plan of equal objective has a smaller makespan.
    """

    choice: dict[str, int] | None
    value: float
    bound: float
    method: str
    settled: bool = False

    @property
    def proven(self) -> bool:
        return self.bound >= self.value - ROUNDING * abs(self.value) - TINY


def minimum(problem: Problem, allowed: Mapping[str, Ints], goal: Goal, *, method: Method, effort: Effort) -> Best:
    """The best plan over the allowed candidates, as far as the clock lets it be proven."""
    if goal.weights.time == 0 and math.isfinite(goal.budget_usd):  # the cheapest plan keeps the budget, or none does
        best = minimum(problem, allowed, replace(goal, budget_usd=math.inf), method=method, effort=effort)
        if best.value <= goal.budget_usd:
            return best
        return replace(best, choice=None, bound=math.inf if best.bound > goal.budget_usd else best.bound)
    if method in ("ilp", "cbc"):
        return _by_program(problem, allowed, goal, method, effort)
    if goal.limits:
        return _within_limits(problem, allowed, goal, method, effort)
    if not goal.timed:
        best = _by_messages(problem, allowed, goal, effort)
    else:
        best = _by_labels(problem, allowed, goal, method, effort.share(2 / 3) if method == "auto" else effort)
    if method == "labels" or best.proven or effort.enough(best.value, best.bound):
        return best
    if best.choice is not None and effort.left <= 0:
        return best
    # What is left to prove is more than a few labels more would show: from here on good enough is.
    program = _by_program(problem, allowed, goal, method, effort.impatient(), best.choice)
    winner = min(best, program, key=lambda found: found.value)
    return replace(winner, bound=max(best.bound, program.bound))


def _within_limits(problem: Problem, allowed: Mapping[str, Ints], goal: Goal, method: Method, effort: Effort) -> Best:
    """Without the limits first: often the best plan keeps them anyway, and its bound holds with them, too."""
    free = minimum(problem, allowed, replace(goal, limits=()), method=method, effort=effort.share(0.5))
    if free.choice is None and math.isinf(free.bound):
        return free
    solver, _ = _solver(method)
    if free.choice is not None and all(keeps(problem, limit, free.choice, solver) for limit in goal.limits):
        return free
    best = _by_program(problem, allowed, goal, method, effort)
    return replace(best, bound=max(best.bound, free.bound))


def _by_messages(problem: Problem, allowed: Mapping[str, Ints], goal: Goal, effort: Effort) -> Best:
    """The least cost. What was learnt about the same problem before is where messages start from."""
    # Often the places that cost tells apart are those that time does: then one space serves for breaking ties too.
    space = prepare(problem, allowed, priced=True, timed=problem.same_places)
    warm = problem.memory.get(MEMORY)
    start = warm if isinstance(warm, Bound) else None
    known = messages.bound(space, Prices.of_cost(space), warm=start, until=effort.until)
    problem.memory[MEMORY] = known
    question = Question(goal, [known], [np.zeros(len(at)) for at in space.at])
    if not known.closed:
        return _widen(problem, space, question, effort, known.picks)
    choice = space.choice(known.picks)
    best = Best(choice, _value(problem, goal, choice), known.floor, "messages")
    if not problem.same_places:
        space = prepare(problem, allowed, priced=True, timed=True)
        known = messages.bound(space, known.prices, until=effort.until)
    return _fastest(space, goal, best, known, effort)


def _fastest(space: Space, goal: Goal, best: Best, known: Bound, effort: Effort) -> Best:
    """The fastest of the cheapest plans; of a large DAG one that no change of a single task makes faster."""
    if best.choice is not None and _small(space):
        question = Question(goal, [known], ends(space)[1])
        found = labels.search(space, question, cutoff=above(best.value), width=WIDTHS[-1], until=effort.until)
        if found is not None and found.picks is not None:
            return replace(best, choice=space.choice(found.picks), settled=True)
    start = space.picks(best.choice or {})
    return replace(best, choice=space.choice(faster(space, start)) if start else best.choice, settled=True)


def fastest_of_equal(
    problem: Problem, allowed: Mapping[str, Ints], goal: Goal, best: Best, *, method: Method, effort: Effort
) -> Best:
    """The fastest plan that is as cheap as ``best``; where that took all patience, one that no change of a task speeds.

    ``goal`` is to minimize time under a budget that is the cost of ``best``.
    """
    assert best.choice is not None
    if not goal.limits and method == "auto":
        space = prepare(problem, allowed, priced=True, timed=True)
        start = space.picks(best.choice)
        best = replace(best, choice=space.choice(faster(space, start))) if start is not None else best
        if not best.proven:
            return best
        method, effort = "labels", replace(effort, until=min(effort.until, effort.patient_until))
    second = minimum(problem, allowed, goal, method=method, effort=effort)
    return best if second.choice is None else replace(best, choice=second.choice)


def cheapest_of_equal(
    problem: Problem, allowed: Mapping[str, Ints], goal: Goal, best: Best, *, method: Method, effort: Effort
) -> Best:
    """The cheapest plan that is as fast as ``best``; of a large DAG the cheapest that is found while patience lasts.

    ``goal`` is to minimize cost under a deadline that is the makespan of ``best``.
    """
    assert best.choice is not None
    if goal.limits:
        second = minimum(problem, allowed, goal, method=method, effort=effort)
        return best if second.choice is None else replace(best, choice=second.choice)
    space = prepare(problem, allowed, priced=True, timed=True)
    choice, start = best.choice, space.picks(best.choice)
    if start is not None:
        choice = space.choice(cheaper(space, start, goal.deadline_hours))
    narrowed = within(space, goal.deadline_hours) if _small(space) else None
    prices = _relaxed(narrowed, goal, effort) if narrowed is not None else None
    if narrowed is not None and prices:
        question = Question(goal, [messages.bound(narrowed, price) for price in prices], ends(narrowed)[1])
        value = _value(problem, goal, choice)
        found = labels.search(narrowed, question, cutoff=above(value), width=WIDTHS[0], until=effort.until)
        choice = narrowed.choice(found.picks) if found is not None and found.picks is not None else choice
    elif narrowed is None and method == "auto":
        patient = replace(effort, until=min(effort.until, effort.patient_until))
        second = minimum(problem, allowed, goal, method="labels", effort=patient)
        if second.choice is not None and second.value < _value(problem, goal, choice):
            choice = second.choice
    return replace(best, choice=choice)


def _small(space: Space) -> bool:
    """Whether a search for what breaks ties takes less than finding what is to be broken."""
    return sum(len(at) for at in space.at) <= SMALL


def _by_labels(problem: Problem, allowed: Mapping[str, Ints], goal: Goal, method: Method, effort: Effort) -> Best:
    space: Space | None = prepare(problem, allowed, priced=goal.priced, timed=True)
    if space is not None and math.isfinite(goal.deadline_hours):
        space = within(space, goal.deadline_hours)
    if space is None:
        return Best(None, math.inf, math.inf, "labels")
    quick = _by_paths(problem, space, goal) if method == "auto" else Best(None, math.inf, 0.0, "paths")
    if quick.proven:
        return quick
    if quick.choice is not None:
        effort = replace(effort, until=effort.ends(quick.value, quick.bound))
    prices = _relaxed(space, goal, effort.share(0.5))
    if prices is None:
        return Best(None, math.inf, math.inf, "labels")
    until = effort.until
    if goal.weights.cost and not prices:  # the relaxation takes too long: what it costs without haste is a bound, too
        prices = [replace(Prices.of_cost(space), cost=goal.weights.cost)]
    bounds = [messages.bound(space, price, until=until) for price in prices]
    spending = messages.bound(space, Prices.of_cost(space), until=until) if math.isfinite(goal.budget_usd) else None
    question = Question(goal, bounds, ends(space)[1], spending)
    starts = [*(known.picks for known in bounds), *([space.picks(quick.choice)] if quick.choice else [])]
    best = _widen(problem, space, question, effort, _best_start(problem, space, goal, starts))
    return replace(best, bound=max(best.bound, quick.bound))


def _by_paths(problem: Problem, space: Space, goal: Goal) -> Best:
    """What the longest paths tell: a plan if it keeps the limits, and a bound where time is all that counts."""
    picks, least_hours = fastest(space)
    bound = goal.weights.time * least_hours
    if goal.priced and math.isfinite(goal.deadline_hours):
        picks = cheaper(space, picks, goal.deadline_hours)
    cost, finish = assess(problem, space.choice(picks))
    hours = max(finish.values())
    if cost > goal.budget_usd or hours > goal.deadline_hours:
        return Best(None, math.inf, bound, "paths")
    return Best(space.choice(picks), goal.value(cost, hours), bound, "paths")


def _best_start(problem: Problem, space: Space, goal: Goal, starts: Sequence[list[int] | None]) -> list[int] | None:
    """The best of some plans, if one keeps the limits; what messages come upon is often the optimum already."""
    best: tuple[float, list[int] | None] = (math.inf, None)
    for picks in starts:
        if picks is None:
            continue
        cost, finish = assess(problem, space.choice(picks))
        hours = max(finish.values())
        if cost <= goal.budget_usd and hours <= goal.deadline_hours and goal.value(cost, hours) < best[0]:
            best = (goal.value(cost, hours), picks)
    return best[1]


def _relaxed(space: Space, goal: Goal, effort: Effort) -> list[Prices] | None:
    """Prices of time (and of the budget) from the linear relaxation, or None if it shows that there is no plan.

    None are found, [], where there is no time for it.
    """
    try:
        from sky_core.optimizer.programs import highs
    except ImportError:  # pragma: no cover - without highspy, labels have the bounds of `ends` only
        return []
    factors = LOOSER if math.isfinite(goal.deadline_hours) else LOOSER[:1]
    placement = model.build(space, goal, effort.until)
    return highs.prices(space, placement, goal, factors, effort=effort) if placement is not None else []


def _widen(problem: Problem, space: Space, question: Question, effort: Effort, start: list[int] | None = None) -> Best:
    """Search with more and more labels until nothing that was dropped could have been better."""
    best = Best(None, math.inf, max((known.floor for known in question.bounds), default=0.0), "labels")
    if start is not None:
        best = replace(best, choice=space.choice(start), value=_value(problem, question.goal, space.choice(start)))
    if best.proven and question.goal.weights.cost == 0:
        return best
    for width in WIDTHS:
        if width > FEW and effort.gap and not effort.fits(best.value, best.bound):
            break  # the integer program gets below the gap sooner than ever more labels
        until = effort.ends(best.value, best.bound)
        found = labels.search(space, question, cutoff=above(best.value), width=width, until=until)
        if found is None:
            break
        if found.picks is not None:
            choice = space.choice(found.picks)
            best = replace(best, choice=choice, value=_value(problem, question.goal, choice))
        best = replace(
            best, bound=max(best.bound, min(best.value, found.dropped)), settled=found.dropped > above(best.value)
        )
        if best.settled or best.proven or effort.enough(best.value, best.bound):
            break
    return best


def _value(problem: Problem, goal: Goal, choice: Mapping[str, int]) -> float:
    cost, finish = assess(problem, choice)
    return goal.value(cost, max(finish.values()))


def _by_program(
    problem: Problem,
    allowed: Mapping[str, Ints],
    goal: Goal,
    method: Method,
    effort: Effort,
    start: Mapping[str, int] | None = None,
) -> Best:
    solver, name = _solver(method)
    tags = integer.tags(allowed, goal.limits)
    space: Space | None = prepare(problem, allowed, priced=goal.priced, timed=goal.timed, tags=tags)
    if space is not None and math.isfinite(goal.deadline_hours):
        space = within(space, goal.deadline_hours)
    if space is None:
        return Best(None, math.inf, math.inf, name)
    outcome = integer.solve(space, goal, solver, effort=effort, start=space.picks(start) if start else None)
    if outcome.picks is None:
        return Best(None, math.inf, outcome.bound, name)
    choice = space.choice(outcome.picks)
    cost, finish = assess(problem, choice)
    return Best(choice, goal.value(cost, max(finish.values())), outcome.bound, name)


def _solver(method: Method) -> tuple[Solver, str]:
    """HiGHS; CBC where it is asked for or HiGHS is not installed."""
    if method != "cbc":
        try:
            from sky_core.optimizer.programs import highs
        except ImportError:  # pragma: no cover - highspy is a dependency, and missing on odd platforms only
            pass
        else:
            return highs.run, "ilp"
    from sky_core.optimizer.programs import cbc

    return cbc.run, "cbc"
