"""A plan as people read it: one table, and what it was chosen over."""

from __future__ import annotations

from io import StringIO

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from sky_core.planner.plan import Alternative, Placement, Plan


def plan_view(plan: Plan) -> Group:
    """The plan for a rich console: a row per task, the sum, and the best single-cloud plans beside it."""
    title = f"Plan of {plan.pipeline} (minimize {plan.objective.minimize})"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    for column in ("task", "cloud", "zone", "instance type", "accelerator", "market"):
        long = column in ("task", "zone", "instance type")  # these fold where the terminal is narrow; none is cut off
        table.add_column(column, overflow="fold", no_wrap=not long, min_width=7 if long else None)
    for column in ("hours", "compute $", "egress $"):
        table.add_column(column, justify="right", no_wrap=True)
    for placement in plan.placements.values():
        table.add_row(*_row(placement))
    table.add_section()
    total_egress = sum(placement.egress_usd for placement in plan.placements.values())
    table.add_row("total", "", "", "", "", "", f"{plan.hours:.2f}", f"{plan.cost_usd - total_egress:.2f}",
                  f"{total_egress:.2f}")  # fmt: skip
    return Group(table, Text("\n".join(_notes(plan))))


def plan_text(plan: Plan, width: int = 140) -> str:
    """The same as plain text, for logs."""
    console = Console(file=StringIO(), width=width, no_color=True, force_terminal=False, markup=False)
    console.print(plan_view(plan))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def _row(placement: Placement) -> list[str]:
    accelerator = f"{placement.accelerator}:{placement.accelerator_count:g}" if placement.accelerator else "-"
    nodes = f" x{placement.num_nodes}" if placement.num_nodes > 1 else ""
    return [
        placement.task,
        placement.cloud,
        placement.zone or f"{placement.region} (any zone)",
        placement.instance_type + nodes,
        accelerator,
        "spot" if placement.use_spot else "on-demand",
        f"{placement.hours:.2f}",
        f"{placement.compute_usd:.2f}",
        f"{placement.egress_usd:.2f}",
    ]


def _other(other: Alternative | None) -> str:
    if other is None:
        return "no other kind of machine would do"
    return f"{other.machine}, {other.extra_usd:+.2f} $ and {other.extra_hours:+.2f} h for the whole plan"


def _notes(plan: Plan) -> list[str]:
    """What stands below the table: single-cloud plans, the saving, the proof, what was left out."""
    single = [
        f"{cloud} {'infeasible' if cost is None else f'${cost:.2f}'}" for cloud, cost in plan.single_cloud.items()
    ]
    notes = [f"This plan: ${plan.cost_usd:.2f} in {plan.hours:.2f} h. One cloud alone: {', '.join(single)}."]
    best = plan.best_single_cloud()
    if best is not None and best[1] > plan.cost_usd:
        notes.append(f"Saving against the best single cloud ({best[0]}): {1 - plan.cost_usd / best[1]:.0%}.")
    elif best is None:
        notes.append("No single cloud could run all of it.")
    notes += [f"Next best for {task}: {_other(other)}." for task, other in plan.next_best.items()]
    unit = {"cost": "USD", "time": "h", "cost*time": "USD x h"}[plan.objective.minimize]
    proof = "proven optimal" if plan.optimal else f"not proven optimal: nothing below {plan.bound:.4g} {unit} exists"
    notes.append(f"{proof[0].upper()}{proof[1:]} ({plan.method}); prices of catalog {plan.catalog_version}.")
    sources = {placement.hours_source for placement in plan.placements.values()}
    notes.append(f"Run times from: {', '.join(sorted(sources))}.")
    notes += [f"{remark[0].upper()}{remark[1:]}." for remark in plan.remarks]
    notes += [
        f"{'To be set up' if cloud in plan.single_cloud else 'Left out'}: {cloud} ({why})."
        for cloud, why in plan.left_out.items()
    ]
    return notes
