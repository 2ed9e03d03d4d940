"""What a job's driver has to remember from step to step, kept in the store so that another driver can go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypedDict

from pydantic import Field

from sky_core.job.attempts import Tries
from sky_core.planner.plan import Placement, Record
from sky_core.store import Job, Result

Verdict = Literal["succeeded", "failed", "cancelled"]


class Saved(Record):
    """The newest checkpoint that was seen.

    Attributes:
        location: ``"cloud/region"`` of the bucket that has it.
        hours: What it took to save.
        seen_at: When it was first seen, seconds since the epoch; 0 where an earlier version did not say.
    """

    generation: int
    location: str
    gb: float
    hours: float
    seen_at: float = 0.0


class Promise(Record):
    """What a job that a spot policy leads is promised, and how far its work is. Times are seconds since the epoch.

    Attributes:
        since: When the promise was made.
        due: When the work has to be done; without a deadline, when the job's patience with spot is used up.
        kind: A placement of the kind of machine it is to run on.
        at_risk: Hours of work that a sudden death may take although a checkpoint was taken as often as it should be.
        saved: Hours of work that the newest checkpoint holds.
        begun: Hours of work that were done when the present attempt began.
        looked: When the present attempt was last seen running.
        changeover: The longest time from a launch to a running command so far, hours; None until one was made.
        warned: Whether the user was told that the deadline is in danger.
        hour_usd: The weight of time where there is no deadline: USD that an hour until the end is worth. None with one.
    """

    since: float
    due: float
    kind: Placement
    at_risk: float
    saved: float = 0.0
    begun: float = 0.0
    looked: float | None = None
    changeover: float | None = None
    warned: bool = False
    hour_usd: float | None = None

    @property
    def firm(self) -> bool:
        """Whether there is a deadline."""
        return self.hour_usd is None

    @property
    def work(self) -> float:
        """C(0), all of the work in hours on machines of this kind, as much as it may be."""
        return self.kind.hours_at_most


class Dismissed(Record):
    """A job that nobody wants any more, on its way to its end.

    Attributes:
        until: How long it may take for a last checkpoint, by the store's clock.
    """

    why: str
    until: float


class Headway(Record):
    """What a gang's command has said last of its progress.

    Attributes:
        done, of: How much is done, and of how much, in its own unit.
        at: When it said so, by its machine's clock…
        count: …and how many machines there were.
        since: Since when there were as many.
    """

    done: float
    of: float | None
    at: float
    count: int
    since: float


class Memory(Record):
    """The working state of one job.

    Attributes:
        placement: Where the present (or last) attempt runs.
        started: Whether the agent has been started on the present cluster.
        addresses: Public addresses of the present cluster's machines, by rank…
        members: …and their ids, once one was lost and the gang has gone on: both are "" where there is none just now.
        mend_at: When a machine for the gang is asked for next, seconds since the epoch.
        parting: Tokens of the gang's machines that are being given back.
        refused: When each market has refused the gang a machine last; of those that have given one since none.
        headway: How far the gang's command is.
        paces: Hours and units of work for each number of machines that the gang has had.
        bucket: URL of the bucket that this attempt writes to.
        checkpoint_urls: Where this and earlier attempts keep their checkpoints.
        phase: What the agent said last: setup, inputs, running, outputs, done.
        log_base: Bytes of log kept from earlier attempts.
        log_offset: Bytes of this attempt's log kept so far…
        log_offsets: …and of the log of each of its machines; a gang's lines are kept with their rank.
        heard_at: When the present attempt last answered, by the store's clock; None before it has.
        waiting_since: Since when (epoch seconds) the machines have not booted or not answered; None while they do.
        booted: How many of them ran when they were last looked at, while not all did.
        launch_errors: Launch calls in a row that ended neither in a cluster nor in a refusal.
        outlived: The attempt of which the user was told last that its reservation has ended.
        evicted: Whether the machine has been told that it will be taken back.
        accounted: Whether this attempt's data transfers have been written down.
        closing: The outcome with which the open cluster is being closed; None while it lives.
        verdict: The state the job ends in once everything is closed; None if another attempt follows.
        result: What the job will report.
        checkpoint: The newest checkpoint; None until one was taken.
        promise: Of a job that is led by a spot policy; None of any other.
        successor: The placement of the machines that are to take over, once they are asked for.
        leaving: Whether the present attempt is being ended to go on elsewhere, or to wait.
        idle: Whether the job waits for spot, by its policy's decision.
        queued: Whether it waits for machines that other jobs have.
        queue_s: Seconds that the present cluster may wait in its cloud's own queue, from its intent on; None if it is
            not asked for there. Fixed with the intent, so that whoever makes the launch asks for the same thing.
        in_queue_s: Seconds that it has waited there; None before it was seen to.
        tries: What its launches so far came to.
        close_errors: Calls in a row that could not end the open cluster.
        held_back: What kept a running job from moving, or its gang from a machine: the limit that would be exceeded.
        unwanted: Whether the user was told that nobody waits for the job.
        dismissed: Why it is being ended, if nobody wants it; None for all others.
    """

    placement: Placement | None = None
    started: bool = False
    addresses: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    mend_at: float = 0.0
    parting: tuple[str, ...] = ()
    refused: Mapping[str, float] = Field(default_factory=dict)
    headway: Headway | None = None
    paces: Mapping[int, tuple[float, float]] = Field(default_factory=dict)
    bucket: str = ""
    checkpoint_urls: tuple[str, ...] = ()
    phase: str = ""
    log_base: int = 0
    log_offset: int = 0
    log_offsets: tuple[int, ...] = ()
    heard_at: float | None = None
    waiting_since: float | None = None
    running_since: float | None = None
    booted: int = 0
    launch_errors: int = 0
    outlived: int = 0
    evicted: bool = False
    accounted: bool = False
    closing: str | None = None
    verdict: Verdict | None = None
    result: Result = Field(default_factory=lambda: Result())
    checkpoint: Saved | None = None
    promise: Promise | None = None
    successor: Placement | None = None
    leaving: bool = False
    idle: bool = False
    queued: bool = False
    queue_s: float | None = None
    in_queue_s: float | None = None
    tries: Tries = Tries()
    close_errors: int = 0
    held_back: str = ""
    unwanted: bool = False
    dismissed: Dismissed | None = None

    @property
    def kept_logs(self) -> tuple[int, ...]:
        """Bytes kept of each machine's log; of one machine what an earlier version has told of it."""
        return self.log_offsets or (self.log_offset,)

    def next_attempt(self, *, ran: bool, saved_hours: float = 0.0) -> Memory:
        """What is left of it when a new attempt begins: the log, the checkpoints, the promise, what was tried.

        Args:
            ran: Whether the command began to run in this attempt.
            saved_hours: How long it ran until its newest checkpoint.
        """
        return Memory(
            log_base=self.log_base + self.log_offset,
            placement=self.successor or self.placement,
            checkpoint_urls=self.checkpoint_urls,
            checkpoint=self.checkpoint,
            promise=self.promise and self.promise.model_copy(update={"looked": None}),
            tries=self._tries(ran, saved_hours),
            unwanted=self.unwanted,
            dismissed=self.dismissed,
            paces=self.paces,
        )

    def _tries(self, ran: bool, saved_hours: float) -> Tries:
        if self.placement is None:
            return self.tries
        generation = self.checkpoint.generation if self.checkpoint else None
        why = self.closing or "ended"
        return self.tries.after(self.placement, why, ran=ran, saved=saved_hours, generation=generation)


