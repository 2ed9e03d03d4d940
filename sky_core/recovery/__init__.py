"""Spot policies: Situation in, Decision out, pure, so that simulator and broker run the same objects."""

from sky_core.recovery.policies import make_policy
from sky_core.recovery.situation import Decision, Policy, Situation

__all__ = ["Decision", "Policy", "Situation", "make_policy"]
