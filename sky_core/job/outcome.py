"""What a step of a job came to: all that is to be written down, at once or not at all."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sky_core.events import Happening
from sky_core.job.memory import Memory
from sky_core.store import Cluster, JobState, Launch, Observation, Run, StoredPlan


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a step came to.

    Attributes:
        memory: The job's memory from here on.
        after_s: Seconds until the job's next step is due.
        state: The job's new state; None if it stays.
        attempt: The number of the attempt that is intended; None if none is.
        clusters: Those that are new or have changed.
        log: Bytes of the job's log, and their offset in all of it.
        launches: Requests for machines that are owed from here on, or that are settled.
        observations: What the tracker learns.
        runs: What the estimates learn.
        plan: The next version of the plan that the job belongs to.
        takes: The kept cluster whose machines the job takes, as it has ended by that.
    """

    memory: Memory
    after_s: float = 0.0
    state: JobState | None = None
    attempt: int | None = None
    events: tuple[Happening, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    log: tuple[int, bytes] | None = None
    launches: tuple[Launch, ...] = ()
    observations: tuple[Observation, ...] = ()
    runs: tuple[Run, ...] = ()
    plan: StoredPlan | None = None
    takes: Cluster | None = None

    def then(self, later: Outcome | None) -> Outcome:
        """This, and what was decided after it."""
        if later is None:
            return self
        assert self.log is None or later.log is None, "one look at the log in a step"
        changed = {cluster.token: cluster for cluster in (*self.clusters, *later.clusters)}
        return Outcome(
            memory=later.memory,
            after_s=later.after_s,
            state=later.state or self.state,
            attempt=self.attempt if later.attempt is None else later.attempt,
            events=(*self.events, *later.events),
            clusters=tuple(changed.values()),
            log=self.log or later.log,
            launches=(*self.launches, *later.launches),
            observations=(*self.observations, *later.observations),
            runs=(*self.runs, *later.runs),
            plan=later.plan or self.plan,
            takes=later.takes or self.takes,
        )

    def intended_at(self, moment: float) -> Outcome:
        """The same with another time (seconds since the epoch) for what is intended in it."""
        clusters = (replace(c, intended_at=moment) if c.attempt == self.attempt else c for c in self.clusters)
        asked = {cluster.token for cluster in self.clusters if cluster.attempt == self.attempt}
        launches = (replace(owed, asked_at=moment) if owed.token in asked else owed for owed in self.launches)
        return replace(self, clusters=tuple(clusters), launches=tuple(launches))

    def has_ended(self, cluster: Cluster) -> bool:
        """Whether that cluster's end is part of it, or that it is kept: the job has done with it."""
        over = ("ended", "kept")
        return any(changed.token == cluster.token and changed.state in over for changed in self.clusters)