def placement_of(job: Job) -> Placement | None:
    """Where a job's present or last attempt runs; None before the first."""
    kept = job.memory.get("placement")
    return Placement.model_validate(kept) if kept else None


class Changes(TypedDict, total=False):
    """Fields of :class:`Memory` that a step changes: the same names and types, all optional."""

    placement: Placement | None
    started: bool
    addresses: tuple[str, ...]
    members: tuple[str, ...]
    mend_at: float
    parting: tuple[str, ...]
    refused: Mapping[str, float]
    headway: Headway | None
    paces: Mapping[int, tuple[float, float]]
    bucket: str
    checkpoint_urls: tuple[str, ...]
    phase: str
    log_base: int
    log_offset: int
    log_offsets: tuple[int, ...]
    heard_at: float | None
    waiting_since: float | None
    running_since: float | None
    booted: int
    launch_errors: int
    outlived: int
    evicted: bool
    accounted: bool
    closing: str | None
    verdict: Verdict | None
    result: Result
    checkpoint: Saved | None
    promise: Promise | None
    successor: Placement | None
    leaving: bool
    idle: bool
    queued: bool
    queue_s: float | None
    in_queue_s: float | None
    tries: Tries
    close_errors: int
    unwanted: bool
    dismissed: Dismissed | None
    held_back: str
