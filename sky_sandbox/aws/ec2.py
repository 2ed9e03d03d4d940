"""EC2 instances that are the world's machines: moto's instance backend, with what it lacks.

The world is the only truth about a machine's state; :meth:`Ec2.refresh` brings moto's record up to date and is
called before each API call. moto keeps its state in globals, hence one :class:`Ec2` per process.
"""

from __future__ import annotations

import os
import threading
import uuid
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"  # 15 MB per region; read when a region is first used

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2 import utils as ec2_utils
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.instances import Instance, InstanceBackend, Reservation, StateReason
from moto.ec2.models.security_groups import SecurityGroupRule

from sky_sandbox.accounts import OPT_IN
from sky_sandbox.aws.refusal import AwsError
from sky_sandbox.aws.reservations import BLOCK, TARGET, enter
from sky_sandbox.aws.types import InstanceType, instance_type
from sky_sandbox.machines.record import Machine, Market
from sky_sandbox.world import Refused, World

ACCOUNT = DEFAULT_ACCOUNT_ID
DEFAULT_TOKEN = "ABCDE"  # noqa: S105 - what moto puts where a request has no ClientToken

STATES = {
    "pending": ("pending", 0),
    "running": ("running", 16),
    "stopping": ("shutting-down", 32),
    "off": ("stopped", 80),
}
REASONS = {  # why a machine ended -> code and message of EC2's StateReason
    "user": ("Client.UserInitiatedShutdown", "User initiated shutdown"),
    "self": ("Client.InstanceInitiatedShutdown", "Instance initiated shutdown"),
    "preempted": ("Server.SpotInstanceTermination", "Spot instance termination"),
    "killed": ("Server.InternalError", "Internal error"),
    "failed": ("Server.InternalError", "Internal error on launch"),
    # No code is documented for the end of a Capacity Block: one that nobody can know.
    "expired": ("Server.CapacityBlockEnded", "The Capacity Block is about to end"),
}


