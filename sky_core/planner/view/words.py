"""A plan's numbers in words: what the terminal, the page and the document all say of it."""

from __future__ import annotations

from sky_core.planner.plan import Alternative, Guess, Plan

CENT, MINUTE = 0.005, 0.005  # USD and hours that two digits do not show


def proof(plan: Plan) -> str:
    """Whether the plan is proven to be the best, and by what."""
    if plan.optimal:
        return f"Proven optimal ({plan.method})"
    unit = {"cost": "USD", "time": "h", "cost*time": "USD x h"}[plan.objective.minimize]
    return f"Not proven optimal: nothing below {plan.bound:.4g} {unit} exists ({plan.method})"


def goal(plan: Plan) -> str:
    """What the plan was asked for."""
    asked = [f"least {plan.objective.minimize}"]
    deadline, budget = plan.objective.deadline, plan.objective.budget_usd
    if deadline is not None:
        asked.append(f"within {deadline:g} h" if isinstance(deadline, float) else f"by {deadline.isoformat()}")
    if budget is not None:
        asked.append(f"for ${budget:g} at most")
    return ", ".join(asked)


def saving(plan: Plan) -> str:
    """What the plan saves against the cheapest cloud that could do all of it."""
    best = plan.best_single_cloud()
    if best is None:
        return "No single cloud could run all of it" if plan.alone else ""
    if best[1] <= plan.cost_usd:
        return ""
    return f"Saving against the best single cloud ({best[0]}): {1 - plan.cost_usd / best[1]:.0%}"


def why_it_lost(other: Alternative | None) -> str:
    """What the whole plan would lose with a task's next-best kind of machine."""
    if other is None:
        return "no other kind of machine would do"
    machines, data = other.extra_usd - other.extra_egress_usd, other.extra_egress_usd
    parts = []
    if abs(other.extra_usd) >= CENT:
        split = f" (machines {money(machines, sign=True)}, data {money(data, sign=True)})" if abs(data) >= CENT else ""
        parts.append(f"costs {money(abs(other.extra_usd))} {'more' if other.extra_usd > 0 else 'less'}{split}")
    if abs(other.extra_hours) >= MINUTE:
        parts.append(f"ends {abs(other.extra_hours):.2f} h {'later' if other.extra_hours > 0 else 'sooner'}")
    said = " and ".join(parts) or "as good to the cent and the minute"
    count = len(other.moved)
    return said + (f"; {count} other task{'s' if count > 1 else ''} would move with it" if count else "")


def guess(told: Guess, *, named: bool = True) -> str:
    """What was taken as a default, and what it would have to be for the choice to change; the task first if named."""
    what, unit = {
        "hours": (f"runs {told.assumed:g} h by default", "h"),
        "output_gb": (f"its outputs have no size and count {told.assumed:g} GB", "GB"),
        "input_gb": (f"its inputs have no size and count {told.assumed:g} GB", "GB"),
    }[told.what]
    turns = []
    if told.above is not None:
        turns.append(f"above {told.above:.3g} {unit} {told.above_then}")
    if told.below is not None:
        turns.append(f"below {told.below:.3g} {unit} {told.below_then}")
    said = f"{told.task}: {what}" if named else what
    if turns:
        return f"{said}; better {', '.join(turns)}"
    if told.looked_at is None:
        return said
    low, high = told.looked_at
    return f"{said}; nothing from {low:.3g} to {high:.3g} {unit} changes the choice"


def money(usd: float, *, sign: bool = False) -> str:
    """USD to the cent; with ``sign`` always with one."""
    mark = "-" if usd < 0 else "+" if sign else ""
    return f"{mark}${abs(usd):,.2f}"
