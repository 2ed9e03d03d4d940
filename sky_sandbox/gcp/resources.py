"""The rest of Compute Engine that launching reads or needs: places, types, images, networks, firewall rules."""

from __future__ import annotations

import threading
import uuid
from ipaddress import ip_address, ip_network

from starlette.routing import Route

from sky_sandbox.accounts.quotas import google_project_quotas, google_quotas
from sky_sandbox.accounts.refusals import PROJECT_OF
from sky_sandbox.gcp import types
from sky_sandbox.gcp.wire import (
    API,
    ApiError,
    Call,
    Operation,
    Resource,
    endpoint,
    not_found,
    numeric_id,
    operation_resource,
    page,
    timestamp,
)
from sky_sandbox.images import images
from sky_sandbox.machines.record import Machine
from sky_sandbox.world import World

# Of the role "Compute Network User" in a host project: https://cloud.google.com/vpc/docs/shared-vpc#iam_in_shared_vpc
NETWORK_USER = frozenset({"compute.networks.get", "compute.subnetworks.use", "compute.subnetworks.useExternalIp"})


class Resources:
    """Read-only resources of the emulated cloud, and the project's firewall rules."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lock = threading.Lock()
        self.rules: dict[tuple[str, str], Resource] = {}  # (project, name)
        self.operations: dict[str, Operation] = {}

    def routes(self) -> list[Route]:
        """URL patterns of the API."""
        project = "/compute/v1/projects/{project}"
        zone, everywhere = project + "/zones/{zone}", project + "/global"
        table = (
            ("GET", project, "projects.get", self.get_project),
            ("GET", project + "/zones", "zones.list", self.list_zones),
            ("GET", zone, "zones.get", self.get_zone),
            ("GET", project + "/regions", "regions.list", self.list_regions),
            ("GET", project + "/regions/{region}", "regions.get", self.get_region),
            ("GET", zone + "/machineTypes", "machineTypes.list", self.list_machine_types),
            ("GET", zone + "/machineTypes/{name}", "machineTypes.get", self.get_machine_type),
            ("GET", zone + "/acceleratorTypes", "acceleratorTypes.list", self.list_accelerator_types),
            ("GET", everywhere + "/images/family/{name}", "images.getFromFamily", self.get_image),
            ("GET", everywhere + "/networks", "networks.list", self.list_networks),
            ("GET", everywhere + "/networks/{name}", "networks.get", self.get_network),
            ("POST", everywhere + "/firewalls", "firewalls.insert", self.insert_rule),
            ("GET", everywhere + "/firewalls", "firewalls.list", self.list_rules),
            ("GET", everywhere + "/firewalls/{name}", "firewalls.get", self.get_rule),
            ("PATCH", everywhere + "/firewalls/{name}", "firewalls.patch", self.patch_rule),
            ("DELETE", everywhere + "/firewalls/{name}", "firewalls.delete", self.delete_rule),
            ("GET", everywhere + "/operations/{name}", "globalOperations.get", self.get_operation),
            ("POST", everywhere + "/operations/{name}/wait", "globalOperations.wait", self.get_operation),
        )
        rights = endpoint(self.world, "projects.testIamPermissions", self.test_permissions, about)
        return [
            Route("/v1/projects/{project}:testIamPermissions", rights, methods=["POST"]),
            *(
                Route(path, endpoint(self.world, action, handler, about), methods=[method])
                for method, path, action, handler in table
            ),
        ]

    def test_permissions(self, call: Call) -> Resource:
        """https://cloud.google.com/resource-manager/reference/rest/v1/projects/testIamPermissions"""
        account, asked = self.world.account, call.body["permissions"]
        hosts = {shared.partition("/")[0] for shared in account.shared_networks}
        if call.path["project"] in hosts and not account.network_admin:
            return {"permissions": [one for one in asked if one in NETWORK_USER]}
        return {"permissions": [one for one in asked if not account.lacks(one)]}

    # --- places and types ------------------------------------------------------------------------------------

    def list_zones(self, call: Call) -> Resource:
        return page("compute#zoneList", (_zone(call.path["project"], zone) for zone in types.ZONES), call)

    def get_zone(self, call: Call) -> Resource:
        _known_zone(call)
        return _zone(call.path["project"], call.path["zone"])

    def get_project(self, call: Call) -> Resource:
        name = call.path["project"]
        quotas = google_project_quotas(self.world.account)
        return {"kind": "compute#project", "name": name, "selfLink": f"{API}/projects/{name}", "quotas": quotas}

    def list_regions(self, call: Call) -> Resource:
        regions = (self._region(call.path["project"], region) for region in types.REGIONS)
        return page("compute#regionList", regions, call)

    def get_region(self, call: Call) -> Resource:
        if call.path["region"] not in types.REGIONS:
            raise not_found("projects/{project}/regions/{region}".format_map(call.path))
        return self._region(call.path["project"], call.path["region"])

    def _region(self, project: str, region: str) -> Resource:
        root = f"{API}/projects/{project}"
        used = sum(machine.vcpus for machine in self.world.live("gcp") if machine.region == region)
        limit = self.world.quota.get(("gcp", region), self.world.quota.get(("gcp", "*"), 1_000_000))
        return {
            "kind": "compute#region",
            "name": region,
            "status": "UP",
            "selfLink": f"{root}/regions/{region}",
            "zones": [f"{root}/zones/{zone}" for zone, home in types.ZONES.items() if home == region],
            "quotas": [
                *google_quotas(self.world.account),
                {"metric": "CPUS", "limit": float(limit), "usage": used * 1.0},
            ],
        }

    def list_machine_types(self, call: Call) -> Resource:
        _known_zone(call)
        shapes = types.listed_machine_types()
        return page("compute#machineTypeList", (_machine_type(call, shape) for shape in shapes), call)

    def get_machine_type(self, call: Call) -> Resource:
        _known_zone(call)
        shape = types.machine_type(call.path["name"])
        if shape is None:
            raise not_found("projects/{project}/zones/{zone}/machineTypes/{name}".format_map(call.path))
        return _machine_type(call, shape)

    def list_accelerator_types(self, call: Call) -> Resource:
        _known_zone(call)
        root = _zone_link(call)
        items = (
            {
                "kind": "compute#acceleratorType",
                "name": name,
                "zone": root,
                "selfLink": f"{root}/acceleratorTypes/{name}",
                "maximumCardsPerInstance": 8,
            }
            for name in types.ACCELERATORS
        )
        return page("compute#acceleratorTypeList", items, call)

    def get_image(self, call: Call) -> Resource:
        project, family = call.path["project"], call.path["name"]
        documented = images("gcp").get(f"projects/{project}/global/images/family/{family}")
        if documented is None:
            raise not_found(f"projects/{project}/global/images/family/{family}")
        name = f"{family}-v20260101"
        return {
            "kind": "compute#image",
            "name": name,
            "family": family,
            "status": "READY",
            "architecture": documented.arch.upper(),
            "diskSizeGb": "10",
            "selfLink": f"{API}/projects/{project}/global/images/{name}",
        }

    # --- networks and firewall rules -------------------------------------------------------------------------

    def list_networks(self, call: Call) -> Resource:
        found = [_network(call.path["project"], "default")] if self.world.account.default_network else []
        return page("compute#networkList", found, call)

    def get_network(self, call: Call) -> Resource:
        project, name = call.path["project"], call.path["name"]
        there = name == "default" and self.world.account.default_network
        if not there and f"{project}/{name}" not in self.world.account.shared_networks:
            raise not_found("projects/{project}/global/networks/{name}".format_map(call.path))
        return _network(project, name)

    def insert_rule(self, call: Call) -> Resource:
        project, name = call.path["project"], call.body["name"]
        link = f"{API}/projects/{project}/global/firewalls/{name}"
        with self.lock:
            if (project, name) in self.rules:
                path = f"projects/{project}/global/firewalls/{name}"
                raise ApiError(409, "alreadyExists", f"The resource '{path}' already exists")
            created = timestamp(self.world.clock())
            rule = {"kind": "compute#firewall", "id": numeric_id(), "selfLink": link, "creationTimestamp": created}
            self.rules[project, name] = {**call.body, **rule}
        return self._done(project, "insert", f"firewalls/{name}", rule["id"])

    def list_rules(self, call: Call) -> Resource:
        found = (rule for (project, _), rule in self.rules.items() if project == call.path["project"])
        return page("compute#firewallList", found, call)

    def get_rule(self, call: Call) -> Resource:
        try:
            return self.rules[call.path["project"], call.path["name"]]
        except KeyError:
            raise not_found("projects/{project}/global/firewalls/{name}".format_map(call.path)) from None

    def patch_rule(self, call: Call) -> Resource:
        rule = self.get_rule(call)
        rule.update(call.body)
        return self._done(call.path["project"], "patch", f"firewalls/{call.path['name']}", rule["id"])

    def lets_in(self, machine: Machine, source: str, port: int) -> bool:
        """Whether the first rule of a machine's network that speaks of TCP from there to that port allows it.

        What no rule speaks of, the default network lets in, and no other does.
        """
        body = machine.extra.get("resource") or machine.extra.get("node", {})
        items = body.get("tags", {})
        tags = set(items.get("items", ()) if isinstance(items, dict) else items)
        where = next(iter(body.get("networkInterfaces", ())), body.get("networkConfig", {}))
        network = self._place(machine.extra["project"], where.get("network", ""), where.get("subnetwork", ""))
        rules = [
            rule for (host, _), rule in self.rules.items() if self._place(host, rule.get("network", "")) == network
        ]
        for rule in sorted(rules, key=lambda rule: int(rule.get("priority", 1000))):
            near = any(ip_address(source) in ip_network(cidr) for cidr in rule.get("sourceRanges", ()))
            meant = any(_covers(what, port) for what in (*rule.get("allowed", ()), *rule.get("denied", ())))
            if near and meant and tags & set(rule.get("targetTags", tags)):
                return "denied" not in rule
        return network.endswith("/default")

    def _place(self, project: str, network: str, subnetwork: str = "") -> str:
        """``PROJECT/NAME`` of a network as a body names it, or its subnetwork alone."""
        host = next((found[1] for found in map(PROJECT_OF.search, (network, subnetwork)) if found), project)
        shared = [one.partition("/")[2] for one in self.world.account.shared_networks if one.startswith(f"{host}/")]
        return f"{host}/{network.rpartition('/')[2] or next(iter(shared), 'default')}"

    def delete_rule(self, call: Call) -> Resource:
        rule = self.get_rule(call)
        del self.rules[call.path["project"], call.path["name"]]
        return self._done(call.path["project"], "delete", f"firewalls/{call.path['name']}", rule["id"])

    def _done(self, project: str, kind: str, target: str, target_id: str) -> Resource:
        name = f"operation-{uuid.uuid4()}"
        now = self.world.clock()
        resource = operation_resource(project, "global", kind, target, now, name=name, target_id=target_id)
        self.operations[name] = Operation(resource, lambda: True)
        return self.operations[name].view()

    def get_operation(self, call: Call) -> Resource:
        try:
            return self.operations[call.path["name"]].view()
        except KeyError:
            raise not_found("projects/{project}/global/operations/{name}".format_map(call.path)) from None


