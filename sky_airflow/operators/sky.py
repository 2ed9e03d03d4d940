"""A task on the machine that the DAG run's plan chose for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from configparser import RawConfigParser
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.definitions.xcom_arg import XComArg
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk.log import mask_secret

from sky_airflow.dags import Sky, check
from sky_airflow.exchange import to_xcom
from sky_airflow.grammar.fields import artifacts, build_task, command_of, loose, plain, wrapped
from sky_airflow.grammar.foreign import refuse_foreign
from sky_airflow.grammar.inputs import read_inputs
from sky_airflow.grammar.limits import objective_of, refuse_own_limits, task_deadline
from sky_airflow.grammar.literals import refuse_missing
from sky_airflow.grammar.naming import task_name
from sky_airflow.grammar.outputs import Outputs
from sky_airflow.grammar.partials import SkyPartial
from sky_airflow.grammar.templates import check_syntax, read_script, script_name
from sky_airflow.hooks.sky import SkyHook
from sky_airflow.links.sky import SkyJobLink, SkyPlanLink
from sky_airflow.operators.errors import permanent_errors
from sky_airflow.planning import TOLD, make_plan, plan_stem, tell_plan
from sky_core.errors import JobCancelled, SpecError, StoreTrouble, TaskFailed
from sky_core.spec import Artifact, Task

if TYPE_CHECKING:
    from airflow.sdk import Context

    from sky_core.broker import Broker
    from sky_core.store import Job


class SkyOperator(BaseOperator, Sky):
    """Run a shell command on the cloud, zone and machine where the whole DAG run is cheapest (or fastest).

    Args:
        run: The command; sees ``$SKY_INPUT_<NAME>``, ``$SKY_OUTPUT_<NAME>``, ``$SKY_CHECKPOINT_DIR`` (see
            :class:`sky_core.spec.Task`, which also tells of setup, workdir, environment, envs, secrets, num_nodes,
            engine, hours, checkpoint, deadline and max_attempts).
        requires: What each machine needs: a mapping of the fields of :class:`sky_core.spec.Resources`.
        inputs: URIs, artifacts, or other Sky tasks' outputs (``train.outputs["model"]``), by name.
        outputs: Artifacts that the command leaves, by name; their sizes are what planning charges egress for.
        skip_on_exit_code: Exit codes of the command that mean that the task is to be skipped, as in BashOperator.
        sky: Limits of the whole DAG run (minimize, deadline, budget_usd), from the DAG's ``default_args``.
        deferrable: Wait in the triggerer rather than in a worker's slot; None as ``[operators] default_deferrable``
            says, and in the triggerer where it says nothing.
        sky_conn_id: A ``skyloom`` connection; None takes the settings from the environment.

    Raises:
        SpecError: when the DAG file is parsed, naming the field that is wrong.
    """

    template_fields: Sequence[str] = (
        "run", "setup", "workdir", "environment", "envs", "inputs", "declared_outputs", "requires", "hours",
        "num_nodes", "engine", "elastic", "checkpoint", "deadline", "max_attempts", "budget_usd", "mounts",
    )  # fmt: skip
    template_fields_renderers = {"run": "bash", "setup": "bash", "inputs": "json", "requires": "json"}  # noqa: RUF012
    operator_extra_links = (SkyPlanLink(), SkyJobLink())
    ui_color = "#bfe3f5"
    ready_line: str | None = None  # of the job's log: where it comes, the task is done; None is the job's own end
    lasts = False  # whether the job goes on after the task, with the DAG run

    def __init__(
        self,
        *,
        run: Any = None,
        requires: Any = None,
        inputs: Any = None,
        outputs: Any = None,
        setup: Any = None,
        workdir: Any = None,
        environment: Any = None,
        envs: Any = None,
        secrets: Any = (),
        mounts: Any = None,
        num_nodes: Any = 1,
        engine: Any = None,
        elastic: Any = None,
        hours: Any = None,
        checkpoint: Any = None,
        deadline: Any = None,
        max_attempts: Any = None,
        budget_usd: Any = None,
        restarts: Any = 0,
        restart_on: Any = (),
        keep: Any = None,
        cluster: Any = None,
        skip_on_exit_code: int | str | Sequence[int | str] | None = 99,
        sky: Any = None,
        deferrable: bool | None = None,
        sky_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        refuse_foreign(type(self), kwargs.get("task_id"), kwargs)
        super().__init__(**kwargs)
        self.run = _as_text(run)
        self.requires = requires
        self.inputs = loose(inputs)
        self.declared_outputs = loose(outputs) or {}
        self.setup = _as_text(setup)
        self.workdir = workdir
        self.environment = environment
        self.envs = envs
        self.secrets = (secrets,) if isinstance(secrets, str) else secrets or ()
        self.mounts = mounts
        self.num_nodes = num_nodes
        self.engine = engine
        self.elastic = elastic
        self.hours = wrapped(hours)
        self.checkpoint = checkpoint
        self.deadline = deadline
        self.max_attempts = max_attempts
        self.budget_usd = budget_usd
        self.restarts = restarts
        self.restart_on = restart_on
        self.keep = keep
        self.cluster = cluster
        self.skip_on_exit_code = exit_codes(f"Task.{self.task_id}: skip_on_exit_code", skip_on_exit_code)
        self.sky = sky
        self.deferrable = waits_in_triggerer() if deferrable is None else deferrable
        self.sky_conn_id = sky_conn_id
        self._job_id: str | None = None
        self._owner: str | None = None
        self._killed = False
        if self.has_dag():  # type: ignore[no-untyped-call]  # Airflow leaves it without types
            with suppress(SpecError):  # a helper's file may have made the DAG: Airflow asks again, of the DAG's own
                self._read_scripts()
        if not getattr(self, "_BaseOperator__from_mapped", False):  # which was looked at as a whole
            self._check()

    def _check(self) -> None:
        """See that a mistake is told when the file is parsed, not when the task runs."""
        XComArg.apply_upstream_relationship(self, self.secrets)  # which is no template field: those are shown
        # A class that stands on this one may have template fields that it sets later.
        check_syntax(self, {name: getattr(self, name, None) for name in self.template_fields})
        check(self)
        if self.sky and self.has_dag():  # type: ignore[no-untyped-call]
            refuse_own_limits(self, self.dag)
            objective_of(self.dag, datetime.now(UTC))

    @classmethod
    def partial(cls, **kwargs: Any) -> SkyPartial:
        """As of any operator; what is wrong in it is told when the file is parsed."""
        refuse_foreign(cls, kwargs.get("task_id"), kwargs)
        return SkyPartial.of(super().partial(**kwargs))

    def resolve_template_files(self) -> None:
        """Read the command from its file, if one is named, and see that all else that lies beside the DAG's file is
        there: Airflow asks for it when it has parsed that file.

        Raises:
            SpecError: naming the field whose file or folder is missing.
        """
        self._read_scripts()
        refuse_missing(self, vars(self))

    def _read_scripts(self) -> None:
        for field in ("run", "setup"):
            if name := script_name(getattr(self, field)):
                setattr(self, field, read_script(self, field, name))

    @property
    def outputs(self) -> Outputs:
        """References to this task's outputs, to be other tasks' inputs: a dependency, and a data edge of the plan."""
        return Outputs(self, self.declared_outputs)

    @property
    def broker(self) -> Broker:
        """The broker of the operator's connection."""
        return SkyHook(self.sky_conn_id).broker

    def execute(self, context: Context) -> Any:
        """Plan the run if nobody has, submit this task's job (or find it), and wait for it in the triggerer."""
        from sky_airflow.triggers.sky import SkyJobTrigger
        from sky_airflow.wanting import how_of, waiter_of
        from sky_core.broker.tries import called_off, resumable_key

        broker, ti = self.broker, context["ti"]
        with permanent_errors():
            task = self.build(broker, context)
            plan_key, _, name = make_plan(broker, context, self.task_id, task)
            task = task.model_copy(update={"name": name})
        stem = f"{plan_stem(context)}/{self.task_id}/{ti.map_index}/{self._epoch(ti)}"
        self._owner = str(ti.id)
        base = Path(context["dag"].fileloc).parent
        if stopped := called_off(broker.store, stem):  # Airflow has lost that try's end, or its process
            raise AirflowFailException(f"task {stopped.task!r} was cancelled: {stopped.cancel_reason}")
        key = resumable_key(broker.store, stem)
        with permanent_errors():
            secrets = {name: value.get_secret_value() for name, value in task.secret_values.items()}
            environ = {**os.environ, **secrets}
            job = broker.submit(
                key, task, plan_key, owner=self._owner, base=base, environ=environ, person=charged_to(self.owner)
            )
        self._job_id = job.id
        how = how_of(ti, lasts=self.lasts)
        waiter = waiter_of(self._owner, how)
        waiter.renew(broker.store, broker.settings, job.id)
        tell_plan(context, plan_key, self.sky_conn_id, job_id=job.id)
        if job.over:
            return self._finish(context, broker, job)
        if self.deferrable:
            limit = self.execution_timeout
            until = datetime.now(UTC).timestamp() + limit.total_seconds() if limit else None
            trigger = SkyJobTrigger(job.id, self._owner, until, self.sky_conn_id, how, self.ready_line)
            self.defer(trigger=trigger, method_name="execute_complete")
        ready = threading.Event()

        def on_log(line: str) -> None:
            self.log.info(line)
            if self.ready_line and self.ready_line in line:
                ready.set()

        try:
            job = broker.watch(job.id, on_event=self._log_event, on_log=on_log, stop=ready.is_set, waiter=waiter)
        except (StoreTrouble, OSError):  # the store cannot be reached, or Airflow's own end of the log is gone
            raise  # the job goes on: a retry finds it, or Airflow says that nobody waits for it any more
        except BaseException as left:  # a time-out, an error of a log handler: nobody waits any more
            broker.cancel(job.id, f"Airflow does not wait for it any more: {left!r}", owner=self._owner)
            raise
        return self._finish(context, broker, job)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Back from the triggerer: hand on the outputs, or fail as the job did."""
        broker = self.broker
        self._job_id, self._owner = event["job_id"], str(context["ti"].id)
        if event.get("timeout"):
            broker.cancel(event["job_id"], "execution_timeout", owner=self._owner)
            raise TimeoutError(f"{self.task_id}: execution_timeout passed; its machines are being taken down")
        return self._finish(context, broker, broker.job(event["job_id"]))

    def resume_execution(self, next_method: str, next_kwargs: Any, context: Context) -> Any:
        """As the base class; when the trigger itself failed or timed out, nobody waits for the job: cancel it."""
        if next_method == "__fail__":
            sent = context["ti"].xcom_pull(task_ids=self.task_id, key=TOLD, map_indexes=context["ti"].map_index)
            if sent:
                self.broker.cancel(sent["job_id"], "the deferral failed or timed out", owner=str(context["ti"].id))
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """Cancel the job, unless a newer try owns it by now."""
        self._killed = True
        if self._job_id is not None:
            self.broker.cancel(self._job_id, "the Airflow task was killed", owner=self._owner)

    def build(self, broker: Broker, context: Context) -> Task:
        """The task to submit, templates rendered and references resolved.

        Raises:
            SpecError: naming the field that is wrong.
        """
        name = task_name(self.task_id)
        found = read_inputs(name, self.inputs)
        outputs = artifacts(name, self.declared_outputs)
        run = found.before(command_of(name, self.run))
        return build_task(name, self._said(context), run=run, inputs=found.artifacts, outputs=outputs)

    def _said(self, context: Context) -> dict[str, Any]:
        """The fields of the task as they are once all is rendered; secrets are rendered here, so that none is shown."""
        said = {**vars(self), **self._secrets(context)}
        now = datetime.now(UTC)
        started = context["dag_run"].start_date or now
        said["deadline"], late = task_deadline(self.task_id, self.deadline, started, context["dag"].timezone, now)
        if late:
            self.log.warning(late)
        return said

    def _secrets(self, context: Context) -> dict[str, Any]:
        secrets = self.render_template(self.secrets, context)
        if isinstance(secrets, str):
            secrets = plain(self.task_id, "envs", secrets) if secrets.lstrip().startswith("{") else (secrets,)
        if not isinstance(secrets, Mapping):
            return {"secrets": tuple(secrets or ())}
        if empty := [name for name, value in secrets.items() if value is None]:
            raise SpecError(f"Task.{self.task_id}: secrets: {empty[0]} is None")
        values = {str(name): str(value) for name, value in secrets.items()}
        for value in values.values():
            mask_secret(value)
        return {"secrets": tuple(values), "secret_values": values}

    def _epoch(self, ti: Any) -> int:
        # Clearing raises max_tries by the tries used, a retry does not: same epoch, same work.
        return int(ti.max_tries) - int(self.retries or 0)

    def _log_event(self, event: Any) -> None:
        from sky_core.job.narrate import describe

        self.log.info(describe(event))

    def _finish(self, context: Context, broker: Broker, job: Job) -> Any:
        from sky_airflow.assets import tell_assets
        from sky_airflow.metrics import tell_metrics
        from sky_core.job.bill import spent_on

        spent = spent_on(broker.store, broker.settings.scale, [job.id])[job.id]
        tell_metrics(context["ti"], job, spent)
        try:
            broker.raise_for(job)
        except TaskFailed as failure:
            error = self.failed(job, failure)
            raise error from (None if error is failure else failure)
        except JobCancelled as cancelled:
            if self._killed:  # by Airflow: it knows whether to try again
                raise
            raise AirflowFailException(str(cancelled)) from cancelled  # by somebody who does not want another one
        produced = broker.outputs(job)
        for name in self.declared_outputs:
            context["ti"].xcom_push(key=name, value=self._reference(job, produced[name]))
        tell_assets(context, self.outlets, produced, job, spent)
        self.log.info("succeeded: compute $%.4f, egress $%.4f", spent.compute_usd, spent.egress_usd)
        return self.returned(job, produced)

    def failed(self, job: Job, failure: TaskFailed) -> Exception:
        """The exception that tells Airflow of a command that failed."""
        if failure.exit_code in self.skip_on_exit_code:
            return AirflowSkipException(f"the command ended with exit code {failure.exit_code}: skipped")
        return failure

    def _reference(self, job: Job, artifact: Artifact) -> dict[str, Any]:
        return to_xcom(job.id, artifact, sky_conn_id=self.sky_conn_id)

    def returned(self, job: Job, produced: Mapping[str, Artifact]) -> Any:
        """The task's return value in XCom."""
        return {
            "job_id": job.id,
            "outputs": {name: self._reference(job, artifact) for name, artifact in produced.items()},
        }


