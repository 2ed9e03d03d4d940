"""A plan as one HTML page that stands alone: no script, and no request leaves it.

``skyloom plan --html``, the plan page in Airflow and the artifacts in Prefect are all made here. The charts are worked
out by the modules beside this one, one each, and drawn by ``page.html.j2``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

from sky_core.planner.plan import Plan
from sky_core.planner.view import words
from sky_core.planner.view.document import PlanDocument
from sky_core.planner.view.page.frontier import frontier
from sky_core.planner.view.page.gantt import gantt
from sky_core.planner.view.page.lanes import lanes
from sky_core.planner.view.page.world import world

HERE = Path(__file__).parent
STYLE = (HERE / "style.css").read_text()
"""The hand that draws all pages, those over all runs too."""


@dataclass(frozen=True)
class Progress:
    """How far a task of a run is, and what it has cost so far."""

    state: str
    usd: float


def plan_page(
    plan: Plan,
    title: str | None = None,
    progress: Mapping[str, Progress] | None = None,
    happenings: Sequence[tuple[str, str]] = (),
) -> str:
    """The page of a plan.

    Args:
        title: Its heading; the pipeline's name by default.
        progress: Of a run, by task.
        happenings: Of a run: tasks and what happened to them, in order of time.
    """
    document = PlanDocument.of(plan)
    return _template("page.html.j2").render(
        title=title or plan.pipeline,
        plan=plan,
        document=document,
        goal=words.goal(plan),
        saving=words.saving(plan),
        proof=words.proof(plan),
        progress=progress or {},
        happenings=happenings,
        gantt=gantt(document),
        lanes=lanes(document),
        world=world(document),
        frontier=frontier(document),
        style=STYLE,
    )


def plan_markdown(plan: Plan, path: Path | None = None) -> str:
    """The plan's tables in Markdown, for engines that show nothing else; ``path`` is where its page lies."""
    return _template("plan.md.j2").render(
        document=PlanDocument.of(plan),
        goal=words.goal(plan),
        saving=words.saving(plan),
        proof=words.proof(plan),
        path=path,
    )


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=select_autoescape(("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["usd"] = words.money
    environment.filters["tone"] = tone
    return environment.get_template(name)


def tone(cloud: str) -> str:
    """The class that gives a cloud its colour, in style.css."""
    return f"tone-{re.sub(r'[^a-z0-9-]', '-', cloud.lower())}"


__all__ = ["STYLE", "Progress", "plan_markdown", "plan_page", "tone"]
