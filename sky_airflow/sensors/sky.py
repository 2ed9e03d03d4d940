"""Waiting for a job that another task, another DAG or another engine has submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException

from sky_airflow.exchange import to_xcom
from sky_airflow.hooks.sky import SkyHook
from sky_airflow.operators.errors import permanent_errors
from sky_core.errors import SpecError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from sky_core.store import Job


class SkySensor(BaseSensorOperator):
    """Succeed once a job has; fail for good, without retries, if it has failed or was cancelled.

    It looks on only: when it is ended, the job goes on.

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
        self.job = job
        self.deferrable = waits_in_triggerer() if deferrable is None else deferrable
        self.sky_conn_id = sky_conn_id

    def execute(self, context: Context) -> Any:
        """Look once, then wait where that is to be done."""
        from sky_airflow.triggers.watch import SkyWatchTrigger

        if not self.deferrable:
            return super().execute(context)
        found = self._job()
        if found.over:
            return self._ended(found)
        trigger = SkyWatchTrigger(found.id, self.sky_conn_id)
        return self.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=self.timeout))

    def poke(self, context: Context) -> PokeReturnValue:
        """Whether the job is over."""
        found = self._job()
        return PokeReturnValue(found.over, self._ended(found) if found.over else None)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Back from the triggerer."""
        return self._ended(SkyHook(self.sky_conn_id).broker.job(event["job_id"]))

    def _job(self) -> Job:
        """The job that is meant.

        Raises:
            AirflowFailException: if nothing is meant, or there is no such job in the store.
        """
        meant = self.job.get("job_id") if isinstance(self.job, Mapping) else self.job
        with permanent_errors():
            if not isinstance(meant, str) or not meant:
                raise SpecError(f"Task.{self.task_id}: job: {self.job!r} is neither a job's id nor a Sky task's output")
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
