"""Azure's machines and groups as ours: pure functions over what its SDK tells of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sky_core.clouds.azure.errors import refusal
from sky_core.clouds.base import TAG_CLUSTER, Instance, LaunchRequest, State
from sky_core.errors import CapacityError, UnknownOutcome

NAME = "azure"
OFF = ("stopping", "stopped", "deallocating", "deallocated")

# Tags of a resource group beside those of the request: what is told of machines that no longer exist.
TAG_LAUNCHED = "skyloom-launched"
TAG_ENDED = "skyloom-ended"  # ranks of machines that we ended one by one
TAG_ARMED = "skyloom-armed"  # what ends its machines if nobody does
TAG_MARKET, TAG_TYPE, TAG_ZONE = "skyloom-market", "skyloom-type", "skyloom-zone"


def names_of(request: LaunchRequest) -> list[str]:
    """Names of the gang's machines."""
    return [f"{request.token}-{rank}" for rank in range(request.num_nodes)]


def rank_of(name: str) -> str:
    """Which of its gang a machine is, by its name."""
    return name.rpartition("-")[2]


def tags_of(request: LaunchRequest) -> dict[str, str]:
    """The tags of all that a request makes: its own, and what has to be known of machines that are no more."""
    market = "spot" if request.use_spot else "on-demand"
    zone = request.zone or request.region
    more = {TAG_CLUSTER: request.token, TAG_MARKET: market, TAG_TYPE: request.instance_type, TAG_ZONE: zone}
    return {**request.tags, **more}


def is_deleting(group: Any) -> bool:
    """Whether a resource group is on its way out."""
    return str(group.properties.provisioning_state).lower() == "deleting"


def power_of(machine: Any) -> str:
    """``running``, ``stopped``, ``deallocated``, …, or "" while there is no hardware."""
    codes = [status.code for status in machine.instance_view.statuses or []]
    return next((code.partition("/")[2] for code in codes if code.startswith("PowerState/")), "")


def is_allocated(machine: Any, *, zoned: bool) -> bool:
    """Whether a machine got hardware.

    Raises:
        CloudError: if Azure gave up; its code is the last part of ``ProvisioningState/failed/AllocationFailed``
            (https://learn.microsoft.com/en-us/azure/virtual-machines/states-billing).
    """
    if power_of(machine) in ("starting", "running"):
        return True
    for status in machine.instance_view.statuses or []:
        if status.code.lower().startswith("provisioningstate/failed"):
            error = refusal("".join(status.code.split("/")[2:]), status.message or "creation failed", zoned=zoned)
            if isinstance(error, UnknownOutcome) and power_of(machine) in OFF:  # it will not come to run any more
                raise CapacityError(str(error), scope="zone" if zoned else "region", code=error.code)
            raise error
    return str(machine.provisioning_state).lower() not in ("creating", "updating")


def state_of(machine: Any) -> State:
    """The state of a machine that Azure still knows."""
    provisioning, power = str(machine.provisioning_state).lower(), power_of(machine)
    if provisioning in ("deleting", "failed") and power != "running":
        return "stopping"
    if provisioning == "creating" or power in ("", "starting"):
        return "pending"
    return "running" if power == "running" and provisioning != "deleting" else "stopping"


def instance(id_: str, machine: Any, interface: Any) -> Instance:
    """A machine with its network interface as ours."""
    state, power, spot = state_of(machine), power_of(machine), machine.priority == "Spot"
    address = interface.properties["ipConfigurations"][0]["properties"] if interface else {}
    public = address.get("publicIPAddress", {}).get("properties", {})
    zone = f"{machine.location}-{machine.zones[0]}" if machine.zones else machine.location
    return Instance(
        id=id_,
        cloud=NAME,
        region=machine.location,
        zone=zone,
        instance_type=machine.hardware_profile.vm_size,
        use_spot=spot,
        state=state,
        ip=public.get("ipAddress"),
        private_ip=address.get("privateIPAddress"),
        launched_at=machine.time_created.timestamp() if machine.time_created else None,
        ended_at=_deallocated_at(machine),
        tags=dict(machine.tags or {}),
        reason=power if state == "stopping" else "",
        preempted=spot and power == "deallocated",  # we delete; only Azure deallocates
    )


def _deallocated_at(machine: Any) -> float | None:
    """When the machine lost its hardware: until then it was paid for, also when it was shut down inside.

    Azure tells only when its last operation was done, which is the deallocation of a machine that is deallocated.
    """
    done = "ProvisioningState/succeeded" if power_of(machine) == "deallocated" else None
    at = next((status.time for status in machine.instance_view.statuses or [] if status.code == done), None)
    return at.timestamp() if isinstance(at, datetime) else None


def remains(group: Any, id_: str, state: State, reason: str) -> Instance:
    """What a group's tags still tell of a machine that is not there."""
    tags = group.tags or {}
    return Instance(
        id=id_,
        cloud=NAME,
        region=group.location,
        zone=tags.get(TAG_ZONE),
        instance_type=tags.get(TAG_TYPE, ""),
        use_spot=tags.get(TAG_MARKET) == "spot",
        state=state,
        tags=dict(tags),
        reason=reason,
    )
