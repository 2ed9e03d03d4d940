"""One step of one job: what it works with, and how what it came to is put together."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Unpack

from sky_core.clouds import Cloud, connect
from sky_core.clouds.credentials import reachable
from sky_core.config import Settings
from sky_core.driver.executors import Executors
from sky_core.driver.inquiries import Inquiries
from sky_core.driver.lead.berths import Pilot
from sky_core.driver.stages.hearing import Hearing
from sky_core.driver.telling.herald import Herald
from sky_core.events import Happening
from sky_core.job.attempts import lately_refused
from sky_core.job.memory import Changes, Memory
from sky_core.job.needs import Needs
from sky_core.job.outcome import Outcome
from sky_core.planner.capacity import full, pools, taken
from sky_core.planner.market import current_market
from sky_core.planner.plan import Block, Plan
from sky_core.planner.planning import Market
from sky_core.spec import Pipeline, Task
from sky_core.store import Cluster, Job, JobState, Launch, Observation, Run, Store, StoredPlan

USABLE_S = 60.0  # for which it is believed which clouds can be used: credentials may come and go


class Clouds:
    """Connections to the clouds, made on first use: SDKs are slow to import, and most runs need only some.

    Asking for a cloud raises :class:`~sky_core.errors.NotConnected` if it cannot be connected from here.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clouds: dict[str, Cloud] = {}
        self._lock = threading.Lock()
        self._usable: tuple[float, frozenset[str]] | None = None

    def usable(self) -> frozenset[str]:
        """The clouds that can be used from this host, as far as can be told without asking them."""
        now, known = time.monotonic(), self._usable
        if known is None or now - known[0] > USABLE_S:
            known = self._usable = (now, reachable(self._settings))
        return known[1]

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
        ordered: Tokens of clusters whose end it has written down as ordered and not ordered yet, likewise.
        renew_at: By job id, when what it has lent its machines is to be lent anew, seconds since the epoch.
        resize_at: By job id, when it is looked at next how many machines its elastic gang should have, likewise.
        knock_at: By token, when a machine that is to join a gang is tried next, on the monotonic clock.
        ways: By ``proxy_command``, when it was last seen to work, likewise.
        purse: Held while an intent is written down.
        herald: Told of what was written down.
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
    ordered: dict[str, int] = field(default_factory=dict)
    renew_at: dict[str, float] = field(default_factory=dict)
    resize_at: dict[str, float] = field(default_factory=dict)
    knock_at: dict[str, float] = field(default_factory=dict)
    ways: dict[str, float] = field(default_factory=dict)
    purse: threading.Lock = field(default_factory=threading.Lock)
    herald: Herald = field(default_factory=Herald)

    def forget(self, job_id: str) -> None:
        """What is known of a job that is over."""
        for known in (self.pilots, self.renew_at, self.resize_at):
            known.pop(job_id, None)
        self.hearing.forget(job_id)


@dataclass(frozen=True)
class Step:
    """One job as a step finds it. What the step comes to is an :class:`Outcome`, and is written down once.

    Attributes:
        needs: What it brought from its submitter; None from an earlier version.
        cluster: Where the job is, or is going to be; None between two attempts.
        successor: The cluster that takes over from ``cluster`` once it has ended; None unless the job moves.
        mends: Machines in the place of those that ``cluster`` has lost (:mod:`sky_core.driver.gangs.mending`).
    """

    driving: Driving
    job: Job
    memory: Memory
    task: Task
    needs: Needs | None = None
    cluster: Cluster | None = None
    successor: Cluster | None = None
    mends: tuple[Cluster, ...] = ()

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
        vain = (*self.memory.tries.blocks(), *self.refused_itself(self.settings.blocked_ttl_s))
        return replace(market, blocked=(*market.blocked, *vain, *busy))

    def refused_itself(self, within_s: float) -> list[Block]:
        """Where a job that waits in queues was given nothing so lately; of any other the tracker knows all."""
        if not any(wanted.queue for wanted in self.task.resources.alternatives):
            return []
        return lately_refused(self.driving.store.clusters(job_id=self.job.id), time.time() - within_s)

    @classmethod
    def load(cls, driving: Driving, job: Job) -> Step:
        """The job with its open clusters, if it has any."""
        memory, there = Memory.model_validate(job.memory), driving.store.clusters(job_id=job.id, open_only=True)
        clusters = [cluster for cluster in there if not cluster.mends]
        present = next(iter(clusters), None)
        following = clusters[1] if len(clusters) > 1 else None
        if memory.successor is not None and present is not None and present.attempt == job.attempt:
            present, following = None, present  # the one that it takes over from has ended already
        return cls(
            driving=driving,
            job=job,
            memory=memory,
            task=Task.model_validate_json(job.spec),
            needs=Needs.of(job),
            cluster=present,
            successor=following,
            mends=tuple(cluster for cluster in there if cluster.mends),
        )

    def comes_to(
        self,
        *,
        after_s: float = 0.0,
        state: JobState | None = None,
        attempt: int | None = None,
        events: Sequence[Happening] = (),
        cluster: Cluster | None = None,
        log: tuple[int, bytes] | None = None,
        launches: Sequence[Launch] = (),
        observations: Sequence[Observation] = (),
        runs: Sequence[Run] = (),
        plan: StoredPlan | None = None,
        **memory: Unpack[Changes],
    ) -> Outcome:
        """What the step has come to; the other keyword arguments are fields of :class:`Memory` that change."""
        return Outcome(
            memory=self.memory.model_copy(update=dict(memory)),
            after_s=after_s,
            state=state,
            attempt=attempt,
            events=tuple(events),
            clusters=() if cluster is None else (cluster,),
            log=log,
            launches=tuple(launches),
            observations=tuple(observations),
            runs=tuple(runs),
            plan=plan,
        )

    def after(self, outcome: Outcome) -> Step:
        """The step as far as it has come, for what is decided next."""
        changed = {cluster.token: cluster for cluster in outcome.clusters}
        present, following = (
            None if cluster is None else changed.get(cluster.token, cluster)
            for cluster in (self.cluster, self.successor)
        )
        mends = tuple(changed.get(mend.token, mend) for mend in self.mends)
        return replace(self, memory=outcome.memory, cluster=present, successor=following, mends=mends)
