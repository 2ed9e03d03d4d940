"""The metadata service of each cloud's machines, asked by the clouds' own SDKs where they can ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from sky_core.remote.agent.host import eviction
from sky_sandbox.machines.metadata import Metadata
from sky_sandbox.machines.record import Machine
from sky_sandbox.server import reserve_port


@pytest.fixture(scope="module")
def metadata() -> Iterator[Metadata]:
    held = reserve_port()
    service = Metadata(held.getsockname()[1])
    yield service
    service.close()
    held.close()


def machine(cloud: str, number: int) -> Machine:
    region = {"aws": "us-east-1", "gcp": "us-central1", "azure": "eastus"}[cloud]
    zone = {"aws": "us-east-1a", "gcp": "us-central1-a", "azure": "eastus-1"}[cloud]
    name = {"aws": "i-0abc", "gcp": f"{zone}/box", "azure": "/subscriptions/s/…/virtualMachines/box"}[cloud]
    return Machine(
        name, cloud, region, zone, "some.type", "spot", 4, {}, f"127.77.200.{number}", "#cloud-config\n{}", 0.0
    )


@pytest.fixture
def there(request: pytest.FixtureRequest, metadata: Metadata) -> Iterator[Machine]:
    """A machine of the cloud that the test is for."""
    cloud = request.param
    number = {"aws": 1, "gcp": 2, "azure": 3}[cloud]
    new = machine(cloud, number)
    metadata.add(new)
    yield new
    metadata.remove(new)


def get(metadata: Metadata, there: Machine, path: str, **headers: str) -> tuple[int, str]:
    url = f"http://{there.ip}:{metadata.port}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("there", ["aws"], indirect=True)
def test_botocore_finds_its_region(metadata: Metadata, there: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.utils import InstanceMetadataRegionFetcher

    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    base = f"http://{there.ip}:{metadata.port}/"
    assert InstanceMetadataRegionFetcher(base_url=base).retrieve_region() == "us-east-1"


@pytest.mark.parametrize("there", ["aws"], indirect=True)
def test_aws_wants_a_token(metadata: Metadata, there: Machine) -> None:
    path = "/latest/meta-data/instance-id"
    assert get(metadata, there, path)[0] == 401
    request = urllib.request.Request(
        f"http://{there.ip}:{metadata.port}/latest/api/token",
        method="PUT",
        headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"},
    )
    with urllib.request.urlopen(request) as reply:
        token = reply.read().decode()
    header = {"X-aws-ec2-metadata-token": token}
    assert get(metadata, there, path, **header) == (200, there.id)
    action = "/latest/meta-data/spot/instance-action"
    assert get(metadata, there, action, **header)[0] == 404
    metadata.announce(there, 120)
    code, text = get(metadata, there, action, **header)
    assert (code, json.loads(text)["action"]) == (200, "terminate")


@pytest.mark.parametrize("there", ["gcp"], indirect=True)
def test_google_auth_knows_where_it_is(metadata: Metadata, there: Machine) -> None:
    script = (
        "from google.auth.compute_engine import _metadata; from google.auth.transport.requests import Request; "
        "print(_metadata.ping(Request()), _metadata.get(Request(), 'instance/zone'))"
    )
    host = f"{there.ip}:{metadata.port}"
    environment = {key: value for key, value in os.environ.items() if key != "NO_GCE_CHECK"}
    environment |= {"GCE_METADATA_HOST": host, "GCE_METADATA_IP": host}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == "True projects/1/zones/us-central1-a\n"


@pytest.mark.parametrize("there", ["gcp"], indirect=True)
def test_gce_tells_of_a_change_when_it_comes(metadata: Metadata, there: Machine) -> None:
    path = "/computeMetadata/v1/instance/preempted"
    assert get(metadata, there, path)[0] == 403, "the header is missing"
    flavor = {"Metadata-Flavor": "Google"}
    assert get(metadata, there, path, **flavor) == (200, "FALSE")
    assert get(metadata, there, f"{path}?wait_for_change=true&timeout_sec=0", **flavor) == (200, "FALSE")
    answers: list[Any] = []
    ask = threading.Thread(
        target=lambda: answers.append(get(metadata, there, f"{path}?wait_for_change=true", **flavor))
    )
    ask.start()
    ask.join(0.2)
    assert answers == [], "nothing has changed"
    metadata.announce(there, 30)
    ask.join(60)
    assert answers == [(200, "TRUE")]


@pytest.mark.parametrize("there", ["azure"], indirect=True)
def test_azure_schedules_an_event(metadata: Metadata, there: Machine) -> None:
    path = "/metadata/scheduledevents?api-version=2020-07-01"
    assert get(metadata, there, path)[0] == 400, "the header is missing"
    assert json.loads(get(metadata, there, path, Metadata="true")[1]) == {"DocumentIncarnation": 1, "Events": []}
    metadata.announce(there, 30)
    document = json.loads(get(metadata, there, path, Metadata="true")[1])
    assert document["DocumentIncarnation"] == 2
    [event] = document["Events"]
    assert (event["EventType"], event["Resources"]) == ("Preempt", ["box"])
    compute = json.loads(get(metadata, there, "/metadata/instance?api-version=2021-02-01", Metadata="true")[1])[
        "compute"
    ]
    assert (compute["zone"], compute["priority"]) == ("1", "Spot")


@pytest.mark.parametrize("ahead_s", [90, -90])
@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_a_machine_whose_clock_differs_knows_how_long_it_has(
    cloud: str, ahead_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = reserve_port()
    behind, there = Metadata(held.getsockname()[1], ahead_s), machine(cloud, 9)
    variable = {"aws": "AWS_EC2_METADATA_SERVICE_ENDPOINT", "azure": "AZURE_METADATA_ENDPOINT"}[cloud]
    monkeypatch.setenv(variable, f"http://{there.ip}:{behind.port}")
    behind.add(there)
    behind.announce(there, 30)
    told = eviction.watch(cloud) - time.time()
    behind.close()
    held.close()
    assert 27 < told < 32
