"""One step of one job: what it works with, and the single way it writes down what it did."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Unpack

from sky_core.clouds import Cloud, connect
from sky_core.config import Settings
from sky_core.driver.executors import Executors
from sky_core.driver.inquiries import Inquiries
from sky_core.driver.lead.berths import Pilot
from sky_core.driver.stages.hearing import Hearing
from sky_core.job.memory import Changes, Memory
from sky_core.job.needs import Needs
from sky_core.planner.capacity import full, pools, taken
from sky_core.planner.market import current_market
from sky_core.planner.plan import Plan
from sky_core.planner.planning import Market
from sky_core.spec import Pipeline, Task
from sky_core.store import Cluster, Job, JobState, Launch, NewEvent, Observation, Run, Store


class Clouds:
    """Connections to the clouds, made on first use: SDKs are slow to import, and most runs need only some.

    Asking for a cloud raises :class:`~sky_core.errors.NotConnected` if it cannot be connected from here.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clouds: dict[str, Cloud] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Cloud:
        with self._lock:
            if name not in self._clouds:
                self._clouds[name] = connect(name, self._settings)
            return self._clouds[name]


@dataclass(frozen=True)
class Driving:
    """What one driver works with for all its jobs.

    Attributes:
        holder: Its name on leases.
        inquiries: Whether jobs are still wanted, as far as their engines have answered.
        hearing: Who has answered lately.
        pilots: By job id, the pilot of each job with a deadline that it leads; None where there is no choice.
        unasked: Tokens of launches that it has intended and not asked for yet, each with the epoch of the job's lease:
            as long as that is the same, nobody else can have.
        purse: Held while a launch is held against the limits and written down.
    """

    settings: Settings
    store: Store
    clouds: Clouds
    executors: Executors
    holder: str
    inquiries: Inquiries = field(default_factory=Inquiries)
    hearing: Hearing = field(default_factory=Hearing)
    pilots: dict[str, Pilot | None] = field(default_factory=dict)
    unasked: dict[str, int] = field(default_factory=dict)
    purse: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Step:
    """One job under way. ``memory`` is replaced, never changed, and written by :meth:`save` only.

    Attributes:
        needs: What it brought from its submitter; None from an earlier version.
        cluster: Where the job is, or is going to be; None between two attempts.
        successor: The cluster that takes over from ``cluster`` once it has ended; None unless the job moves.
    """

    driving: Driving
    job: Job
    memory: Memory
    task: Task
    needs: Needs | None = None
    cluster: Cluster | None = None
    successor: Cluster | None = None

    @property
    def settings(self) -> Settings:
        """The driver's settings, with the clouds and regions that the job's submitter allowed."""
        settings = self.driving.settings
        return self.needs.narrowed(settings) if self.needs else settings

    def planned(self) -> tuple[int, Pipeline, Plan]:
        """The plan that the job belongs to: its version, what was planned, and the plan."""
        found = self.driving.store.plan(self.job.plan_key)
        assert found is not None, "a job is submitted under a plan"
        return found.version, Pipeline.model_validate_json(found.pipeline), Plan.model_validate_json(found.plan)

    def never_asked(self, cluster: Cluster) -> bool:
        """Whether the cluster's launch cannot have been asked for by anybody."""
        return self.driving.unasked.get(cluster.token) == self.job.lease_epoch

    def market(self, pipeline: str) -> Market:
        """What the job may be planned on right now: without what is blocked, for all or for this job."""
        store = self.driving.store
        market = current_market(self.settings, store, pipeline, plan_key=self.job.plan_key)
        scarce = pools(market.catalog)
        others = (c for c in store.clusters(open_only=True) if c.job_id != self.job.id) if scarce else ()
        busy = full(scarce, taken(scarce, others), self.task.num_nodes)
        return replace(market, blocked=(*market.blocked, *self.memory.tries.blocks(), *busy))

    @classmethod
    def load(cls, driving: Driving, job: Job) -> Step:
        """The job with its open clusters, if it has any."""
        present, following, *_ = *driving.store.clusters(job_id=job.id, open_only=True), None, None
        return cls(
            driving=driving,
            job=job,
            memory=Memory.model_validate(job.memory),
            task=Task.model_validate_json(job.spec),
            needs=Needs.of(job),
            cluster=present,
            successor=following,
        )

    def save(
        self,
        *,
        after_s: float = 0.0,
        state: JobState | None = None,
        attempt: int | None = None,
        events: Sequence[NewEvent] = (),
        cluster: Cluster | None = None,
        log: tuple[int, bytes] | None = None,
        launches: Sequence[Launch] = (),
        observations: Sequence[Observation] = (),
        runs: Sequence[Run] = (),
        **memory: Unpack[Changes],
    ) -> None:
        """Write the step down, all or nothing; keyword arguments are fields of :class:`Memory` that changed.

        Raises:
            LeaseLost: if another driver has the job by now; nothing is written then.
            TypeError: for a field that there is not, which a dictionary of changes may bring.
        """
        if unknown := memory.keys() - Memory.model_fields.keys():
            raise TypeError(f"Memory has no field {', '.join(sorted(unknown))}")
        updated = self.memory.model_copy(update=dict(memory))
        self.job = self.driving.store.save_job(
            self.job,
            self.driving.holder,
            state=state,
            attempt=attempt,
            memory=updated.model_dump(mode="json"),
            result=updated.result,
            after_s=after_s,
            events=events,
            clusters=() if cluster is None else (cluster,),
            log=log,
            launches=launches,
            observations=observations,
            runs=runs,
        )
        self.memory = updated
        if cluster is not None and self.cluster is not None and cluster.attempt > self.cluster.attempt:
            self.successor = cluster
        elif cluster is not None:
            self.cluster = cluster
