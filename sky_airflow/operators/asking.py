"""What a person is shown who is asked whether a plan may exceed its limits: Markdown, as Airflow's page renders it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sky_core.planner.plan import Plan

DEAREST = 5  # tasks that are shown


def plan_body(plan: Plan, wrong: Sequence[str], said: str = "") -> str:
    """Why somebody is asked, what the plan costs on which cloud, and its dearest tasks."""
    from sky_core.planner.view.document import money_by_cloud
    from sky_core.planner.view.words import money, saving

    by_cost = sorted(plan.placements.values(), key=lambda place: -(place.compute_usd + place.egress_usd))
    clouds = [(paid.cloud, money(paid.compute_usd), money(paid.egress_usd)) for paid in money_by_cloud(plan)]
    tasks = [
        (place.task, place.machine, f"{place.hours:.2f}", money(place.compute_usd + place.egress_usd))
        for place in by_cost[:DEAREST]
    ]
    left = by_cost[DEAREST:]
    if left:
        rest = sum(place.compute_usd + place.egress_usd for place in left)
        tasks.append((f"{len(left)} more", "", "", money(rest)))
    parts = [
        said,
        "\n".join(f"- {one}" for one in wrong),
        f"**The plan takes {money(plan.cost_usd)} and {plan.hours:.2f} hours.** {saving(plan)}".rstrip(),
        _table(("cloud", "machines", "data"), clouds),
        _table(("task", "where", "hours", "costs"), tasks),
    ]
    return "\n\n".join(part for part in parts if part)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
