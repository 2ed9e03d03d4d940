"""What the store keeps, as plain records. Times are seconds since the epoch, durations hours, money USD."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from sky_core.errors import Scope
    from sky_core.events import EventKind, Happening
    from sky_core.store.results import Result

JobState = Literal["submitted", "provisioning", "running", "recovering", "stopping", "succeeded", "failed", "cancelled"]
STATES: tuple[JobState, ...] = get_args(JobState)
TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
LIVE = tuple(state for state in STATES if state not in TERMINAL)
ClusterState = Literal["intended", "launched", "kept", "refused", "ended"]
OPEN: tuple[ClusterState, ...] = ("intended", "launched", "kept")  # in which there may be machines
MEND, LOST = "-mend-", "-lost-"  # in tokens: a machine in the place of one that a gang has lost; and that one
KEPT_MARGIN_S = 60.0  # by which a machine outlives its keeping: who takes it at the last moment gets there in time
Market = Literal["spot", "on-demand"]
Seen = Literal["launched", "capacity", "quota", "auth", "invalid", "unclear", "unreachable", "preempted", "released"]


@dataclass(frozen=True)
class StoredPlan:
    """One version of a plan, counted from 1: the pipeline that was planned and its plan, both as JSON."""

    version: int
    pipeline: str
    plan: str


def _nothing_yet() -> Result:
    return {}


@dataclass(frozen=True)
class Job:
    """One submitted task and how far it is.

    Attributes:
        key: What makes ``submit`` idempotent; unique.
        plan_key: The plan it belongs to; ``task`` is its name there.
        spec: The :class:`~sky_core.spec.Task` as JSON.
        owner: The engine's try that may cancel it, or None.
        attempt: Number of the current (or last) cluster, from 1; 0 before the first.
        memory: The driver's working state; only the holder of the lease writes it.
        result: What came of it, once terminal.
        wake_at: When it wants to be advanced next, by the store's own clock (``Store.now``).
        lease_epoch: How often its lease was taken away or given up: what the holder's writes are fenced by.
        needs: What was fixed at submission (:class:`sky_core.job.needs.Needs`); empty from an earlier version.
        profile: The settings' profile that it was submitted under; None from an earlier version.
        key_id: The team key that a driver has to have; None from an earlier version.
    """

    id: str
    key: str
    plan_key: str
    task: str
    spec: str
    state: JobState
    owner: str | None
    attempt: int
    created_at: float
    updated_at: float
    wake_at: float
    cancel_reason: str | None
    memory: Mapping[str, object] = field(default_factory=dict)
    result: Result = field(default_factory=_nothing_yet)
    needs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    profile: str | None = None
    key_id: str | None = None
    lease_epoch: int = 0

    @property
    def over(self) -> bool:
        """Whether the job has reached a terminal state (its machines are gone by then)."""
        return self.state in TERMINAL

    def lease(self, holder: str) -> Lease:
        """The lease that ``holder`` had when this record was read, if it had it."""
        return Lease(self.id, holder, self.lease_epoch)


class JobName(NamedTuple):
    """What a job is called, without all that its driver remembers."""

    id: str
    plan_key: str
    task: str


class JobLine(NamedTuple):
    """A job as listings show it: fields of :class:`Job`."""

    id: str
    plan_key: str
    task: str
    state: JobState
    attempt: int
    created_at: float
    updated_at: float
    profile: str | None
    key_id: str | None

    @property
    def over(self) -> bool:
        """Whether the job has reached a terminal state."""
        return self.state in TERMINAL


class RunLine(NamedTuple):
    """The jobs of one plan, counted. Tasks that have no job yet are not.

    Attributes:
        key: The plan's.
        began: When its first job was submitted.
        changed: When one of its jobs changed last.
        live, failed: How many of its jobs are not over, and have failed or were cancelled.
    """

    key: str
    began: float
    changed: float
    jobs: int
    live: int
    failed: int


@dataclass(frozen=True)
class Lease:
    """The right to write on behalf of a job. It ends when somebody else takes the job or ``holder`` lets go of it."""

    job_id: str
    holder: str
    epoch: int


@dataclass(frozen=True)
class Reach:
    """Which jobs a driver may have: those of its profile whose machines and secrets its keys open.

    Jobs that an earlier version submitted say neither; any driver may have them.
    """

    profile: str
    key_id: str


@dataclass(frozen=True)
class Cluster:
    """What a job has of machines: first the intent to launch them (written before the call), then the outcome.

    Machines that are kept when their job is over, and that another job takes, are its cluster from then on: the time
    of each is on its own bill.

    Attributes:
        token: The idempotency token of its launch, and the tag that its cloud knows it by…
        launched_as: …unless its machines were launched for another job: then the token of that.
        price: USD per hour and machine, as the plan had it.
        instance_ids: What the cloud gave; empty while only intended.
        outcome: Why it ended or was refused: ``succeeded``, ``failed``, ``preempted``, ``capacity``, ``quota``, …
        started_at, stopped_at: When the bill began and ended: the cloud's own times of the machines' start and end
            where it tells them, else when they were last seen not to run yet, and when their end was ordered.
        kept_as: The name under which its machines are kept, or were; None of those that never were.
        kept_at: Since when they have been idle.
        kept_until: When that ends, by the store's own clock (``Store.now``); written down before they are kept.
        reservation: What its launch names to get into capacity that is reserved; None for what is sold to all.
        reserved_until: When the reservation ends and its machines go on; None where it does not, or takes them along.
        price_after: What they cost from then on, USD per hour and machine: the price on demand; None if not known.
    """

    token: str
    job_id: str
    attempt: int
    state: ClusterState
    cloud: str
    region: str
    zone: str | None
    instance_type: str
    use_spot: bool
    num_nodes: int
    price: float
    host_key: str
    intended_at: float
    launched_at: float | None = None
    ended_at: float | None = None
    instance_ids: tuple[str, ...] = ()
    outcome: str = ""
    accelerator: str | None = None
    started_at: float | None = None
    stopped_at: float | None = None
    launched_as: str | None = None
    kept_as: str | None = None
    kept_at: float | None = None
    kept_until: float | None = None
    reservation: str | None = None
    reserved_until: float | None = None
    price_after: float | None = None

    @property
    def gone_by(self) -> float:
        """By when its machines have ended themselves where they are kept, whoever is there to see it; else never."""
        return self.kept_until + KEPT_MARGIN_S if self.state == "kept" and self.kept_until is not None else math.inf

    def usd_per_hour(self, now: float) -> float:
        """What its machines cost then, all of them, as far as they may exist."""
        return self.price_at(now) * self.num_nodes if self.open and now < self.gone_by else 0.0

    def price_at(self, moment: float) -> float:
        """USD per hour and machine then."""
        over = self.reserved_until is not None and moment >= self.reserved_until
        return self.price_after if over and self.price_after is not None else self.price

    @property
    def tag(self) -> str:
        """What its cloud knows its machines by."""
        return self.launched_as or self.token

    @property
    def mends(self) -> bool:
        """Whether it is a machine in the place of one that its gang has lost."""
        return MEND in self.token

    @property
    def open(self) -> bool:
        """Whether there may be machines of it."""
        return self.state in OPEN

    @property
    def market(self) -> Market:
        """The market that its machines are bought on."""
        return "spot" if self.use_spot else "on-demand"

    @property
    def bought(self) -> Literal["spot", "on-demand", "reserved"]:
        """How its machines are paid."""
        return "reserved" if self.reservation else self.market

    @property
    def place(self) -> str:
        """``cloud/zone``, or its region where zones have no names."""
        return f"{self.cloud}/{self.zone or self.region}"


@dataclass(frozen=True)
class Launch:
    """One request for machines, owed until it is known what came of it. Times are wall-clock.

    Attributes:
        token: That of the cluster; what the cloud knows the machines by.
        asked_at: When it was first going to be made; written down before it is.
        settled_at: When it was accounted for: its machines are on record, or ended, or there never were any.
        note: How it was settled.
    """

    token: str
    job_id: str
    cloud: str
    region: str
    zone: str | None
    asked_at: float
    settled_at: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Interest:
    """Somebody waits for a job.

    Attributes:
        who: Names the one who waits, unique among those of the job.
        how: How to ask him whether he still does.
        seen_at: When he last said so, by the store's own clock (``Store.now``).
    """

    job_id: str
    who: str
    how: Mapping[str, Any]
    seen_at: float


@dataclass(frozen=True)
class Event:
    """One fact of a job's life, never changed afterwards: the truth for bills, timelines and history.

    Attributes:
        kind: A later version may have written one that this one has no words for.
        data: As the store has it; ``what`` is the same with types.
    """

    id: int
    job_id: str
    at: float
    kind: EventKind
    data: Mapping[str, object]

    @property
    def what(self) -> Happening | None:
        """What has happened; None if another version wrote it in a way that this one cannot read."""
        from sky_core.events import read  # which listings come without

        return read(self.kind, self.data)


@dataclass(frozen=True)
class Observation:
    """What a cloud let us have, or not: the tracker's raw material.

    Attributes:
        kind: ``launched``, ``capacity`` (refused), ``quota``, ``auth``, ``unreachable`` (booted, but silent),
            ``preempted``, ``released`` (ended by us).
        scope: How far a refusal reaches.
        hours: Lifetime of the machine for ``preempted`` and ``released``; for ``capacity`` how long it was waited for
            in its cloud's own queue, None where it was refused at once.
        accelerator: Its name; the same instance type comes with and without on GCP.
        reservation: The one that was asked for, None of what is sold to all.
        num_nodes: How many machines were asked for at once.
        login: Whose ``launched`` or ``auth`` it was, as ``clouds.credentials.login_of`` names it; None if it is all the
            same.
    """

    at: float
    cloud: str
    region: str
    zone: str | None
    instance_type: str
    market: Market
    kind: Seen
    scope: Scope = "zone"
    hours: float | None = None
    accelerator: str | None = None
    login: str | None = None
    reservation: str | None = None
    num_nodes: int = 1


@dataclass(frozen=True)
class Run:
    """One finished task: what the estimates learn from. ``hours`` is time on the machine without boot and set-up."""

    at: float
    pipeline: str
    task: str
    cloud: str
    region: str
    instance_type: str
    accelerator: str | None
    accelerator_count: float
    use_spot: bool
    hours: float
    input_gb: float
