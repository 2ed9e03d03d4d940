"""The plan of a DAG run as a task of its own: made before anything is paid for, and refused if it is too dear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from sky_airflow.hooks.sky import SkyHook
from sky_airflow.links.sky import SkyPlanLink
from sky_airflow.operators.errors import permanent_errors
from sky_airflow.planning import make_plan, tell_plan

if TYPE_CHECKING:
    from airflow.sdk import Context


class SkyPlanOperator(BaseOperator):
    """Plan the run's Sky tasks; launch nothing. Put it before them: they go by the plan it makes.

    Args:
        max_usd: Fail if the plan costs more, USD.
        max_hours: Fail if it takes longer, hours.
        sky_conn_id: As the run's Sky tasks have it.

    The return value is ``{"plan", "usd", "hours", "clouds"}``: a branch can decide by it, or a person be asked.
    """

    template_fields = ("max_usd", "max_hours")
    operator_extra_links = (SkyPlanLink(),)
    ui_color = "#bfe3f5"

    def __init__(
        self, *, max_usd: Any = None, max_hours: Any = None, sky_conn_id: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_usd = max_usd
        self.max_hours = max_hours
        self.sky_conn_id = sky_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the plan, or find it.

        Raises:
            AirflowFailException: if there is none, or it exceeds a limit.
        """
        with permanent_errors():
            key, plan, _ = make_plan(SkyHook(self.sky_conn_id).broker, context, self.task_id)
        tell_plan(context, key, self.sky_conn_id)
        for limit, is_so, unit in ((self.max_usd, plan.cost_usd, "USD"), (self.max_hours, plan.hours, "hours")):
            if limit is not None and is_so > float(limit):
                raise AirflowFailException(f"the plan takes {is_so:.2f} {unit}, and at most {limit} are allowed")
        clouds = sorted({placement.cloud for placement in plan.placements.values()})
        return {"plan": key, "usd": round(plan.cost_usd, 4), "hours": round(plan.hours, 4), "clouds": clouds}
