"""The emulated Compute Engine and Cloud TPU: their replies have exactly the fields that Google's clients know."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import compute_v1 as compute
from google.cloud import tpu_v2

from sky_sandbox.gcp.compute import app
from sky_sandbox.gcp.login import ServiceAccount
from sky_sandbox.gcp.types import ZONES, machine_type, pools
from sky_sandbox.gcp.wire import ApiError, matches
from sky_sandbox.logins import Logins
from sky_sandbox.machines.record import Machine
from sky_sandbox.network.gate import Source
from sky_sandbox.world import World
from tests.conftest import until
from tests.sandbox.loopback import serve

ZONE = "us-central1-a"
IMAGE = "projects/debian-cloud/global/images/family/debian-12"
LOGINS = Logins()
ACCOUNT = ServiceAccount(LOGINS, "p")


class Nothing:
    """Machines without processes."""

    def boot(self, machine: Machine) -> None: ...

    def notice(self, machine: Machine, seconds: float) -> None: ...

    def kill(self, machine: Machine) -> None: ...

    def let_in(self, machine: Machine, sources: frozenset[Source] | None, *, cut: bool) -> None: ...


class Api:
    """Plain HTTP to the emulated cloud, every reply read strictly as the type that Google's client has for it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, method: str, path: str, body: Any = None, kind: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Authorization": "Bearer mine"}, method=method)
        with urllib.request.urlopen(request) as reply:
            text = reply.read().decode()
        return kind.from_json(text, ignore_unknown_fields=False) if kind else json.loads(text)

    def compute(self, method: str, path: str, kind: Any, body: Any = None) -> Any:
        return self(method, f"/compute/v1/projects/p/{path}", body, kind)

    def insert(self, name: str, query: str = "", **changes: Any) -> Any:
        body = {
            "name": name,
            "machineType": f"zones/{ZONE}/machineTypes/e2-standard-2",
            "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": IMAGE}}],
            "networkInterfaces": [{"network": "global/networks/default", "accessConfigs": [{"name": "External NAT"}]}],
            "metadata": {"items": [{"key": "user-data", "value": "#cloud-config"}]},
        }
        return self.compute("POST", f"zones/{ZONE}/instances{query}", compute.Operation, {**body, **changes})

    def refused(self, name: str, **changes: Any) -> tuple[int, str]:
        with pytest.raises(urllib.error.HTTPError) as error:
            self.insert(name, **changes)
        return error.value.code, json.load(error.value)["error"]["errors"][0]["reason"]


@pytest.fixture
def world() -> World:
    return World(Nothing(), boot_s=0.0)


@pytest.fixture
def api(world: World) -> Iterator[Api]:
    with serve(app(world, LOGINS, ACCOUNT)) as url:
        yield Api(url)


def done(api: Api, operation: compute.Operation) -> Any:
    return api.compute("POST", f"zones/{ZONE}/operations/{operation.name}/wait", compute.Operation, {})


def test_life_of_an_instance(api: Api, world: World) -> None:
    inserted = done(api, api.insert("a", labels={"k": "v"}))
    assert (inserted.status.name, inserted.operation_type, inserted.progress) == ("DONE", "insert", 100)
    path = f"zones/{ZONE}/instances/a"
    instance = until(lambda: (found := api.compute("GET", path, compute.Instance)).status == "RUNNING" and found)
    assert inserted.target_id == instance.id
    assert instance.network_interfaces[0].access_configs[0].nat_i_p == "127.77.0.1"
    assert world.machines[f"{ZONE}/a"].user_data == "#cloud-config"
    labels = {"labels": {"k": "w"}, "labelFingerprint": instance.label_fingerprint}
    api.compute("POST", path + "/setLabels", compute.Operation, labels)
    with pytest.raises(urllib.error.HTTPError, match="412"):
        api.compute("POST", path + "/setLabels", compute.Operation, labels)
    listed = api.compute("GET", f"zones/{ZONE}/instances?filter=labels.k%3Dw", compute.InstanceList)
    assert [item.name for item in listed.items] == ["a"]
    deleted = done(api, api.compute("DELETE", path, compute.Operation))
    assert (deleted.operation_type, deleted.target_link) == ("delete", instance.self_link)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        api.compute("GET", path, compute.Instance)


def test_every_zone_answers_an_aggregated_list(api: Api) -> None:
    api.insert("a")
    scopes = api.compute("GET", "aggregated/instances", compute.InstanceAggregatedList).items
    assert set(scopes) == {f"zones/{zone}" for zone in ZONES}
    assert [i.name for scope in scopes.values() for i in scope.instances] == ["a"]
    assert scopes["zones/us-east1-b"].warning.code == "NO_RESULTS_ON_PAGE"


