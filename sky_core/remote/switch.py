"""The dead man's switch of every machine that we launch, as its request carries it."""

from __future__ import annotations

from pathlib import Path

from sky_core.clouds.base import Switch
from sky_core.config import Settings

# An agent that lives keeps its machine; when both it and its driver are gone, this is the last word. Estimates may be
# wrong, and to kill a job that goes well is worse than some hours of an idle machine: be generous.
TIMES, MORE_HOURS = 10.0, 72.0


def switch(settings: Settings, hours: float) -> Switch:
    """The switch of a machine for a task that is estimated to take so many hours."""
    program = (Path(__file__).parent / "agent/host/halting.py").read_text()
    idle = 2 * settings.boot_timeout_s  # by then the driver has either started an agent or given the machine up
    most = settings.scale.seconds(max(TIMES * hours, hours + MORE_HOURS))
    return Switch(program=program, idle_s=idle, max_s=max(most, idle))
