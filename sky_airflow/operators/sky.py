"""A task on the machine that the DAG run's plan chose for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.definitions.xcom_arg import XComArg
from airflow.sdk.exceptions import AirflowFailException

from sky_airflow.dags import Sky, artifacts, build_task, objective_of, pipeline_of, planned_tasks, refuse_own_limits
from sky_airflow.exchange import to_artifact, to_xcom
from sky_airflow.hooks.sky import SkyHook
from sky_airflow.links.sky import SkyPlanLink
from sky_airflow.mapped import plan_name
from sky_airflow.wanting import how_of, waiter_of
from sky_core.errors import JobCancelled, StoreTrouble
from sky_core.spec import Artifact, Task

if TYPE_CHECKING:
    from airflow.sdk import Context

    from sky_core.broker import Broker
    from sky_core.store import Job


class SkyOperator(BaseOperator, Sky):
    """Run a shell command on the cloud, zone and machine where the whole DAG run is cheapest (or fastest).

    Args:
        run: The command; sees ``$SKY_INPUT_<NAME>``, ``$SKY_OUTPUT_<NAME>``, ``$SKY_CHECKPOINT_DIR`` (see
            :class:`sky_core.spec.Task`, which also tells of setup, workdir, envs, secrets, num_nodes, hours,
            checkpoint, deadline and max_attempts).
        requires: What each machine needs: a mapping of the fields of :class:`sky_core.spec.Resources`.
        inputs: URIs, artifacts, or other Sky tasks' outputs (``train.outputs["model"]``), by name.
        outputs: Artifacts that the command leaves, by name; their sizes are what planning charges egress for.
        sky: Limits of the whole DAG run (minimize, deadline, budget_usd), from the DAG's ``default_args``.
        deferrable: Wait in the triggerer rather than in a worker's slot.
        sky_conn_id: A ``skyloom`` connection; None takes the settings from the environment.

    Raises:
        SpecError: when the DAG file is parsed, naming the field that is wrong.
    """

    template_fields: Sequence[str] = ("run", "setup", "workdir", "envs", "inputs", "requires")
    template_fields_renderers = {"run": "bash", "setup": "bash", "inputs": "json", "requires": "json"}  # noqa: RUF012
    operator_extra_links = (SkyPlanLink(),)
    ui_color = "#bfe3f5"

    def __init__(
        self,
        *,
        run: str | None = None,
        requires: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        setup: str | None = None,
        workdir: str | None = None,
        envs: Mapping[str, str] | None = None,
        secrets: str | Sequence[str] = (),
        num_nodes: int = 1,
        hours: Any = None,
        checkpoint: Any = None,
        deadline: Any = None,
        max_attempts: int | None = None,
        budget_usd: float | None = None,
        sky: Mapping[str, Any] | None = None,
        deferrable: bool = True,
        sky_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run = run
        self.requires = requires
        self.inputs = inputs
        self.declared_outputs = dict(outputs or {})
        self.setup = setup
        self.workdir = workdir
        self.envs = envs
        self.secrets = (secrets,) if isinstance(secrets, str) else tuple(secrets)
        self.num_nodes = num_nodes
        self.hours = hours
        self.checkpoint = checkpoint
        self.deadline = deadline
        self.max_attempts = max_attempts
        self.budget_usd = budget_usd
        self.sky = sky
        self.deferrable = deferrable
        self.sky_conn_id = sky_conn_id
        self._job_id: str | None = None
        self._owner: str | None = None
        self._killed = False
        # A mistake is said when the file is parsed, not when the task runs.
        planned_tasks(self)
        if self.sky and self.has_dag():  # type: ignore[no-untyped-call]  # Airflow leaves it without types
            refuse_own_limits(self, self.dag)
            objective_of(self.dag, datetime.now(UTC))

    @property
    def outputs(self) -> dict[str, XComArg]:
        """References to this task's outputs, to be other tasks' inputs: a dependency, and a data edge of the plan."""
        return {name: XComArg(self, key=name) for name in self.declared_outputs}

    @property
    def broker(self) -> Broker:
        """The broker of the operator's connection."""
        return SkyHook(self.sky_conn_id).broker

    def execute(self, context: Context) -> Any:
        """Plan the run if nobody has, submit this task's job (or find it), and wait for it in the triggerer."""
        from sky_airflow.triggers.sky import SkyJobTrigger

        broker, ti = self.broker, context["ti"]
        plan_key = plan_run(broker, context)
        stem = f"{plan_stem(context)}/{self.task_id}/{ti.map_index}/{self._epoch(ti)}"
        self._owner = str(ti.id)
        name = plan_name(context["dag"].get_task(self.task_id), ti.map_index)
        task = self.build(broker, name)
        base = Path(context["dag"].fileloc).parent
        job = broker.submit(broker.resumable_key(stem), task, plan_key, owner=self._owner, base=base)
        self._job_id = job.id
        how = how_of(ti)
        waiter = waiter_of(self._owner, how)
        waiter.renew(broker.store, broker.settings, job.id)
        ti.xcom_push(key="sky_job", value={"job_id": job.id, "plan": plan_key})
        if job.over:
            return self._finish(context, broker, job)
        if self.deferrable:
            limit = self.execution_timeout
            until = datetime.now(UTC).timestamp() + limit.total_seconds() if limit else None
            trigger = SkyJobTrigger(job.id, self._owner, until, self.sky_conn_id, how)
            self.defer(trigger=trigger, method_name="execute_complete")
        try:
            job = broker.watch(job.id, on_event=self._log_event, on_log=self.log.info, waiter=waiter)
        except StoreTrouble:
            raise  # the job goes on, and a retry finds it
        except BaseException as left:  # a time-out, an error of a log handler: nobody waits any more
            broker.cancel(job.id, f"Airflow does not wait for it any more: {left!r}", owner=self._owner)
            raise
        return self._finish(context, broker, job)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Back from the triggerer: hand on the outputs, or fail as the job did."""
        broker = self.broker
        self._job_id, self._owner = event["job_id"], str(context["ti"].id)
        if event.get("timeout"):
            broker.cancel(event["job_id"], "execution_timeout")
            raise TimeoutError(f"{self.task_id}: execution_timeout passed; its machines are being taken down")
        return self._finish(context, broker, broker.job(event["job_id"]))

    def resume_execution(self, next_method: str, next_kwargs: Any, context: Context) -> Any:
        """As the base class; when the trigger itself failed or timed out, nobody waits for the job: cancel it."""
        if next_method == "__fail__":
            sent = context["ti"].xcom_pull(task_ids=self.task_id, key="sky_job", map_indexes=context["ti"].map_index)
            if sent:
                self.broker.cancel(sent["job_id"], "the deferral failed or timed out", owner=str(context["ti"].id))
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """Cancel the job, unless a newer try owns it by now."""
        self._killed = True
        if self._job_id is not None:
            self.broker.cancel(self._job_id, "the Airflow task was killed", owner=self._owner)

    def build(self, broker: Broker, name: str) -> Task:
        """The task to submit under its name in the plan, templates rendered and references resolved."""
        inputs = {name: to_artifact(value) for name, value in (self.inputs or {}).items()}
        return build_task(name, vars(self), run=self.run, inputs=inputs, outputs=artifacts(self.declared_outputs))

    def _epoch(self, ti: Any) -> int:
        # Clearing raises max_tries by the tries used, a retry does not: same epoch, same work.
        return int(ti.max_tries) - int(self.retries or 0)

    def _log_event(self, event: Any) -> None:
        from sky_core.job.narrate import describe

        self.log.info(describe(event))

    def _finish(self, context: Context, broker: Broker, job: Job) -> Any:
        try:
            broker.raise_for(job)
        except JobCancelled as cancelled:
            if self._killed:  # by Airflow: it knows whether to try again
                raise
            raise AirflowFailException(str(cancelled)) from cancelled  # by somebody who does not want another one
        produced = broker.outputs(job)
        for name in self.declared_outputs:
            context["ti"].xcom_push(key=name, value=to_xcom(job.id, produced[name]))
        line = next(line for line in broker.bill(job.plan_key).lines if line.job_id == job.id)
        self.log.info("succeeded: compute $%.4f, egress $%.4f", line.compute_usd, line.egress_usd)
        return self.returned(job, produced)

    def returned(self, job: Job, produced: Mapping[str, Artifact]) -> Any:
        """The task's return value in XCom."""
        return {"job_id": job.id, "outputs": {name: to_xcom(job.id, artifact) for name, artifact in produced.items()}}


def plan_stem(context: Context) -> str:
    """What the keys of a DAG run's plan and jobs begin with."""
    run = context["dag_run"]
    return f"airflow/{run.dag_id}/{run.run_id}"


def plan_run(broker: Broker, context: Context) -> str:
    """Make sure the DAG run has a plan, made once by whoever comes first; log it; return its key."""
    import logging

    from sky_core.planner.view.table import plan_text

    run = context["dag_run"]
    key = f"{plan_stem(context)}/{run.clear_number}"
    dag = context["dag"]
    plan = broker.plan(key, pipeline_of(dag), objective_of(dag, run.start_date or datetime.now(UTC)))
    logging.getLogger("airflow.task").info("\n%s", plan_text(plan))
    return key
