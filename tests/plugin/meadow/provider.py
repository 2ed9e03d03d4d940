"""Meadow rents out machines of AWS under names and prices of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sky_core.clouds.aws.provider import Aws
from sky_core.clouds.base import Found, Instance, LaunchRequest, Leftover, Leftovers, Loan, Reach, Storage
from sky_core.config import CloudConfig
from sky_core.errors import InvalidRequest

TYPES = {"calf": "t3.small"}
REGIONS = {"north": "us-east-1"}
ZONES = {"north-1": "us-east-1a"}


class Meadow:
    """Keeps :class:`sky_core.clouds.Cloud`: each call in the other cloud's words, each answer in ours."""

    name = "meadow"

    def __init__(self, config: CloudConfig) -> None:
        self._theirs = Aws(config)
        self.settle_s = self._theirs.settle_s
        self._bucket = config.bucket or ""

    def check(self) -> None:
        self._theirs.check()

    def launch(self, request: LaunchRequest) -> list[Instance]:
        if request.instance_type not in TYPES:
            raise InvalidRequest(f"Meadow sells {', '.join(TYPES)}, and no {request.instance_type}")
        theirs = replace(
            request,
            instance_type=TYPES[request.instance_type],
            region=REGIONS[request.region],
            zone=ZONES[request.zone or "north-1"],
        )
        return [_ours(instance) for instance in self._theirs.launch(theirs)]

    def find(
        self, tags: Mapping[str, str], *, regions: Sequence[str] | None = None, instance_type: str | None = None
    ) -> Found:
        there = list(REGIONS.values()) if regions is None else [REGIONS[region] for region in regions]
        found = self._theirs.find(tags, regions=there)
        return Found(tuple(map(_ours, found.instances)), found.unreachable)

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        return [_ours(instance) for instance in self._theirs.describe(ids)]

    def terminate(self, ids: Sequence[str]) -> None:
        self._theirs.terminate(ids)

    def leftovers(self, tags: Mapping[str, str]) -> Leftovers:
        return Leftovers(())

    def remove(self, leftover: Leftover) -> None:
        self._theirs.remove(leftover)

    def storage(self, region: str) -> Storage:
        return Storage(self._bucket, region)

    def storage_options(self) -> Mapping[str, object]:
        return {}

    def lend(self, reaches: Sequence[Reach], machine: str) -> Loan:
        return Loan({})


def _ours(instance: Instance) -> Instance:
    def back(names: Mapping[str, str], name: str | None) -> str:
        return next((ours for ours, theirs in names.items() if theirs == name), name or "")

    return replace(
        instance,
        cloud="meadow",
        region=back(REGIONS, instance.region),
        zone=back(ZONES, instance.zone) or None,
        instance_type=back(TYPES, instance.instance_type),
    )
