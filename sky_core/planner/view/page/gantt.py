"""The Gantt chart: a bar per task along the hours of the plan, in percent of its width."""

from __future__ import annotations

from dataclasses import dataclass

from sky_core.planner.view.document import PlanDocument
from sky_core.planner.view.page.scales import ticks

CRITICAL = 1e-6  # hours of slack that are none


@dataclass(frozen=True)
class Bar:
    """One task; ``left``, ``width``, ``arriving`` (its data on the way) and ``slack`` in percent of the chart."""

    task: str
    cloud: str
    place: str
    left: float
    width: float
    arriving: float
    slack: float
    critical: bool
    text: str


@dataclass(frozen=True)
class Gantt:
    """Bars and where the axis has its numbers: (percent, hours)."""

    bars: tuple[Bar, ...]
    axis: tuple[tuple[float, float], ...]


def gantt(document: PlanDocument) -> Gantt | None:
    """The chart; None for a plan that was stored before plans had times."""
    total = document.totals.hours
    if total <= 0 or any(times.end_hours is None for times in document.tasks):
        return None
    arriving: dict[str, float] = {}
    for edge in document.edges:
        arriving[edge.target] = max(arriving.get(edge.target, 0.0), edge.transfer_hours)
    bars = []
    for times in document.tasks:
        start, end, slack = times.start_hours or 0.0, times.end_hours or 0.0, times.slack_hours or 0.0
        placement = document.placements[times.name]
        wait = min(arriving.get(times.name, 0.0), start)
        bars.append(
            Bar(
                task=times.name,
                cloud=placement.cloud,
                place=f"{placement.cloud}/{placement.zone or placement.region} {placement.instance_type}",
                left=100 * start / total,
                width=100 * (end - start) / total,
                arriving=100 * wait / total,
                slack=100 * slack / total,
                critical=slack < CRITICAL,
                text=f"{start:.2f} h to {end:.2f} h, "
                + ("on the critical path" if slack < CRITICAL else f"could end {slack:.2f} h later"),
            )
        )
    return Gantt(tuple(bars), tuple((100 * hours / total, round(hours, 9)) for hours in ticks(0, total)))
