"""Running a whole pipeline without an engine: what ``skyloom run FILE.yaml`` does."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from sky_core.broker.interest import Waiter, want_to_the_end
from sky_core.broker.spawn import DRIVER_CHECK_S, ensure_driver
from sky_core.config import Settings
from sky_core.errors import StoreTrouble
from sky_core.planner.plan import Plan
from sky_core.spec import Artifact, Objective, OutputRef, Pipeline, Task
from sky_core.store import Event, Job, Store


def new_key(name: str) -> str:
    """A key that no other run has, in order of time in any time zone."""
    return f"{name}/{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}-{secrets.token_hex(3)}"


Follower = Iterator[tuple[Job, list[Event], list[str]]]


class Door(Protocol):
    """What a run needs of the broker, which starts runs itself; see :class:`sky_core.broker.broker.Broker`."""

    settings: Settings
    store: Store

    def plan(self, key: str, pipeline: Pipeline, objective: Objective | None = None) -> Plan: ...

    def submit(self, key: str, task: Task, plan_key: str, *, inputs: Mapping[str, Artifact] | None = None) -> Job: ...

    def follow(self, job_id: str) -> Follower: ...

    def cancel(self, job_id: str, reason: str) -> bool: ...

    def outputs(self, job: Job) -> dict[str, Artifact]: ...


@dataclass
class PipelineRun:
    """One run of a pipeline: each task is submitted once its upstreams have succeeded.

    Attributes:
        key: Whoever runs the same key again goes on where the last one stopped.
        on_event: Called with (task name, event).
        on_log: Called with (task name, line).
        to_the_end: Whether the jobs are wanted until they are over, even if this process should die.
        on_turn: Called again and again, once a second or so; what it raises ends the run…
        leaves: …and cancels it, unless it is one of these: whoever watched has left, and the jobs go on.
        again: Whether tasks that have failed are tried anew.
    """

    broker: Door
    key: str
    pipeline: Pipeline
    on_event: Callable[[str, Event], None]
    on_log: Callable[[str, str], None]
    to_the_end: bool = False
    on_turn: Callable[[], None] = lambda: None
    leaves: tuple[type[Exception], ...] = ()
    again: bool = False
    _waiter: Waiter = field(default_factory=Waiter.this_process)
    _followers: dict[str, Follower] = field(default_factory=dict)
    _jobs: dict[str, Job] = field(default_factory=dict)

    def run(self, objective: Objective | None = None) -> dict[str, Job]:
        """Plan, run to the end, and return the jobs by task. A failed task keeps its downstream tasks from starting.

        Left in any other way (Ctrl-C, an error of a callback), it cancels its jobs, unless they are wanted to the end.
        """
        self.broker.plan(self.key, self.pipeline, objective)
        try:
            return self._follow()
        except StoreTrouble:
            raise  # the jobs go on; whoever runs the key again finds them
        except BaseException as left:
            if not self.to_the_end and not isinstance(left, self.leaves):
                self.cancel("interrupted" if isinstance(left, KeyboardInterrupt) else f"its run has failed: {left!r}")
            raise

    def _follow(self) -> dict[str, Job]:
        checked = time.monotonic()
        while True:
            for task in self.pipeline.tasks:
                if task.name not in self._jobs and self._ready(task):
                    self._submit(task)
            self._look()
            if all(job.over for job in self._jobs.values()) and not any(map(self._ready, self._waiting())):
                return self._jobs
            if time.monotonic() - checked > DRIVER_CHECK_S:
                ensure_driver(self.broker.settings)
                checked = time.monotonic()
            self.on_turn()
            time.sleep(min(self.broker.settings.poll_s, 1.0))

    def cancel(self, reason: str) -> None:
        """Ask for the end of every job of the run that is not over."""
        for job in self.broker.store.jobs(plan_key=self.key, live=True):
            self.broker.cancel(job.id, reason)

    def _waiting(self) -> list[Task]:
        return [task for task in self.pipeline.tasks if task.name not in self._jobs]

    def _ready(self, task: Task) -> bool:
        upstream = self._parents[task.name]
        return all(parent in self._jobs and self._jobs[parent].state == "succeeded" for parent in upstream)

    @cached_property
    def _parents(self) -> dict[str, list[str]]:
        parents: dict[str, list[str]] = {task.name: [] for task in self.pipeline.tasks}
        for parent, child in self.pipeline.edges():
            parents[child].append(parent)
        return parents

    def _submit(self, task: Task) -> None:
        inputs: dict[str, Artifact] = {
            name: self.broker.outputs(self._jobs[source.task])[source.output]
            for name, source in task.inputs.items()
            if isinstance(source, OutputRef)
        }
        job = self.broker.submit(self._job_key(task), task, self.key, inputs=inputs)
        self._jobs[task.name] = job
        if self.to_the_end:
            want_to_the_end(self.broker.store, job.id)
        self._followers[task.name] = self.broker.follow(job.id)

    def _job_key(self, task: Task) -> str:
        """The key of the newest try of a task: of the next one, if that has failed and is to be tried again."""
        stem = key = f"{self.key}/{task.name}"
        found = self.broker.store.find_job(key)
        for number in itertools.count(2):
            later = self.broker.store.find_job(f"{stem}#{number}")
            if later is None:
                break
            key, found = later.key, later
        failed = found is not None and found.over and found.state != "succeeded"
        return f"{stem}#{number}" if self.again and failed else key

    def _look(self) -> None:
        for name, follower in self._followers.items():
            if self._jobs[name].over:
                continue
            self._waiter.renew(self.broker.store, self.broker.settings, self._jobs[name].id)
            self._jobs[name], events, lines = next(follower)
            for event in events:
                self.on_event(name, event)
            for line in lines:
                self.on_log(name, line)