def charged_to(owner: str) -> str | None:
    """A task's owner, as whom its job is charged to; None for the one of whom every task is that names none."""
    from airflow.sdk.configuration import conf

    return None if owner == conf.get("operators", "default_owner", fallback="airflow") else owner


def exit_codes(where: str, said: Any) -> tuple[int, ...]:
    """Exit codes, written as one number or several.

    Raises:
        SpecError: for what is none.
    """
    codes = () if said is None else [said] if isinstance(said, (int, str)) else said
    try:
        return tuple(map(int, codes))
    except (TypeError, ValueError):
        raise SpecError(f"{where}: {said!r} is no exit code, nor several") from None


def _as_text(command: Any) -> Any:
    return os.fspath(command) if isinstance(command, os.PathLike) else command


@cache
def waits_in_triggerer() -> bool:
    """What the configuration says of it: ``[skyloom] deferrable``, or ``[operators] default_deferrable``.

    That the latter is false in airflow.cfg tells nothing, since Airflow writes its own defaults there; in the
    environment somebody has set it. Who has not asked for it wants no slot held for hours.
    """
    from airflow.sdk.configuration import conf

    for where in (("skyloom", "deferrable"), ("operators", "default_deferrable")):
        if "__".join(("AIRFLOW", *where)).upper() in os.environ:
            return bool(conf.getboolean(*where))
    if RawConfigParser.has_option(conf, "skyloom", "deferrable"):
        return bool(conf.getboolean("skyloom", "deferrable"))
    return True
