"""What a policy had before it when it decided: kept beside the decision, for whoever asks why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sky_core.recovery.situation import Decision


@dataclass(frozen=True)
class Weighing:
    """One look at a job.

    Attributes:
        usd: What each decision that was open was expected to cost from then to the job's end, USD.
        up: By zone, how probable it was held that spot is there.
    """

    usd: Mapping[Decision, float]
    up: Mapping[str, float]


def called(decision: Decision) -> str:
    """A decision in words: ``wait``, ``spot aws/us-east-1a``."""
    return "wait" if decision.zone is None else f"{decision.state.replace('_', '-')} {decision.zone}"


@runtime_checkable
class Weighs(Protocol):
    """A policy that weighs its decisions by what they are expected to cost."""

    @property
    def weighed(self) -> Weighing | None:
        """The last look; None before the first, and for policies that follow a rule."""


def weighing_of(policy: object) -> Weighing | None:
    """What the policy's last decision was weighed against, if it weighs anything."""
    return policy.weighed if isinstance(policy, Weighs) else None