class Ec2:
    """Instances of all regions over a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lock = threading.RLock()
        self._launches: dict[tuple[str, str], tuple[Any, Reservation]] = {}  # (region, ClientToken) -> (what, whom)
        world.gates["aws"] = self.lets_in
        run, terminate = InstanceBackend.run_instances, InstanceBackend.terminate_instances
        every = InstanceBackend.all_reservations

        def run_instances(backend: EC2Backend, *arguments: Any, **options: Any) -> Reservation:
            reservation: Reservation = self._run(run, backend, *arguments, **options)
            return reservation

        def terminate_instances(backend: EC2Backend, instance_ids: list[str]) -> Any:
            ended = terminate(backend, instance_ids)
            for instance_id in instance_ids:
                self.world.stop(instance_id, "user")
            return ended

        def all_reservations(backend: InstanceBackend, filters: Any = None) -> list[Reservation]:
            return self._seen(every(backend, filters))

        regions = EC2Backend.describe_regions

        def describe_regions(backend: EC2Backend, *arguments: Any) -> Any:
            found = regions(backend, *arguments)
            return found if self.world.account.opted_in else [one for one in found if one.name not in OPT_IN]

        EC2Backend.describe_regions = describe_regions  # type: ignore[method-assign, assignment]
        # What EC2 finds instances by, whatever the call.
        InstanceBackend.all_reservations = all_reservations  # type: ignore[method-assign, assignment]
        # Covers RunInstances, CreateFleet and RequestSpotInstances alike.
        InstanceBackend.run_instances = run_instances  # type: ignore[method-assign, assignment]
        InstanceBackend.terminate_instances = terminate_instances  # type: ignore[method-assign, assignment]
        ec2_utils.filter_dict_attribute_mapping["client-token"] = "client_token"  # moto lacks the filter

    def _run(
        self, run: Any, backend: EC2Backend, image: str, count: int, data: Any, groups: Any, **options: Any
    ) -> Any:
        kind = instance_type(options.get("instance_type", ""))
        if kind is None:
            raise AwsError("InvalidParameterValue", f"Invalid value '{options.get('instance_type')}' for InstanceType.")
        if image not in backend.amis:
            raise AwsError("InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist")
        token = options.get("client_token", DEFAULT_TOKEN)
        asked = (options.get("placement"), options.get("instance_market_options"), TARGET.get())
        what = (image, count, kind.name, *asked, str(data))
        with self.lock:
            if token != DEFAULT_TOKEN and (backend.region_name, token) in self._launches:
                before, reservation = self._launches[backend.region_name, token]
                if before != what:
                    raise AwsError(
                        "IdempotentParameterMismatch",
                        "Arguments on this idempotent request are inconsistent with arguments used in previous "
                        "request(s).",
                    )
                return reservation
            reservation = self._launch(run, backend, kind, image, count, data, groups, **options)
            self._launches[backend.region_name, token] = (what, reservation)
            return reservation

    def _launch(
        self,
        run: Any,
        backend: EC2Backend,
        kind: InstanceType,
        image: str,
        count: int,
        data: Any,
        groups: Any,
        **options: Any,
    ) -> Reservation:
        block = options.get("instance_market_options") == BLOCK
        if block:
            options["instance_market_options"] = {}  # moto takes all markets for spot
        market: Market = "spot" if options.get("instance_market_options") or options.get("lifecycle") else "on-demand"
        if subnet := _subnet(options):
            options["placement"] = _in_zone_of(backend, subnet, options.get("placement"))
            _in_network_of(backend, subnet, options)
        zone = options["placement"] = options.get("placement") or self._zone(backend, kind, market, count)
        with self.world.lock:
            bought = BLOCK if block else market
            reserved = enter(self.world, backend.region_name, zone, kind.name, count, bought)
            try:
                if not reserved:
                    self.world.admit("aws", backend.region_name, zone, kind.name, market, kind.vcpus, count, kind.pools)
            except Refused as refused:
                raise _refusal(refused, kind.name, zone, market) from None
            reservation: Reservation = run(backend, image, count, data, groups, **options)
            for instance in reservation.instances:
                if market == "spot":
                    # Not an attribute of moto's, but replies take it from here by its name.
                    instance.spot_instance_request_id = f"sir-{uuid.uuid4().hex[:8]}"  # type: ignore[attr-defined]
                if block:
                    instance.lifecycle = BLOCK
                machine = self._machine(instance, kind, market, f"/{backend.amis[image].name}")
                machine.reservation = reserved
                self.world.start(machine)
        for instance in reservation.instances:
            self._mirror(instance)
        return reservation

    def _seen(self, reservations: list[Reservation]) -> list[Reservation]:
        """What EC2 has come to know by now. The reservations are copies."""
        now = self.world.clock()
        for reservation in reservations:
            machines = {instance.id: self.world.machines.get(instance.id) for instance in reservation.instances}
            unseen = {id_ for id_, machine in machines.items() if machine is not None and machine.seen_at > now}
            reservation.instances = [instance for instance in reservation.instances if instance.id not in unseen]
        return [reservation for reservation in reservations if reservation.instances]

    def _zone(self, backend: EC2Backend, kind: InstanceType, market: Market, count: int) -> str:
        """A zone of the region with room, as EC2 chooses one; the first where none has."""
        zones = [zone.name for zone in backend.describe_availability_zones()]
        for zone in zones:
            try:
                self.world.admit("aws", backend.region_name, zone, kind.name, market, kind.vcpus, count, kind.pools)
            except Refused:
                continue
            return str(zone)
        return str(zones[0])

    def lets_in(self, machine: Machine, source: str, port: int) -> bool:
        """Whether a security group of the instance lets TCP in from there on that port."""
        found = [i for i in ec2_backends[ACCOUNT][machine.region].all_instances() if i.id == machine.id]
        rules = [rule for i in found for group in i.nics[0].group_set for rule in group.ingress_rules]
        return any(
            ip_address(source) in ip_network(rule.ip_range["CidrIp"])
            for rule in rules
            if (rule.ip_range or {}).get("CidrIp") and _covers(rule, port)
        )

    def _machine(self, instance: Instance, kind: InstanceType, market: Market, image: str) -> Machine:
        return Machine(
            id=instance.id,
            cloud="aws",
            region=instance.region_name,
            zone=instance.availability_zone or "",
            type=kind.name,
            market=market,
            vcpus=kind.vcpus,
            tags={tag["key"]: tag["value"] for tag in instance.get_tags()},
            ip=self.world.address(),
            user_data=instance.user_data.decode() if instance.user_data else "",
            created_at=self.world.clock(),
            extra={"token": instance.client_token, "image": image},
            pools=kind.pools,
            rests=frozenset({"self"} if instance.instance_initiated_shutdown_behavior == "stop" else ()),
            public=self.world.account.public_addresses,
        )

    def refresh(self) -> None:
        """Bring moto's record of every instance up to date with the world."""
        with self.lock:
            for backend in list(ec2_backends[ACCOUNT].values()):
                for instance in backend.all_instances():
                    self._mirror(instance)

    def _mirror(self, instance: Instance) -> None:
        machine = self.world.machines.get(instance.id)
        if machine is None:
            return
        state, code = STATES.get(machine.state, ("terminated", 48))
        if machine.state == "gone" and instance.nics and not instance.state_reason.code:
            instance.terminate()  # lets go of its disks and interfaces
        if machine.cause:
            reason, message = REASONS[machine.cause]
            told = str(machine.extra.get("boot_error", ""))
            if machine.cause == "failed" and told.startswith(("Client.", "Server.")):  # what was asked for
                reason, message = told, "Failed by the sandbox"
            instance.state_reason = StateReason(f"{reason}: {message}", reason)
            when = datetime.fromtimestamp(machine.stopping_at or machine.created_at, UTC)
            instance._reason = f"{message} ({when:%Y-%m-%d %H:%M:%S} GMT)"
        instance._state.name, instance._state.code = state, code
        interface = instance.nics[0]
        interface.private_ip_address = machine.ip
        public = machine.public and machine.state == "running"
        interface.public_ip = machine.ip if public else None


