"""The plan of a DAG run as a task of its own: made before anything is paid for; if it is too dear or too late, it is
refused, or a person is asked.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.exceptions import AirflowProviderDeprecationWarning
from airflow.sdk.exceptions import AirflowFailException

from sky_airflow.grammar.fields import NOTHING
from sky_airflow.grammar.limits import lifted
from sky_airflow.grammar.templates import UNKNOWN, known, not_yet_of
from sky_airflow.hooks.sky import SkyHook
from sky_airflow.links.sky import SkyPlanLink
from sky_airflow.operators.asking import plan_body
from sky_airflow.operators.errors import permanent_errors
from sky_airflow.planning import asked, log_plan, tell_plan
from sky_core.errors import Infeasible, MissingExtra, SpecError

try:
    from airflow.providers.standard.operators.hitl import ApprovalOperator
except ImportError as missing:
    raise MissingExtra("apache-airflow-providers-standard with its operators that ask people", "airflow") from missing

if TYPE_CHECKING:
    from airflow.sdk import Context

    from sky_airflow.planning import Asked
    from sky_core.planner.plan import Plan

ASK, FAIL = "ask", "fail"
# What only somebody who is asked needs, of ApprovalOperator's parameters.
ASKING = ("subject", "body", "defaults", "params", "notifiers", "assigned_users", "response_timeout", "fail_on_reject",
          "ignore_downstream_trigger_rules")  # fmt: skip
SUBJECT = "May {{ dag_run.dag_id }} exceed its limits?"


class SkyPlanOperator(ApprovalOperator):
    """Plan the run's Sky tasks; launch nothing. Put it before them: they go by the plan it makes.

    Args:
        max_usd: What the plan may cost, USD.
        max_hours: How long it may take, hours.
        over: What happens if it exceeds these, or if no plan keeps the ``budget_usd`` and ``deadline`` of the DAG's
            ``sky``: ``"fail"``, or ``"ask"`` a person, with the plan. Who approves lifts the limit for this run.
        sky_conn_id: As the run's Sky tasks have it.
        kwargs: With ``over="ask"`` also what ApprovalOperator takes: ``response_timeout``, ``defaults``,
            ``assigned_users``, ``notifiers``, ``fail_on_reject``, …; ``body`` stands above the plan.

    The return value is ``{"plan", "usd", "hours", "clouds"}``: a branch can decide by it. If somebody was asked it has
    ``approved`` and ``by``, too.
    """

    template_fields: Sequence[str] = ("max_usd", "max_hours", "subject", "body")
    operator_extra_links = (SkyPlanLink(),)
    ui_color = "#bfe3f5"

    def __init__(
        self,
        *,
        max_usd: Any = None,
        max_hours: Any = None,
        over: str = FAIL,
        sky_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        where = f"Task.{kwargs.get('task_id')}"
        if over not in (ASK, FAIL):
            raise SpecError(f"{where}: over: {over!r} is neither {FAIL!r} nor {ASK!r}")
        if over == FAIL and (idle := [name for name in ASKING if kwargs.get(name)]):
            raise SpecError(f"{where}: {idle[0]}: nobody is asked", cure=f"write over={ASK!r}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AirflowProviderDeprecationWarning)
            super().__init__(**{"subject": SUBJECT, **kwargs})
        if self.response_timeout is not None and kwargs.get("response_timeout") is None:
            # The base class waits as long as the task may work; we plan first, which has a limit of its own.
            self.execution_timeout, self.response_timeout = self.response_timeout, None
        self.max_usd = max_usd
        self.max_hours = max_hours
        self.over = over
        self.sky_conn_id = sky_conn_id
        for name in ("max_usd", "max_hours"):
            amount(f"{where}: {name}", known(getattr(self, name), not_yet_of(self)))

    def execute(self, context: Context) -> Any:
        """Make the plan, or find it; ask if it exceeds a limit and that is what to do.

        Raises:
            AirflowFailException: if there is none, or it exceeds a limit and nobody is to be asked.
        """
        broker = SkyHook(self.sky_conn_id).broker
        with permanent_errors():
            meant = asked(broker, context, self.task_id)
            try:
                plan = broker.plan(meant.key, meant.pipeline, meant.objective)
            except Infeasible as why:
                if self.over != ASK or why.constraint not in ("budget_usd", "deadline_hours"):
                    raise
                plan, wrong = self._beyond(context, meant, why)
            else:
                tell_plan(context, meant.key, self.sky_conn_id)
                wrong = self._exceeded(plan, meant.late)
        log_plan(plan, meant.late)
        if not wrong:
            return told(meant.key, plan)
        if self.over != ASK:
            raise AirflowFailException("; ".join(wrong))
        self.body = plan_body(plan, wrong, self.body or "")
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Somebody has answered: go on with the plan that was shown, or skip what follows."""
        answer = super().execute_complete(context, event)
        who = answer["responded_by_user"]
        said = {"approved": answer["chosen_options"] == [self.APPROVE], "by": who["name"] if who else None}
        if not said["approved"]:
            return said
        broker = SkyHook(self.sky_conn_id).broker
        with permanent_errors():
            meant = asked(broker, context, self.task_id)
            try:
                plan = broker.plan(meant.key, meant.pipeline, meant.objective)
            except Infeasible as why:
                plan, _ = self._beyond(context, meant, why, keep=True)
        tell_plan(context, meant.key, self.sky_conn_id)
        return {**told(meant.key, plan), **said}

    def _exceeded(self, plan: Plan, late: str) -> list[str]:
        """What is to be said of a plan that is too dear or too long.

        Raises:
            SpecError: for a limit that is no amount.
        """
        limits = (("max_usd", plan.cost_usd, "USD"), ("max_hours", plan.hours, "hours"))
        most = {name: amount(f"Task.{self.task_id}: {name}", getattr(self, name)) for name, _, _ in limits}
        wrong = [
            f"the plan takes {is_so:.2f} {unit}, and at most {limit:g} are allowed"
            for name, is_so, unit in limits
            if (limit := most[name]) is not None and is_so > limit
        ]
        return [*wrong, late] if late and self.over == ASK else wrong

    def _beyond(self, context: Context, meant: Asked, why: Infeasible, *, keep: bool = False) -> tuple[Plan, list[str]]:
        """The plan without the limits that nothing keeps, and which those are; the run goes by it once it is kept.

        Raises:
            Infeasible: for what no person can lift.
        """
        broker, goal, wrong = SkyHook(self.sky_conn_id).broker, meant.objective, [str(why)]
        base = Path(context["dag"].fileloc).parent
        while True:
            wider = lifted(goal, why.constraint)
            if wider == goal:
                raise why
            goal = wider
            try:
                if keep:
                    return broker.plan(meant.key, meant.pipeline, goal), wrong
                return broker.preview(meant.pipeline, goal, base=base), wrong
            except Infeasible as more:
                why = more
                wrong.append(str(more))


def amount(where: str, said: Any) -> float | None:
    """A limit in numbers, whether it was one or a text that a template gave; None for none.

    Raises:
        SpecError: if it is neither.
    """
    if said is None or said is UNKNOWN or (isinstance(said, str) and said in NOTHING):
        return None
    try:
        number = float(said)
    except (TypeError, ValueError):
        raise SpecError(f"{where}: {said!r} is not a number") from None
    if not 0 <= number < math.inf:
        raise SpecError(f"{where}: {said!r} is no amount")
    return number


def told(key: str, plan: Plan) -> dict[str, Any]:
    """What the task returns of a plan."""
    return {"plan": key, "usd": round(plan.cost_usd, 4), "hours": round(plan.hours, 4), "clouds": list(plan.clouds)}
