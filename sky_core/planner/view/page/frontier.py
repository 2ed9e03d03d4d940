"""The trade of money for time as a chart: deals from the fastest to the cheapest, and where the plan stands."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from sky_core.planner.view import words
from sky_core.planner.view.document import PlanDocument
from sky_core.planner.view.page.scales import ticks

WIDTH, HEIGHT = 360.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 26.0, 12.0, 36.0  # room around the plot
ROOM = 0.08  # of the span of both axes, on either side


@dataclass(frozen=True)
class Dot:
    """A deal at (x, y), px."""

    x: float
    y: float
    text: str
    chosen: bool


@dataclass(frozen=True)
class Frontier:
    """The chart, px; axes are (place, label)."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    line: str
    dots: tuple[Dot, ...]
    hours: tuple[tuple[float, str], ...]
    usd: tuple[tuple[float, str], ...]


def frontier(document: PlanDocument) -> Frontier | None:
    """The chart; None for a plan that was made without looking for other deals."""
    if not document.frontier:
        return None
    here = (document.totals.hours, document.totals.cost_usd)
    deals = [(point.hours, point.cost_usd) for point in document.frontier]
    low_h, high_h = _span([hours for hours, _ in [*deals, here]])
    low_usd, high_usd = _span([usd for _, usd in [*deals, here]])

    def x(hours: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (hours - low_h) / (high_h - low_h)

    def y(usd: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (usd - low_usd) / (high_usd - low_usd)

    steps = [f"{x(deals[0][0]):.1f},{y(deals[0][1]):.1f}"]
    for (_, before), (hours, usd) in pairwise(deals):  # between two deals the faster one holds
        steps += [f"{x(hours):.1f},{y(before):.1f}", f"{x(hours):.1f},{y(usd):.1f}"]
    dots = [Dot(x(hours), y(usd), f"{words.money(usd)} in {hours:.2f} h", chosen=False) for hours, usd in deals]
    dots.append(Dot(x(here[0]), y(here[1]), f"this plan: {words.money(here[1])} in {here[0]:.2f} h", chosen=True))
    return Frontier(
        WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM,
        line=" ".join(steps),
        dots=tuple(dots),
        hours=tuple((x(tick), f"{tick:g}") for tick in ticks(low_h, high_h, 4)),
        usd=tuple((y(tick), _label(tick, high_usd - low_usd)) for tick in ticks(low_usd, high_usd)),
    )  # fmt: skip


def _span(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = ROOM * (high - low) or 0.1 * high or 1.0
    return max(0.0, low - room), high + room


def _label(usd: float, span: float) -> str:
    return f"${usd:,.0f}" if span >= 5 else f"${usd:,.2f}" if span >= 0.05 else f"${usd:,.4f}"
