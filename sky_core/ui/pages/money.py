"""What was spent, by day and by what; and pipelines that run again and again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sky_core.job.cost.charges import Charge, charges
from sky_core.job.cost.groups import Dimension, grouped, total
from sky_core.overview.pipelines import PipelineRow, pipelines
from sky_core.planner.view.page.scales import ticks
from sky_core.ui.answers import Answer, Asked
from sky_core.ui.pages.drawing import drawn

DAYS, MOST_DAYS = 30, 400
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720.0, 220.0, 56.0, 10.0, 24.0  # of the chart, px
TABLES: Sequence[tuple[str, tuple[Dimension, ...]]] = (
    ("By pipeline", ("pipeline",)),
    ("By cloud and market", ("cloud", "market")),
    ("By region", ("cloud", "region")),
)
MOST_ROWS = 100


@dataclass(frozen=True)
class Piece:
    """A cloud's share of a day, px."""

    x: float
    y: float
    width: float
    height: float
    cloud: str
    text: str


@dataclass(frozen=True)
class Days:
    """The chart: a column for each day, a piece of it for each cloud. Axes are (place, label)."""

    pieces: tuple[Piece, ...]
    usd: tuple[tuple[float, str], ...]
    days: tuple[tuple[float, str], ...]
    clouds: tuple[str, ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT


def cost_page(asked: Asked) -> Answer:
    """What was spent in the last days."""
    found, days, first = _charges(asked)
    tables = [(title, by, grouped(found, by)) for title, by in TABLES]
    return drawn("cost", asked, days=days, first=first, total=total(found), chart=day_chart(found, first, days),
                 tables=tables, most=MOST_ROWS)  # fmt: skip


def pipelines_page(asked: Asked) -> Answer:
    """Pipelines that ran in the last days, and whether they get cheaper."""
    found, days, first = _charges(asked)
    rows = pipelines(found)
    return drawn("pipelines", asked, days=days, first=first, rows=[(row, spark(row)) for row in rows[:MOST_ROWS]],
                 more=max(0, len(rows) - MOST_ROWS))  # fmt: skip


def _charges(asked: Asked) -> tuple[list[Charge], int, str]:
    days = asked.number("days", DAYS, MOST_DAYS)
    now = time.time()
    first = (datetime.fromtimestamp(now, UTC).date() - timedelta(days=days - 1)).isoformat()
    return charges(asked.store, asked.settings.scale, now, first=first), days, first


def day_chart(found: Sequence[Charge], first: str, days: int) -> Days | None:
    """The chart of so many days from the first on; None if nothing was spent."""
    groups = {group.key: group.usd for group in grouped(found, ("day", "cloud"))}
    clouds = tuple(sorted({cloud for _, cloud in groups}))
    start = date.fromisoformat(first)
    names = [(start + timedelta(days=number)).isoformat() for number in range(days)]
    most = max((sum(groups.get((day, cloud), 0.0) for cloud in clouds) for day in names), default=0.0)
    if most <= 0:
        return None
    step, room = (WIDTH - LEFT) / days, HEIGHT - TOP - BOTTOM
    marks = [mark for mark in ticks(0, most) if mark <= most]
    every = max(1, -(-days // 8))
    return Days(
        pieces=tuple(_pieces(groups, names, clouds, step, room / most)),
        usd=tuple((HEIGHT - BOTTOM - room * mark / most, f"${mark:,.4g}") for mark in marks),
        days=tuple((LEFT + step * (at + 0.5), names[at][5:]) for at in range(0, days, every)),
        clouds=clouds,
    )


def _pieces(
    groups: Mapping[tuple[str, ...], float], names: Sequence[str], clouds: Sequence[str], step: float, scale: float
) -> list[Piece]:
    pieces = []
    for number, day in enumerate(names):
        y = HEIGHT - BOTTOM
        for cloud in clouds:
            usd = groups.get((day, cloud), 0.0)
            if usd > 0:
                y -= usd * scale
                text = f"{day}, {cloud}: ${usd:,.2f}"
                pieces.append(Piece(LEFT + step * (number + 0.1), y, step * 0.8, usd * scale, cloud, text))
    return pieces


def spark(row: PipelineRow) -> str:
    """The points of a line through what its runs cost, in a drawing of 100 by 20."""
    values = [usd for _, _, usd in row.runs]
    most = max(values) or 1.0
    step = 100 / max(1, len(values) - 1)
    return " ".join(f"{at * step:.1f},{19 - 18 * usd / most:.1f}" for at, usd in enumerate(values))