def test_pages(api: Api) -> None:
    for name in "abc":
        api.insert(name)
    first = api.compute("GET", f"zones/{ZONE}/instances?maxResults=2", compute.InstanceList)
    second = api.compute("GET", f"zones/{ZONE}/instances?pageToken={first.next_page_token}", compute.InstanceList)
    assert [i.name for i in (*first.items, *second.items)] == ["a", "b", "c"]
    assert second.next_page_token == ""


def test_request_ids_and_names(api: Api, world: World) -> None:
    first = api.insert("a", "?requestId=one")
    assert api.insert("a", "?requestId=one").name == first.name
    assert api.refused("a") == (409, "alreadyExists")
    assert len(world.machines) == 1


def test_a_name_may_be_used_again(api: Api, world: World) -> None:
    api.insert("a")
    done(api, api.compute("DELETE", f"zones/{ZONE}/instances/a", compute.Operation))
    api.insert("a")
    assert len(world.machines) == 2, "the former one stays in the history"


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"name": "Upper"}, 400, "invalid"),
        ({"machineType": "e3-standard-2"}, 404, "notFound"),
        ({"labels": {"k": "Upper"}}, 400, "invalid"),
        ({"labels": {"Upper": ""}}, 400, "invalid"),
        ({"scheduling": {"provisioningModel": "SPOT", "automaticRestart": True}}, 400, "invalid"),
        ({"scheduling": {"maxRunDuration": {"seconds": "60"}}}, 400, "invalid"),
        ({"guestAccelerators": [{"acceleratorType": "nvidia-tesla-v100", "acceleratorCount": 1}]}, 400, "badRequest"),
        ({"guestAccelerators": [{"acceleratorType": "abacus", "acceleratorCount": 1}]}, 404, "notFound"),
        ({"machineType": "a2-highgpu-1g"}, 400, "badRequest"),  # GPUs cannot migrate live
    ],
)
def test_bad_requests(api: Api, world: World, changes: dict[str, Any], status: int, reason: str) -> None:
    assert api.refused(changes.pop("name", "a"), **changes) == (status, reason)
    assert world.machines == {}


def test_stock_outs_and_quota_fail_the_operation(api: Api, world: World) -> None:
    world.limit(ZONE, "e2-standard-2", "on-demand", 0)
    failed = done(api, api.insert("a"))
    assert (failed.error.errors[0].code, failed.http_error_status_code) == ("ZONE_RESOURCE_POOL_EXHAUSTED", 503)
    world.quota["gcp", "us-central1"] = 1
    failed = done(api, api.insert("b"))
    [error] = failed.error.errors
    assert (error.code, failed.http_error_status_code) == ("QUOTA_EXCEEDED", 403)
    assert error.error_details[0].quota_info.dimensions == {"region": "us-central1"}
    assert world.machines == {}


@pytest.mark.parametrize("action", ["STOP", "DELETE"])
def test_preemption(api: Api, world: World, action: str) -> None:
    api.insert("a", scheduling={"provisioningModel": "SPOT", "instanceTerminationAction": action})
    until(lambda: world.machines[f"{ZONE}/a"].state == "running")
    world.preempt(f"{ZONE}/a", 600)
    assert api.compute("GET", f"zones/{ZONE}/instances/a", compute.Instance).status == "STOPPING"
    filter_ = "filter=operationType%3D%22compute.instances.preempted%22"
    [operation] = api.compute("GET", f"zones/{ZONE}/operations?{filter_}", compute.OperationList).items
    assert (operation.status.name, operation.user) == ("RUNNING", "system@google.com")
    world.stop(f"{ZONE}/a", "preempted")
    assert done(api, operation).status.name == "DONE"
    names = {i.name: i.status for i in api.compute("GET", f"zones/{ZONE}/instances", compute.InstanceList).items}
    assert names == ({"a": "TERMINATED"} if action == "STOP" else {})


def test_run_time_is_limited(api: Api, world: World) -> None:
    api.insert("a", scheduling={"maxRunDuration": {"seconds": "1"}, "instanceTerminationAction": "DELETE"})
    until(lambda: world.live() == [])
    assert api.compute("GET", f"zones/{ZONE}/instances", compute.InstanceList).items == []


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("zones", compute.ZoneList),
        (f"zones/{ZONE}", compute.Zone),
        ("regions", compute.RegionList),
        ("regions/us-central1", compute.Region),
        (f"zones/{ZONE}/machineTypes", compute.MachineTypeList),
        (f"zones/{ZONE}/machineTypes/a2-highgpu-2g", compute.MachineType),
        (f"zones/{ZONE}/acceleratorTypes", compute.AcceleratorTypeList),
        ("global/networks", compute.NetworkList),
        ("global/networks/default", compute.Network),
        ("global/firewalls", compute.FirewallList),
    ],
)
def test_resources(api: Api, path: str, kind: Any) -> None:
    assert api.compute("GET", path, kind) != kind()


