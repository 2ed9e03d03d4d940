"""What the machines of a gang need to log in to each other; :mod:`sky_core.remote.agent.gang.logins` uses it there."""

from __future__ import annotations

from collections.abc import Sequence

from sky_core.clouds.userdata import public_key
from sky_core.remote.executor import JobRequest
from sky_core.ssh.machine import Machine


def logins(machines: Sequence[Machine | None], request: JobRequest) -> dict[str, object]:
    """How the machines of a gang log in to each other, as the agent reads it.

    Where only some of the machines are given, the others are like them but for their address.
    """
    known = [machine for machine in machines if machine is not None]
    if len(request.node_ips) < 2 or not request.gang_key or not known:
        return {}
    peers = [
        {"rank": rank, "address": address, "port": like.port, "user": like.user, "host_key": like.host_key}
        for rank, (address, machine) in enumerate(zip(request.node_ips, machines, strict=True))
        for like in (machine or known[0],)
        if address
    ]
    return {"peers": peers, "gang_key": {"private": request.gang_key, "public": public_key(request.gang_key)}}
