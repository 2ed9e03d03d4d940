"""What was obtainable lately: capacity, preemptions, spot lifetimes, and what they make a spot hour cost."""

from sky_core.tracker.availability import availability
from sky_core.tracker.beliefs import Offering
from sky_core.tracker.blocked import Blocked, blocked
from sky_core.tracker.cost import checkpoint_interval, expected_overhead
from sky_core.tracker.tracker import Tracker, offering_of

__all__ = [
    "Blocked",
    "Offering",
    "Tracker",
    "availability",
    "blocked",
    "checkpoint_interval",
    "expected_overhead",
    "offering_of",
]