@pytest.mark.parametrize(
    "path",
    [
        "zones/mars-a",
        "regions/mars",
        f"zones/{ZONE}/machineTypes/zz-1",
        "global/networks/none",
        "global/firewalls/none",
    ],
)
def test_unknown_resources(api: Api, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404") as error:
        api.compute("GET", path, compute.Operation)
    assert json.load(error.value)["error"]["errors"][0]["reason"] == "notFound"


def test_image_families(api: Api) -> None:
    path = "/compute/v1/projects/debian-cloud/global/images/family/debian-12"
    assert api("GET", path, kind=compute.Image).family == "debian-12"


def test_firewall_rules(api: Api) -> None:
    rule = {"name": "ssh", "network": "global/networks/default", "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}]}
    assert api.compute("POST", "global/firewalls", compute.Operation, rule).status.name == "DONE"
    with pytest.raises(urllib.error.HTTPError, match="409"):
        api.compute("POST", "global/firewalls", compute.Operation, rule)
    assert api.compute("GET", "global/firewalls/ssh", compute.Firewall).allowed[0].ports == ["22"]
    api.compute("DELETE", "global/firewalls/ssh", compute.Operation)
    assert api.compute("GET", "global/firewalls", compute.FirewallList).items == []


def test_slow_faults(api: Api, world: World) -> None:
    from sky_sandbox.world import Fault

    world.faults.append(Fault("gcp", "zones.get", "slow", seconds=0.3, match={"zone": ZONE}))
    start = time.monotonic()
    api.compute("GET", f"zones/{ZONE}", compute.Zone)
    assert time.monotonic() - start >= 0.3


def test_life_of_a_tpu_node(api: Api, world: World) -> None:
    location = "/v2/projects/p/locations/us-central1-b"
    body = {"acceleratorType": "v5litepod-16", "runtimeVersion": "v2-alpha-tpuv5-lite", "labels": {"k": "v"}}
    operation = api("POST", f"{location}/nodes?nodeId=n", body)
    finished = until(lambda: (found := api("GET", "/v2/" + operation["name"]))["done"] and found)
    assert finished["response"]["@type"] == "type.googleapis.com/google.cloud.tpu.v2.Node"
    node = api("GET", f"{location}/nodes/n", kind=tpu_v2.Node)
    assert (node.state.name, len(node.network_endpoints), node.labels) == ("READY", 2, {"k": "v"})
    everywhere = api("GET", "/v2/projects/p/locations/-/nodes", kind=tpu_v2.ListNodesResponse)
    assert [found.name for found in everywhere.nodes] == [node.name]
    api("DELETE", f"{location}/nodes/n")
    until(lambda: world.live() == [])
    with pytest.raises(urllib.error.HTTPError, match="404"):
        api("GET", f"{location}/nodes/n")


def test_former_nodes_stay_in_the_history(api: Api, world: World) -> None:
    nodes = "/v2/projects/p/locations/us-central1-b/nodes"
    for _ in range(2):
        api("POST", f"{nodes}?nodeId=n", {"acceleratorType": "v2-8", "runtimeVersion": "tpu-ubuntu2204-base"})
        api("DELETE", f"{nodes}/n")
        until(lambda: world.live() == [])
    assert len(world.machines) == 2


@pytest.mark.parametrize(
    ("filter_", "passes"),
    [
        ("", True),
        ("labels.k=v", True),
        ('labels.k="v" AND name=x', True),
        ("(labels.k=v) (name=y)", False),
        ("labels.k!=v", False),
        ("labels.k:*", True),
        ("labels.z:*", False),
        ("name eq x|y", True),
        ('name eq "(a|x).?"', True),
        ("name ne x.*", False),
    ],
)
def test_filters(filter_: str, passes: bool) -> None:
    assert matches({"name": "x", "labels": {"k": "v"}}, filter_) is passes


@pytest.mark.parametrize("filter_", ["nonsense", 'labels.k=v AND name eq "x"'])
def test_filters_that_google_refuses(filter_: str) -> None:
    with pytest.raises(ApiError):
        matches({"name": "x", "labels": {"k": "v"}}, filter_)


def test_machine_types_and_pools() -> None:
    shapes = {name: machine_type(name) for name in ("n1-standard-8", "a2-highgpu-4g", "g2-standard-24", "e2-small")}
    facts = {name: (s.vcpus, s.memory_mb, s.accelerator, s.gpus) for name, s in shapes.items() if s}
    assert facts == {
        "n1-standard-8": (8, 30720, "", 0),
        "a2-highgpu-4g": (48, 340 * 1024, "A100", 4),
        "g2-standard-24": (24, 96 * 1024, "L4", 2),
        "e2-small": (2, 2048, "", 0),
    }
    assert pools("V100", 4) == ("V100", "V100:4")
    assert machine_type("q9-standard-1") is None
