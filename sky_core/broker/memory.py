"""What a job's driver has to remember from step to step, kept in the store so that another driver can go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from sky_core.planner.plan import Placement, Record


class Memory(Record):
    """The working state of one job.

    Attributes:
        placement: Where the present (or last) attempt runs.
        started: Whether the agent has been started on the present cluster.
        addresses: Public addresses of the present cluster's machines, by rank.
        bucket: URL of the bucket that this attempt writes to.
        checkpoint_urls: Where this and earlier attempts keep their checkpoints.
        phase: What the agent said last: setup, inputs, running, outputs, done.
        log_base: Bytes of log kept from earlier attempts.
        log_offset: Bytes of this attempt's log kept so far.
        waiting_since: Since when (epoch seconds) the machines have not booted or not answered; None while they do.
        launch_errors: Launch calls in a row that ended neither in a cluster nor in a refusal.
        evicted: Whether the machine has been told that it will be taken back.
        accounted: Whether this attempt's data transfers have been written down.
        closing: The outcome with which the open cluster is being closed; None while it lives.
        verdict: The state the job ends in once everything is closed; None if another attempt follows.
        result: What the job will report: exit_code, error, outputs.
        policy: The recovery policy's own memory.
    """

    placement: Placement | None = None
    started: bool = False
    addresses: tuple[str, ...] = ()
    bucket: str = ""
    checkpoint_urls: tuple[str, ...] = ()
    phase: str = ""
    log_base: int = 0
    log_offset: int = 0
    waiting_since: float | None = None
    running_since: float | None = None
    launch_errors: int = 0
    evicted: bool = False
    accounted: bool = False
    closing: str | None = None
    verdict: Literal["succeeded", "failed", "cancelled"] | None = None
    result: Mapping[str, Any] = Field(default_factory=dict)
    policy: Mapping[str, Any] = Field(default_factory=dict)

    def next_attempt(self) -> Memory:
        """What is left of it when a new attempt begins: the log, the checkpoints, the policy's memory."""
        return Memory(
            log_base=self.log_base + self.log_offset,
            placement=self.placement,
            checkpoint_urls=self.checkpoint_urls,
            policy=self.policy,
        )
