"""The dead man's switch of every machine that we launch, as its request carries it."""

from __future__ import annotations

import importlib

from sky_core.clouds.base import Switch
from sky_core.config import Settings
from sky_core.facts import facts_of
from sky_core.remote.bundle import source_of

# An agent that lives keeps its machine; when both it and its driver are gone, this is the last word. Estimates may be
# wrong, and to kill a job that goes well is worse than some hours of an idle machine: be generous.
TIMES, MORE_HOURS = 10.0, 72.0


def switch(settings: Settings, cloud: str, hours: float) -> Switch:
    """The switch of a cloud's machine for a task that is estimated to take so many hours."""
    idle = 2 * settings.boot_timeout_s  # by then the driver has either started an agent or given the machine up
    most = settings.scale.seconds(max(TIMES * hours, hours + MORE_HOURS))
    return Switch(program=way_out(cloud), idle_s=idle, max_s=max(most, idle))


def way_out(cloud: str) -> str:
    """The source of the module with which a cloud's machine ends its bill by itself, "" where powering off does."""
    module = facts_of(cloud).on_machine
    return source_of(module) if module and hasattr(importlib.import_module(module), "end_bill") else ""
