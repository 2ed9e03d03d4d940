"""The driver's steps taken by the test itself: what it decides, without a process to wait for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sky_core import Pipeline, Resources, Task
from sky_core.broker import Broker
from sky_core.broker.submission import needs_of
from sky_core.config import Settings
from sky_core.driver.executors import Executors
from sky_core.driver.lifecycle import advance, take_step
from sky_core.driver.step import Clouds, Driving, Step
from sky_core.endpoints import SANDBOX_FILE
from sky_core.remote import keys
from sky_core.store import Job, Reach
from tests.conftest import Sandbox
from tests.postgres import beside

LIMIT_S = 240.0


class Home:
    """A Skyloom home of a test's own that leads to a shared sandbox, and the steps of its jobs."""

    def __init__(self, sandbox: Sandbox, home: Path, environ: dict[str, str], **clouds: Any) -> None:
        data = json.loads((sandbox.home / SANDBOX_FILE).read_text())
        for cloud in data["clouds"].values():
            cloud |= clouds
        (home / SANDBOX_FILE).parent.mkdir(parents=True)
        (home / SANDBOX_FILE).write_text(json.dumps(data))
        self.path = home
        self.settings = Settings.load({"SKYLOOM_HOME": str(home), "SKYLOOM_PROFILE": "sandbox", **environ})
        self.broker = Broker.open(self.settings)
        self.store = self.broker.store
        self.driving = self.new_driving()

    def new_driving(self, settings: Settings | None = None) -> Driving:
        """What a driver works with; another one each time, as after its predecessor's death."""
        used = settings or self.settings
        return Driving(used, self.store, Clouds(used), Executors(used), f"driver-{time.monotonic_ns()}")

    def submit(self, task: Task, key: str = "run", plan: str | None = None) -> Job:
        """Plan and submit a task without a driver process."""
        plan_key = plan or key
        if self.store.plan(plan_key) is None:
            self.broker.plan(plan_key, Pipeline(name="p", tasks=(task,)))
        spec, job_key = task.model_dump_json(exclude={"hours"}), f"{key}/{task.name}"
        needs = needs_of(task, self.store.job_id(job_key), self.settings, self.store, {}, self.path)
        return self.store.submit(
            job_key, plan_key=plan_key, task=task.name, spec=spec, owner=None, needs=needs.model_dump(mode="json")
        )

    def drive(self, *jobs: Job, stop: Callable[[], Any] = lambda: False, driving: Driving | None = None) -> list[Job]:
        """Take the due steps of all jobs until these are over, or ``stop()`` is true; the jobs as they are then."""
        driven, team_key = driving or self.driving, keys.team_key(self.settings)
        end = time.monotonic() + LIMIT_S
        while not all(self.store.job(job.id).over for job in jobs) and not stop():
            assert time.monotonic() < end, [self.store.events(job.id)[-3:] for job in jobs]
            for due in self.store.lease_due(driven.holder, 600.0, 10, Reach("sandbox", team_key.id)):
                take_step(driven, due)
            time.sleep(0.01)
        for job in self.store.jobs(live=True):
            self.store.release_lease(job.id, driven.holder)
        return [self.store.job(job.id) for job in jobs]

    def outcomes(self, job: Job) -> list[tuple[str, str | None]]:
        """Outcome and zone of each of the job's clusters."""
        return [(cluster.outcome, cluster.zone) for cluster in self.store.clusters(job_id=job.id)]


@contextmanager
def home_of(
    sandbox: Sandbox, path: Path, config: str = "", environ: dict[str, str] | None = None, **clouds: Any
) -> Iterator[Home]:
    """A :class:`Home` with that ``config.toml`` and environment; ``clouds`` are fields of every cloud's settings.

    Its store is of the sandbox's kind.
    """
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.toml").write_text(config)
    url = sandbox.settings.store_url
    store = {"SKYLOOM_STORE": beside(url)} if url.startswith("postgres") else {}
    home = Home(sandbox, path, {**store, **(environ or {})}, **clouds)
    yield home
    home.driving.executors.close()
    home.store.close()


def small(name: str = "work", run: str = "echo hello", **resources: Any) -> Task:
    """A task for a small machine of AWS, unless ``resources`` say otherwise."""
    where = {"cloud": "aws", "region": "us-east-1", "instance_type": "t3.small"} if "cloud" not in resources else {}
    return Task(name=name, run=run, hours=0.1, resources=Resources(**where, **resources))


def driven_by_mortals(home: Home, job: Job, stop: Callable[[], Any]) -> None:
    """Each step is done by a driver that dies before it has written anything down, and then by another one."""
    store, reach = home.store, Reach("sandbox", keys.team_key(home.settings).id)
    end = time.monotonic() + LIMIT_S
    while not stop():
        assert time.monotonic() < end, store.events(job.id)[-3:]
        for act in (lambda driving, due: advance(Step.load(driving, due)), take_step):
            driving = replace(home.new_driving(), executors=home.driving.executors)
            for due in store.lease_due(driving.holder, 600.0, 10, reach):
                act(driving, due)
            store.release_lease(job.id, driving.holder)
