"""The jobs of flow runs, as the store has them: a flow run has at most one at a time, whoever submits it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sky_core.broker import Broker
from sky_core.broker.interest import RENEW_S, Waiter
from sky_core.errors import SkyloomError
from sky_core.store import Event, Job
from sky_prefect.pool.configuration import SkyJobConfiguration
from sky_prefect.wanting import this_process

SILENT_S = 2 * RENEW_S  # after so long without a word nobody follows a job any more


@dataclass(frozen=True)
class RunJobs:
    """The jobs of the flow runs of a Prefect server.

    Attributes:
        api: The server's URL: whether a run still wants its job is asked there.
    """

    broker: Broker
    api: str

    def last(self, run: UUID) -> Job | None:
        """The newest job of a flow run, which has one for each time that it was submitted."""
        return self._tries(run)[1]

    def begin(self, run: UUID, configuration: SkyJobConfiguration, workdir: Path | None = None) -> Job:
        """Plan a machine for a flow run and submit it, or find the job that is not over yet.

        Raises:
            SkyloomError: if it cannot be planned or submitted.
        """
        key, last = self._tries(run)
        if last is not None and not last.over:
            return last
        pipeline = configuration.pipeline(workdir)
        self.broker.plan(key, pipeline, configuration.objective)
        (task,) = pipeline.tasks
        return self.broker.submit(key, task, key, environ={**os.environ, **configuration.variables})

    def follow(
        self, run: UUID, job: Job, on_event: Callable[[Event], None], stopped: Callable[[], bool], called: bool = False
    ) -> Job:
        """Wait for a job's end, telling what happens from when it was last told; as it is once ``stopped()``.

        Args:
            called: Whether the run is wanted by this process alone, which has called its flow.
        """
        silent_s = self._silent_s(job)
        told_until = 0.0 if silent_s is None else time.time() - silent_s

        def tell(event: Event) -> None:
            if event.at > told_until:
                on_event(event)

        return self.broker.watch(job.id, on_event=tell, stop=stopped, waiter=self._waiter(run, called))

    def forsaken(self, run: UUID) -> Job | None:
        """The newest job of a flow run, if nobody has followed it for a while."""
        job = self.last(run)
        if job is None:
            return None
        silent_s = self._silent_s(job)
        return job if (time.time() - job.created_at if silent_s is None else silent_s) > SILENT_S else None

    def failure(self, job: Job) -> str | None:
        """What a job that is over failed of; None if its command ended well."""
        try:
            self.broker.raise_for(job)
        except SkyloomError as error:
            return str(error)
        return None

    def last_words(self, job: Job) -> str:
        """The end of a job's log."""
        return "\n".join(self.broker.store.log(job.id)[-8000:].decode(errors="replace").splitlines()[-80:])

    def _waiter(self, run: UUID, called: bool) -> Waiter:
        # The run's own process is on the machine: as long as the run is not over, its job is wanted. Whoever takes over
        # a run that was called is the same waiter, and from then on it is wanted like any other.
        how = {"engine": "prefect", "api": self.api, "flow_run": str(run)}
        return Waiter(f"prefect-pool/{run}", {**how, **({"caller": this_process()} if called else {"whole": True})})

    def _silent_s(self, job: Job) -> float | None:
        """For how long nobody has said that he follows a job; None if nobody ever has."""
        heard = [one.seen_at for one in self.broker.store.interest_of(job.id)]
        return self.broker.store.now() - max(heard) if heard else None

    def _tries(self, run: UUID) -> tuple[str, Job | None]:
        """The key of a flow run's next job, and its newest job."""
        last = None
        for number in itertools.count():
            key = f"prefect-pool/{run}/{number}"
            found = self.broker.store.find_job(key)
            if found is None:
                return key, last
            last = found
        raise AssertionError