def about(call: Call) -> dict[str, str]:
    """What injected faults can match a call by."""
    zone = call.path.get("zone", "")
    region = call.path.get("region") or types.ZONES.get(zone, "")
    return {"zone": zone, "region": region, "token": call.body.get("name", "")}


def _covers(what: Resource, port: int) -> bool:
    """Whether an entry ``allowed`` or ``denied`` of a firewall rule speaks of TCP to that port."""
    if what["IPProtocol"] not in ("tcp", "6", "all"):
        return False
    ranges = [tuple(map(int, text.split("-"))) for text in what.get("ports", ())]
    return not ranges or any(ends[0] <= port <= ends[-1] for ends in ranges)


def _known_zone(call: Call) -> None:
    if call.path["zone"] not in types.ZONES:
        raise not_found("projects/{project}/zones/{zone}".format_map(call.path))


def _zone_link(call: Call) -> str:
    return f"{API}/projects/{call.path['project']}/zones/{call.path['zone']}"


def _zone(project: str, zone: str) -> Resource:
    root = f"{API}/projects/{project}"
    region = f"{root}/regions/{types.ZONES[zone]}"
    return {"kind": "compute#zone", "name": zone, "status": "UP", "region": region, "selfLink": f"{root}/zones/{zone}"}


def _machine_type(call: Call, shape: types.MachineType) -> Resource:
    resource: Resource = {
        "kind": "compute#machineType",
        "name": shape.name,
        "guestCpus": shape.vcpus,
        "memoryMb": shape.memory_mb,
        "architecture": shape.arch,
        "zone": call.path["zone"],
        "selfLink": f"{_zone_link(call)}/machineTypes/{shape.name}",
    }
    if shape.accelerator:
        google = next(google for google, name in types.ACCELERATORS.items() if name == shape.accelerator)
        resource["accelerators"] = [{"guestAcceleratorType": google, "guestAcceleratorCount": shape.gpus}]
    return resource


def _network(project: str, name: str) -> Resource:
    link = f"{API}/projects/{project}/global/networks/{name}"
    automatic = name == "default"
    return {"kind": "compute#network", "name": name, "autoCreateSubnetworks": automatic, "selfLink": link}
