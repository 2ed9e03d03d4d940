"""The one door: plan, submit, watch, cancel. Light to import and cheap to call from any process of an engine.

Nothing here touches a cloud: it reads and writes the store and keeps a driver process alive, which does the rest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from sky_core.broker.apart import apart, let_signals_interrupt, polars_inherited
from sky_core.broker.interest import Waiter
from sky_core.broker.lines import Lines
from sky_core.broker.spawn import DRIVER_CHECK_S, ensure_driver
from sky_core.broker.turns import one_at_a_time
from sky_core.config import Settings
from sky_core.errors import JobCancelled, JobFailed, SkyloomError, StoreTrouble, TaskFailed, TransferError
from sky_core.planner.plan import Plan, dag_hash
from sky_core.planner.view.notebook import ShownPlan
from sky_core.spec import Artifact, Objective, OutputRef, Pipeline, Task
from sky_core.store import Event, Job, Store

if TYPE_CHECKING:
    from sky_core.job.bill import Bill


class Broker:
    """Skyloom for one home: its settings and its store."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.store_url, patience_s=settings.store_patience_s)

    @classmethod
    def open(cls, settings: Settings | None = None) -> Broker:
        """The broker of ``$SKYLOOM_HOME``, or of the settings given.

        Raises:
            SpecError, SandboxNotRunning: from :meth:`Settings.load`.
        """
        return cls(settings or Settings.load())

    # Planning.

    def preview(
        self,
        pipeline: Pipeline,
        objective: Objective | None = None,
        *,
        base: Path | None = None,
        anywhere: bool = False,
        trade: bool = False,
    ) -> ShownPlan:
        """Plan without keeping the plan: a dry run, with each task's next-best choice. A notebook shows its page.

        Args:
            base: Where relative working folders start; None for the current directory.
            anywhere: Plan as if every enabled cloud could be used already; the plan says which cannot.
            trade: Also look for other deals of money for time.

        Raises:
            SkyloomError: what :meth:`plan` raises; SpecError for a working folder that is not there.
        """
        from sky_core.broker.submission import workdir_of

        for task in pipeline.tasks:
            workdir_of(task, base or Path.cwd())
        if polars_inherited():
            plan: ShownPlan = apart(_preview, self._shareable(), pipeline, objective, base, anywhere, trade)
            return plan
        from sky_core.planner.market import current_market
        from sky_core.planner.planning import make_plan

        let_signals_interrupt()
        market = current_market(self.settings, self.store, pipeline.name, anywhere=anywhere)
        return ShownPlan.of(make_plan(pipeline, market, objective, explain=True, trade=trade))

    def _shareable(self) -> Settings:
        """The settings without any secret: what another process may be handed to plan with."""
        there = dict.fromkeys(self.settings.login, SecretStr("there"))  # which is all that planning asks
        return self.settings.model_copy(update={"key": None, "login": there})

    def plan(
        self,
        key: str,
        pipeline: Pipeline,
        objective: Objective | None = None,
        *,
        pinned: Mapping[str, str] | None = None,
    ) -> Plan:
        """The plan of ``key``: made by whoever asks first; those who ask meanwhile wait, and read it like all after.

        Asked with a pipeline that has changed since (a later planning window, an edited DAG file), the plan is
        made anew with every task that already has a job staying where it is. ``pinned`` maps tasks to jobs of
        other plans (of an earlier try of this run) whose placements hold.

        Raises:
            NoCloudEnabled, UnknownAccelerator, NoFeasibleOffering, Infeasible, SpecError: as ``make_plan``.
        """
        made = self._made(key, pipeline)
        if made is None:
            with one_at_a_time(self.store, key):
                made = self._made(key, pipeline) or self._make(key, pipeline, objective, pinned or {})
        return made

    def _made(self, key: str, pipeline: Pipeline) -> Plan | None:
        """The plan of ``key`` if it is already one of this very pipeline, found without planning anything."""
        if any(callable(task.hours) for task in pipeline.tasks):
            return None  # what such an estimate comes to is known only where it is asked about all candidates
        found = self.store.plan(key)
        plan = None if found is None else Plan.model_validate_json(found.plan)
        return plan if plan is not None and plan.dag_hash == dag_hash(pipeline) else None

    def _make(self, key: str, pipeline: Pipeline, objective: Objective | None, pinned: Mapping[str, str]) -> Plan:
        if polars_inherited():
            apart_made: Plan = apart(_make, self._shareable(), key, pipeline, objective, dict(pinned))
            return apart_made
        from sky_core.planner.market import current_market
        from sky_core.planner.planning import freeze_hours, make_plan

        let_signals_interrupt()
        while True:
            found = self.store.plan(key)
            if found is None:
                market = current_market(self.settings, self.store, pipeline.name, plan_key=key)
                frozen = freeze_hours(pipeline, market)
                made = make_plan(frozen, market, objective, **self._kept(time.time(), pinned))
                kept = self.store.create_plan(key, frozen.model_dump_json(), made.model_dump_json())
                return Plan.model_validate_json(kept.plan)
            plan = Plan.model_validate_json(found.plan)
            market = current_market(self.settings, self.store, pipeline.name, plan_key=key)
            frozen = freeze_hours(pipeline, market)
            if plan.dag_hash == dag_hash(frozen):
                return plan
            jobs = {job.task: job.id for job in self.store.jobs(plan_key=key)} | dict(pinned)
            names = {task.name for task in frozen.tasks}
            stays = self._kept(plan.begun, {name: job for name, job in jobs.items() if name in names})
            made = make_plan(frozen, market, objective or plan.objective, **stays, reason="the pipeline changed")
            if self.store.replace_plan(key, found.version, frozen.model_dump_json(), made.model_dump_json()):
                return made

    def _kept(self, begun_at: float, jobs: Mapping[str, str]) -> dict[str, Any]:
        """What planning anew has to keep: where the jobs of these tasks are, and how far."""
        from sky_core.job.memory import placement_of
        from sky_core.job.progress import so_far

        placed = [(job, place) for job in map(self.store.job, jobs.values()) if (place := placement_of(job))]
        fixed = {job.task: place for job, place in placed}
        return {"fixed": fixed, "so_far": so_far(begun_at, [job for job, _ in placed], self.settings.scale)}

    def run(
        self,
        pipeline: Pipeline,
        objective: Objective | None = None,
        *,
        key: str | None = None,
        say: Callable[[str], None] = print,
    ) -> dict[str, Job]:
        """Run a whole pipeline to its end, as a notebook or a script would; left early, it cancels its jobs.

        Args:
            key: Goes on with the run of this key where it stopped; a run of its own by default.
            say: Told in a line whatever happens and whatever the tasks print.

        Returns:
            The jobs by task; what needs a task that failed has none.

        Raises:
            SkyloomError: what :meth:`plan` and :meth:`submit` raise.
        """
        from sky_core.broker.runner import PipelineRun, new_key
        from sky_core.job.narrate import describe

        return PipelineRun(
            self,
            key or new_key(pipeline.name),
            pipeline,
            on_event=lambda task, event: say(f"{task} {describe(event)}"),
            on_log=lambda task, line: say(f"{task} | {line}"),
        ).run(objective)

    # Jobs.

    def submit(
        self,
        key: str,
        task: Task,
        plan_key: str,
        *,
        owner: str | None = None,
        inputs: Mapping[str, Artifact] | None = None,
        base: Path | None = None,
        environ: Mapping[str, str] = os.environ,
        person: str | None = None,
    ) -> Job:
        """Start the job of ``key``, or find the one that is already there; returns at once.

        What only this process can give goes along: its working folder (packed), the values of its secrets (sealed
        with the team key), the clouds that its settings allow. Any driver that has the key can go on from there.

        Args:
            key: Whoever submits the same key again, after any crash, gets the same job.
            task: The task as it is in the plan of ``plan_key``.
            owner: This try's name: only its cancel counts from now on.
            inputs: What the task's references to other tasks' outputs have become, by input name.
            base: Where a relative working folder starts; None for the current directory.
            environ: Where the values of its secrets are looked up.
            person: Whom it is charged to; None for the settings' or the login of this process.

        Raises:
            SkyloomError: if an input is still a reference.
            SpecError: if the working folder or a secret is missing here.
        """
        resolved = task.model_copy(update={"inputs": {**task.inputs, **(inputs or {})}})
        for name, source in resolved.inputs.items():
            if isinstance(source, OutputRef):
                raise SkyloomError(f"Task.{task.name}: inputs.{name}: {source} has not been produced yet")
        job = self.store.submit(
            key,
            plan_key=plan_key,
            task=task.name,
            spec=resolved.model_dump_json(exclude={"hours"}),
            owner=owner,
            needs=None if self.store.find_job(key) else self._needs(key, task, base, environ, person),
        )
        if not job.over:
            ensure_driver(self.settings)
        return job

    def _needs(
        self, key: str, task: Task, base: Path | None, environ: Mapping[str, str], person: str | None
    ) -> Mapping[str, Any]:
        from sky_core.broker.submission import needs_of

        job_id = self.store.job_id(key)
        needs = needs_of(task, job_id, self.settings, self.store, environ, base or Path.cwd(), person)
        return needs.model_dump(mode="json")

    def job(self, job_id: str) -> Job:
        """How far a job is. Raises KeyError if there is none."""
        return self.store.job(job_id)

    def cancel(self, job_id: str, reason: str, owner: str | None = None) -> bool:
        """Ask for a job's end; its machines are gone once it is ``cancelled``. False if it was not ours to cancel."""
        asked = self.store.request_cancel(job_id, reason, owner)
        if asked:
            ensure_driver(self.settings)
        return asked

    def watch(
        self,
        job_id: str,
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        on_log: Callable[[str], None] = lambda line: None,
        on_output: Callable[[bytes], None] = lambda data: None,
        stop: Callable[[], bool] = lambda: False,
        waiter: Waiter | None = None,
        offset: int = 0,
    ) -> Job:
        """Follow a job until it is over, handing on its events and whole log lines as they come, from ``offset`` on.

        Returns early, with the job as it is, once ``stop()`` is true. Keeps the driver alive meanwhile, and the
        interest in the job: ``waiter`` says whose, by default this process's.
        """
        waiter = waiter or Waiter.this_process()
        following, lines = self.follow_output(job_id, offset=offset), Lines()
        checked = 0.0
        while True:
            waiter.renew(self.store, self.settings, job_id)
            job, events, data = next(following)
            for event in events:
                on_event(event)
            on_output(data)
            for line in lines.feed(data, end=job.over):
                on_log(line)
            if job.over or stop():
                return job
            if time.monotonic() - checked > DRIVER_CHECK_S:
                ensure_driver(self.settings)
                checked = time.monotonic()
            time.sleep(min(self.settings.poll_s, 1.0))

    def follow(self, job_id: str) -> Iterator[tuple[Job, list[Event], list[str]]]:
        """An endless iterator over (job, new events, new log lines as :class:`Lines` cuts them); a step reads once."""
        lines = Lines()
        for job, events, data in self.follow_output(job_id):
            yield job, events, lines.feed(data, end=job.over)

    def follow_output(self, job_id: str, seen: int = 0, offset: int = 0) -> Iterator[tuple[Job, list[Event], bytes]]:
        """The same with the log's bytes as they are, after the event of id ``seen`` and ``offset`` bytes of the log.

        While the store cannot be used, it gives the job as it was last seen, once in ``store_patience_s``.
        """
        job = self.store.job(job_id)
        while True:
            try:
                found = self.store.job(job_id)  # read first: what belongs to its end is in the store by then
                events = self.store.events(job_id, seen)
                data = self.store.log(job_id, offset)
            except StoreTrouble:
                yield job, [], b""
                continue
            job = found
            seen = events[-1].id if events else seen
            offset += len(data)
            yield job, events, data

    def outputs(self, job: Job) -> dict[str, Artifact]:
        """What a finished job has produced, as artifacts that another task can take as inputs."""
        return {name: Artifact(**about) for name, about in job.result.get("outputs", {}).items()}

    def value(self, job: Job) -> Any:
        """What the function of a job that is over has returned. Its pickle is loaded here, in the caller's process.

        Raises:
            TransferError: if there is no value here, or it cannot be loaded.
            RemoteError: if the function raised something that could not be pickled.
            BaseException: whatever else the function raised.
        """
        from sky_core.remote.artifacts import load_result

        if "value" not in job.result:
            raise TransferError(f"task {job.task!r}: its value is not here: {job.result.get('value_error', job.state)}")
        return load_result(self.store.payload(job.result["value"]))

    def bring(self, uri: str, folder: Path) -> Path:
        """The local path of a copy of what is at a URI, fetched by a process of its own with the clouds' credentials.

        Raises:
            TransferError: if it cannot be brought.
        """
        from sky_core.remote.bringing import bring

        given = {"HOME": self.settings.home, "PROFILE": self.settings.profile, "STORE": self.settings.store_url}
        return bring(
            uri, folder, {**self.settings.environ(), **{f"SKYLOOM_{name}": str(value) for name, value in given.items()}}
        )

    def raise_for(self, job: Job) -> None:
        """Raise what a job that is over failed with; nothing if it succeeded.

        Raises:
            TaskFailed: the user's command exited with another code than 0.
            JobCancelled: it was cancelled.
            JobFailed: nothing could run it.
        """
        exit_code = job.result.get("exit_code")
        if job.state == "failed" and exit_code is not None:
            tail = self.store.log(job.id)[-4000:].decode(errors="replace")
            raise TaskFailed(job.task, exit_code, "\n".join(tail.splitlines()[-20:]))
        if job.state == "cancelled":
            raise JobCancelled(f"task {job.task!r} was cancelled: {job.cancel_reason}")
        if job.state == "failed":
            raise JobFailed(f"task {job.task!r} failed: {job.result.get('error')}")

    def bill(self, plan_key: str) -> Bill:
        """What the jobs of a plan have cost so far."""
        from sky_core.job.bill import make_bill

        return make_bill(self.store, self.settings, self.store.jobs(plan_key=plan_key))


def _preview(
    settings: Settings, pipeline: Pipeline, objective: Objective | None, base: Path | None, anywhere: bool, trade: bool
) -> ShownPlan:
    return Broker(settings).preview(pipeline, objective, base=base, anywhere=anywhere, trade=trade)


def _make(
    settings: Settings, key: str, pipeline: Pipeline, objective: Objective | None, pinned: Mapping[str, str]
) -> Plan:
    return Broker(settings)._make(key, pipeline, objective, pinned)
