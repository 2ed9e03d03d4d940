"""The pages by their addresses. Each is a function from what was asked to what is sent, with its template beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sky_core.ui.answers import Answer, Asked
from sky_core.ui.pages.money import cost_page, pipelines_page
from sky_core.ui.pages.runs import job_page, jobs_page, plan_of_run, run_page, runs_page
from sky_core.ui.pages.spot import spot_page

PAGES: Mapping[str, Callable[[Asked], Answer]] = {
    "/": runs_page,
    "/run": run_page,
    "/plan": plan_of_run,
    "/jobs": jobs_page,
    "/job": job_page,
    "/spot": spot_page,
    "/cost": cost_page,
    "/pipelines": pipelines_page,
}

__all__ = ["PAGES"]
