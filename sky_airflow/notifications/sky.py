"""What a DAG run has cost, said to people: a callback as Airflow's other notifiers are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow.sdk.bases.notifier import BaseNotifier
from airflow.sdk.log import mask_secret

from sky_airflow.hooks.sky import SkyHook

if TYPE_CHECKING:
    from airflow.sdk import Context

    from sky_core.broker import Broker

PATIENCE_S = 20.0
A_CENT = 0.005  # USD: what is less is shown as nothing, which nothing is a share of


class SkyCostNotifier(BaseNotifier):
    """Say what a DAG run has cost, and what its first plan had said.

    For ``on_success_callback`` and ``on_failure_callback``, of a DAG or, for what has been spent by then, of a task. It
    is said in the log, and where there is an address, to that.

    Args:
        url: What takes ``{"text": …}``, as the incoming webhooks of Slack, Mattermost and others do. May be a template:
            it is a secret as a rule (``"{{ conn.chat.password }}"``).
        text: Stands before what is said; may be a template.
        sky_conn_id: As the run's Sky tasks have it.
    """

    template_fields: Sequence[str] = ("url", "text")

    def __init__(
        self, *, url: str | None = None, text: str = "", sky_conn_id: str | None = None, context: Context | None = None
    ) -> None:
        self.url = url
        self.text = text
        self.sky_conn_id = sky_conn_id
        super().__init__(**({} if context is None else {"context": context}))

    def notify(self, context: Context) -> None:
        """Say it.

        Raises:
            httpx.HTTPError: if the address does not take it; Airflow logs that, and goes on.
        """
        said = cost_of(SkyHook(self.sky_conn_id).broker, context["dag"].dag_id, context["run_id"])
        said = f"{self.text} {said}".strip()
        self.log.info(said)
        if self.url:
            import httpx

            mask_secret(self.url)  # which stands in what httpx logs and raises
            httpx.post(self.url, json={"text": said}, timeout=PATIENCE_S).raise_for_status()


def cost_of(broker: Broker, dag_id: str, run_id: str) -> str:
    """What a run has cost, by task if several have, against what was planned first."""
    from sky_core.planner.plan import Plan
    from sky_core.planner.view.words import money

    about = f"{dag_id}, {run_id}"
    keys = broker.store.plan_keys(prefix=f"airflow/{dag_id}/{run_id}/")
    if not keys:
        return f"{about}: no plan was made, nothing was spent"
    lines = [line for key in keys for line in broker.bill(key).lines]
    by_task: dict[str, float] = {}
    for line in lines:
        by_task[line.task] = by_task.get(line.task, 0.0) + line.usd
    spent = sum(by_task.values())
    planned = Plan.model_validate_json(broker.store.plan_versions(keys[0])[0]).cost_usd
    beside = f" ({spent / planned - 1:+.0%})" if planned >= A_CENT and spent else ""
    dearest = sorted(by_task.items(), key=lambda item: -item[1])
    tasks = ", ".join(f"{task} {money(usd)}" for task, usd in dearest[:3])
    jobs = "1 job" if len(lines) == 1 else f"{len(lines)} jobs"
    return f"{about}: {money(spent)} for {jobs}, {money(planned)} planned{beside}; {tasks}".rstrip("; ")
