"""What the machines of a gang need to log in to each other; :mod:`sky_core.remote.agent.gang.logins` uses it there."""

from __future__ import annotations

from collections.abc import Sequence

from sky_core.clouds.userdata import public_key
from sky_core.remote.executor import JobRequest
from sky_core.ssh.machine import Machine


def logins(machines: Sequence[Machine | None], request: JobRequest) -> dict[str, object]:
    """How the machines of a gang log in to each other, as the agent reads it."""
    known = [machine for machine in machines if machine is not None]
    if len(known) < 2 or not request.gang_key:
        return {}
    peers = [
        {"address": address, "port": machine.port, "user": machine.user, "host_key": machine.host_key}
        for address, machine in zip(request.node_ips, known, strict=True)
    ]
    return {"peers": peers, "gang_key": {"private": request.gang_key, "public": public_key(request.gang_key)}}
