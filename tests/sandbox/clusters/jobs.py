"""Jobs of gangs with an engine, for a park's machines."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from sky_core.remote.executor import JobRequest
from sky_core.spec.engine import parse_engine
from sky_core.ssh.machine import Machine

numbers = itertools.count(1)


def job(machines: Sequence[Machine], engine: Any, **about: Any) -> JobRequest:
    """A job of all these machines, as the driver makes it of ``Task(engine=…)``."""
    options = parse_engine(engine).model_dump(mode="json")
    ips = tuple(machine.ip for machine in machines)
    return JobRequest(f"cluster-{next(numbers)}", 1, "aws", engine=options, node_ips=ips, **about)
