"""Waiting for a job that another task, another DAG or another engine has submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BaseSensorOperator, PokeReturnValue, XComArg
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.definitions.xcom_arg import PlainXComArg
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, XComNotFound

from sky_airflow.dags import is_sky
from sky_airflow.exchange import to_xcom
from sky_airflow.hooks.sky import SkyHook
from sky_airflow.operators.errors import permanent_errors
from sky_airflow.planning import TOLD
from sky_airflow.triggers.watch import SkyWatchTrigger
from sky_airflow.wanting import NOT_WANTED
from sky_core.errors import SpecError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from sky_core.store import Job


class SkySensor(BaseSensorOperator):
    """Succeed once a job has; fail for good, without retries, if it has failed or was cancelled.

    It looks on only: when it is ended, the job goes on. A task's output means the task's job, whether it has come to an
    output or not; while that task has not ended, there is nothing to look at yet. If it is skipped, so is the sensor.

    Args:
        job: The job's id, or what a Sky task has handed on: ``train.output``, ``train.outputs["model"]``.
        deferrable: Wait in the triggerer; None as ``[operators] default_deferrable`` says, and there by default.
        sky_conn_id: The connection that leads to the job's store.

    The return value is that of the job's own task: ``{"job_id", "outputs"}``.
    """

    template_fields: Sequence[str] = ("job",)
    ui_color = "#bfe3f5"

    def __init__(
        self, *, job: Any, deferrable: bool | None = None, sky_conn_id: str | None = None, **kwargs: Any
    ) -> None:
        from sky_airflow.operators.sky import waits_in_triggerer

        super().__init__(**{"poke_interval": 30.0, **kwargs})
        if job is None or isinstance(job, BaseOperator | MappedOperator):
            given = "there is none" if job is None else f"{job.task_id} is a task"
            raise SpecError(f"Task.{self.task_id}: job: {given}", cure="write task.output, or a job's id")
        self.job = job
        self.deferrable = waits_in_triggerer() if deferrable is None else deferrable
        self.sky_conn_id = sky_conn_id
        self._task = _sky_task(job)  # which Airflow replaces by what it hands on, if it has

    def poke(self, context: Context) -> PokeReturnValue:
        """Whether the job is over; if it is not, the triggerer looks where that is to be done."""
        found = self._job(context)
        if found is None:
            return PokeReturnValue(False)
        if found.over:
            return PokeReturnValue(True, self._ended(found))
        if self.deferrable:
            trigger = SkyWatchTrigger(found.id, self.sky_conn_id)
            self.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=self.timeout))
        return PokeReturnValue(False)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Back from the triggerer."""
        return self._ended(SkyHook(self.sky_conn_id).broker.job(event["job_id"]))

    def _job(self, context: Context) -> Job | None:
        """The job that is meant; None if its task has yet to end.

        Raises:
            AirflowFailException: if nothing is meant, or there is no such job in the store.
        """
        meant = self.job if self._task is None else _job_of(self._task, context)
        if meant is None and self._task is not None:
            return None
        meant = meant.get("job_id") if isinstance(meant, Mapping) else meant
        with permanent_errors():
            if not isinstance(meant, str) or not meant:
                raise SpecError(
                    f"Task.{self.task_id}: job: {self.job!r} is neither a job's id nor a Sky task's output",
                    cure="of a mapped task: SkySensor.partial(…).expand(job=task.output)",
                )
            try:
                return SkyHook(self.sky_conn_id).broker.job(meant)
            except KeyError:
                raise SpecError(f"Task.{self.task_id}: job: there is no job {meant!r} in this store") from None

    def _ended(self, job: Job) -> dict[str, Any]:
        if job.state != "succeeded":
            raise AirflowFailException(f"job {job.id} of task {job.task}: {job.state}")
        produced = SkyHook(self.sky_conn_id).broker.outputs(job)
        outputs = {name: to_xcom(job.id, one, sky_conn_id=self.sky_conn_id) for name, one in produced.items()}
        return {"job_id": job.id, "outputs": outputs}


def _sky_task(meant: Any) -> Any:
    """The Sky task whose output is meant, where it has one job."""
    operator = meant.operator if isinstance(meant, PlainXComArg) else None
    return operator if operator is not None and is_sky(operator) and not operator.is_mapped else None


def _job_of(task: Any, context: Context) -> str | None:
    """The job that a task of this run has submitted last; None if the task has yet to end.

    Raises:
        AirflowSkipException: if it was skipped.
        AirflowFailException: if it has ended without a job.
    """
    ti = context["ti"]
    index = ti.map_index if task.get_closest_mapped_task_group() is not None else None
    said = ti.get_task_states(dag_id=ti.dag_id, map_index=index, task_ids=[task.task_id], run_ids=[ti.run_id])
    states = {str(state) for of_run in said.values() for state in of_run.values()}
    if not states or not states <= NOT_WANTED:
        return None
    if "skipped" in states:
        raise AirflowSkipException(f"task {task.task_id} was skipped")
    with suppress(XComNotFound):
        job: str | None = (XComArg(task, key=TOLD).resolve(context) or {}).get("job_id")
        if job:
            return job
    raise AirflowFailException(f"task {task.task_id} has ended without a job: {', '.join(states)}")