def _subnet(options: dict[str, Any]) -> str | None:
    interfaces = [one["SubnetId"] for one in options.get("nics") or () if "SubnetId" in one]
    return options.get("subnet_id") or next(iter(interfaces), None)


def _in_zone_of(backend: EC2Backend, subnet: str, zone: str | None) -> str:
    """The subnet's zone, which a launch need not name, and may not name otherwise."""
    there = str(backend.get_subnet(subnet).availability_zone)
    if zone not in (None, "", there):
        raise AwsError(
            "InvalidParameterValue",
            f"Value ({zone}) for parameter availabilityZone is invalid. Subnet '{subnet}' is in the availability zone "
            f"{there}",
        )
    return there


def _covers(rule: SecurityGroupRule, port: int) -> bool:
    """Whether a rule of a security group speaks of TCP to that port."""
    if rule.ip_protocol == "-1":
        return True
    return rule.ip_protocol == "tcp" and (rule.from_port or 0) <= port <= (rule.to_port or 0)


def _in_network_of(backend: EC2Backend, subnet: str, options: dict[str, Any]) -> None:
    """A group lets in to interfaces of its own network only."""
    named = [group for one in options.get("nics") or () for group in one.get("Groups", ())]
    vpc = backend.get_subnet(subnet).vpc_id
    for group in (*named, *(options.get("security_group_ids") or ())):
        found = backend.get_security_group_from_id(group)
        if found is not None and found.vpc_id != vpc:
            why = f"Security group {group} and subnet {subnet} belong to different networks."
            raise AwsError("InvalidParameter", why)


def _refusal(refused: Refused, type_: str, zone: str, market: Market) -> AwsError:
    if refused.why == "capacity":
        return AwsError(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {type_} capacity in the Availability Zone you requested ({zone}).",
        )
    if market == "spot":
        return AwsError("MaxSpotInstanceCountExceeded", f"Max spot instance count exceeded: {refused}")
    limit = "vCPU limit of 0" if refused.none else "vCPU limit"
    return AwsError(
        "VcpuLimitExceeded",
        f"You have requested more vCPU capacity than your current {limit} allows for the instance bucket that the "
        f"specified instance type belongs to: {refused}.",
    )
