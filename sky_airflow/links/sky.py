"""Links from a task instance to its run's plan, and to its job."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

from airflow.sdk import BaseOperatorLink


class SkyPlanLink(BaseOperatorLink):
    """Opens the page of :mod:`sky_airflow.plugins.sky` for the task's DAG run."""

    name = "Skyloom plan"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The page's address below Airflow's own."""
        return f"{base_path()}/skyloom/plan?{urlencode({'dag_id': ti_key.dag_id, 'run_id': ti_key.run_id})}"


class SkyJobLink(BaseOperatorLink):
    """Opens the page of the task instance's newest job: its machines, its events, the end of its log."""

    name = "Skyloom job"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The page's address below Airflow's own."""
        names = ("dag_id", "run_id", "task_id", "map_index")
        return f"{base_path()}/skyloom/job?{urlencode({name: getattr(ti_key, name) for name in names})}"


def base_path() -> str:
    """What stands before the paths of Airflow's pages: "" unless it is served below a path of its host."""
    from airflow.sdk.configuration import conf

    return urlsplit(str(conf.get("api", "base_url", fallback=""))).path.rstrip("/")
