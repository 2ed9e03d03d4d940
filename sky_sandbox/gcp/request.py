"""What an ``instances.insert`` asks for: the checks that Compute Engine makes at once, the machine that results, and
the words of what is refused later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sky_sandbox.gcp import flex, types
from sky_sandbox.gcp.wire import ApiError, Call, Resource, invalid, not_found, numeric_id
from sky_sandbox.images import images
from sky_sandbox.machines.record import Cause, Machine, Market
from sky_sandbox.world import World

NAME = re.compile(r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
LABEL_KEY = re.compile(r"^[a-z][a-z0-9_-]{0,62}$")
LABEL_VALUE = re.compile(r"^[a-z0-9_-]{0,63}$")
IMAGE = re.compile(r"projects/(?P<project>[^/]+)/global/images/(?:family/(?P<family>[^/]+)|(?P<name>[^/]+))$")
VERSION = re.compile(r"-v\d{8}$")  # an image is named after its family and the day it was made


def about(call: Call) -> dict[str, str]:
    """What faults can match a call by, and what the audit log says of it. The token is the instance's name."""
    zone = call.path.get("zone", "")
    found = {"zone": zone, "region": types.ZONES.get(zone, "")}
    found["token"] = call.body.get("name") or call.path.get("name", "")
    if "machineType" in call.body:
        found["type"] = call.body["machineType"].rsplit("/", 1)[-1]
        found["market"] = _market(call.body)
    return found


def requested_machine(world: World, project: str, zone: str, body: Resource) -> Machine:
    """The machine that an insert asks for.

    Raises:
        ApiError: where Compute Engine would refuse the call.
    """
    region = types.ZONES.get(zone)
    if region is None:
        raise invalid("zone", zone, "Unknown zone.")
    name = body.get("name", "")
    if not NAME.match(name):
        raise invalid("resource.name", name, "Must be a match of regex '[a-z]([-a-z0-9]*[a-z0-9])?'")
    type_name = body.get("machineType", "").rsplit("/", 1)[-1]
    shape = types.machine_type(type_name)
    if shape is None:
        raise not_found(f"projects/{project}/zones/{zone}/machineTypes/{type_name}")
    accelerator, count = _accelerators(project, zone, shape, body)
    _check_scheduling(body.get("scheduling", {}), bool(accelerator))
    if flex.is_flex(body):
        flex.check(body, type_name)
    check_labels(body.get("labels", {}))
    image = _check_image(project, body)
    metadata = {item["key"]: item["value"] for item in body.get("metadata", {}).get("items", ())}
    return Machine(
        id=f"{zone}/{name}",
        cloud="gcp",
        region=region,
        zone=zone,
        type=type_name,
        market=_market(body),
        vcpus=shape.vcpus,
        tags=dict(body.get("labels", {})),
        ip=world.address(),
        user_data=metadata.get("user-data", ""),
        created_at=world.clock(),
        pools=types.pools(accelerator, count),
        extra={"project": project, "name": name, "numeric_id": numeric_id(), "resource": body, "image": image},
        rests=_rests(body.get("scheduling", {})),
        public=any(interface.get("accessConfigs") for interface in body.get("networkInterfaces", ())),
    )


def _rests(scheduling: Resource) -> frozenset[Cause]:
    """An instance that stops in any way stays, TERMINATED, but a spot one that is to be deleted when preempted."""
    vanishes = scheduling.get("instanceTerminationAction") == "DELETE"
    return frozenset({"self", "killed", "failed"} if vanishes else {"self", "killed", "failed", "preempted"})


def check_labels(labels: Mapping[str, str]) -> None:
    """https://cloud.google.com/compute/docs/labeling-resources#requirements"""
    for key, value in labels.items():
        if not LABEL_KEY.match(key):
            raise invalid("resource.labels", key, f"Label key '{key}' violates format constraints.")
        if not LABEL_VALUE.match(value):
            raise invalid("resource.labels", value, f"Label value '{value}' violates format constraints.")


def _is_spot(scheduling: Resource) -> bool:
    return scheduling.get("provisioningModel") == "SPOT" or bool(scheduling.get("preemptible"))


def _market(body: Resource) -> Market:
    return "spot" if _is_spot(body.get("scheduling", {})) else "on-demand"


def _accelerators(project: str, zone: str, shape: types.MachineType, body: Resource) -> tuple[str, int]:
    """The catalog's name and the number of the machine's accelerators, its own or attached ones."""
    for item in body.get("guestAccelerators", ()):
        google = item["acceleratorType"].rsplit("/", 1)[-1]
        if google not in types.ACCELERATORS:
            raise not_found(f"projects/{project}/zones/{zone}/acceleratorTypes/{google}")
        if google in types.ATTACHABLE and not shape.name.startswith("n1-"):
            why = f"[{shape.name}, {google}] features are not compatible for creating instance."
            raise ApiError(400, "badRequest", why)
        return types.ACCELERATORS[google], int(item["acceleratorCount"])
    return shape.accelerator, shape.gpus


def _check_scheduling(scheduling: Resource, has_gpu: bool) -> None:
    if _is_spot(scheduling) and scheduling.get("automaticRestart"):
        raise invalid("scheduling.automaticRestart", True, "Scheduling must have automaticRestart false for spot VMs.")
    if has_gpu and not _is_spot(scheduling) and scheduling.get("onHostMaintenance", "MIGRATE") != "TERMINATE":
        raise ApiError(400, "badRequest", "Instances with guest accelerators do not support live migration.")
    if "maxRunDuration" in scheduling and "instanceTerminationAction" not in scheduling:
        raise invalid("scheduling.maxRunDuration", scheduling["maxRunDuration"], "Needs instanceTerminationAction.")


def _check_image(project: str, body: Resource) -> str:
    """The name, in our table, of the image that is booted."""
    booted = ""
    for disk in body.get("disks", ()):
        source = disk.get("initializeParams", {}).get("sourceImage", "")
        match = IMAGE.search(source)
        if match is None:
            raise invalid("resource.disks[0].initializeParams.sourceImage", source, "The URL is malformed.")
        publisher, family = match["project"], match["family"] or VERSION.sub("", match["name"])
        name = f"projects/{publisher}/global/images/family/{family}"
        if publisher != project and name not in images("gcp"):
            raise not_found(match[0])
        booted = booted or name
    return booted


def no_accelerators(machine: Machine) -> tuple[Resource, tuple[int, str]]:
    """The error, and the HTTP status, of an operation for which the project has a quota of none."""
    metric = f"NVIDIA_{machine.pools[0]}_GPUS"
    message = f"Quota '{metric}' exceeded.  Limit: 0.0 in region {machine.region}."
    return {"code": "QUOTA_EXCEEDED", "message": message}, (403, "FORBIDDEN")


def stockout(machine: Machine) -> tuple[Resource, tuple[int, str]]:
    """Those of one for which its zone has no room."""
    place = f"projects/{machine.extra['project']}/zones/{machine.zone}"
    message = (
        f"The zone '{place}' does not have enough resources available to fulfill the request.  "
        "Try a different zone, or try again later."
    )
    return {"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": message}, (503, "SERVICE UNAVAILABLE")
