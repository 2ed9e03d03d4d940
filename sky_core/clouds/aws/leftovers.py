"""What stays on AWS when machines go: volumes and interfaces that lost theirs, security groups, buckets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sky_core.clouds.aws.network import SHARED
from sky_core.clouds.aws.session import HOME_REGION, Session
from sky_core.clouds.base import TAG_OWNER, Kind, Leftover, Leftovers
from sky_core.errors import CloudError, InvalidRequest

# What has to be listed for each kind: call, its result, the id in it, and what tells that nothing holds it.
LISTS: Mapping[Kind, tuple[str, str, str, str | None]] = {
    "disk": ("describe_volumes", "Volumes", "VolumeId", "status"),
    "interface": ("describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId", "status"),
    "firewall": ("describe_security_groups", "SecurityGroups", "GroupId", None),
}
DELETIONS: Mapping[Kind, tuple[str, str]] = {
    "disk": ("delete_volume", "VolumeId"),
    "interface": ("delete_network_interface", "NetworkInterfaceId"),
    "firewall": ("delete_security_group", "GroupId"),
}
GONE = (".NotFound", "InvalidGroupId.Malformed")


def leftovers(session: Session, tags: Mapping[str, str], bucket_prefix: str) -> Leftovers:
    """All of them, in every region that the account may use; ``bucket_prefix`` is how our buckets begin."""
    looks = session.each_region(lambda region: list(_in_region(session, region, tags)), None)
    refused = dict(looks.refused)
    things = [thing for found in looks.values() for thing in found]
    try:
        with session.errors(HOME_REGION):
            buckets = session.client("s3", HOME_REGION).list_buckets().get("Buckets", [])
        named = [bucket["Name"] for bucket in buckets if bucket["Name"].startswith(f"{bucket_prefix}-")]
        things += [Leftover("bucket", name, "aws", name.removeprefix(f"{bucket_prefix}-")) for name in named]
    except CloudError as error:
        refused["s3"] = str(error)
    return Leftovers(tuple(things), refused)


def _in_region(session: Session, region: str, tags: Mapping[str, str]) -> Iterator[Leftover]:
    wanted = [
        {"Name": f"tag:{name}", "Values": [value, SHARED] if name == TAG_OWNER else [value]}
        for name, value in tags.items()
    ]
    for kind, (call, result, key, free) in LISTS.items():
        idle = [{"Name": free, "Values": ["available"]}] if free else []
        with session.errors(region):
            pages = session.client("ec2", region).get_paginator(call).paginate(Filters=wanted + idle)
            things = [thing for page in pages for thing in page[result]]
        for thing in things:
            carried = thing.get("Tags") or thing.get("TagSet") or ()  # as network interfaces have it
            shared = {"Key": TAG_OWNER, "Value": SHARED} in carried
            yield Leftover(kind, f"{region}/{thing[key]}", "aws", region, shared)


def remove(session: Session, leftover: Leftover) -> None:
    """Delete one; fine if it is gone.

    Raises:
        InvalidRequest: if it holds data or is in use.
    """
    if leftover.holds_data:
        raise InvalidRequest(f"{leftover.id} holds data: delete it by hand")
    call, parameter = DELETIONS[leftover.kind]
    _, _, id_ = leftover.id.partition("/")
    client: Any = session.client("ec2", leftover.region)
    try:
        with session.errors(leftover.region):
            getattr(client, call)(**{parameter: id_})
    except InvalidRequest as error:
        if not error.code.endswith(GONE):
            raise
