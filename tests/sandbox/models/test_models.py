"""Every request of the providers and every reply of the sandbox is in the clouds' own models of their APIs.

They share nothing with either: botocore's service models, Google's discovery documents, the azure-mgmt packages.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from sky_core.clouds import audit, connect, contract
from sky_core.clouds.base import REFUSALS, TAG_CLUSTER, TAG_OWNER
from sky_core.remote.switch import switch
from tests.conftest import Sandbox, until
from tests.sandbox.clouds.test_contract import SUBJECTS, Subject
from tests.sandbox.clusters.test_managed import NODES, TYPES, subject
from tests.sandbox.models import amazon, google, microsoft
from tests.sandbox.models.recorder import Exchange, recording

JUDGES: dict[str, ModuleType] = {"aws": amazon, "gcp": google, "tpu": google, "tpu-queue": google, "azure": microsoft}
PROMISES = (
    contract.finds_by_tag_and_ends_by_id,
    contract.refuses_what_it_does_not_sell,
    contract.has_one_bucket_in_a_region,
    contract.lends_for_a_while_or_says_what_to_set,
)


@pytest.mark.parametrize("name", SUBJECTS)
def test_all_that_is_said_is_in_the_clouds_own_models(sandbox: Sandbox, name: str) -> None:
    """In the life of machines, in launches that are refused, and when an account is looked at."""
    subject = SUBJECTS[name]
    with recording() as heard:
        for promise in PROMISES:
            promise(contract.Subject(lambda: connect(subject.cloud, sandbox.settings), **subject.place))
        _launch_spot(sandbox, subject)
        _be_refused(sandbox, subject)
        assert list(audit(subject.cloud, sandbox.settings, subject.place["region"]))
    assert len(heard) > 30, "the recorder has heard next to nothing"
    wrong = Counter(complaint for exchange in heard for complaint in JUDGES[name].complaints(exchange))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", TYPES)
def test_so_is_what_is_said_of_clusters_of_services(sandbox: Sandbox, name: str) -> None:
    armed = replace(switch(sandbox.settings, name, 1.0), idle_s=600.0)
    cloud, token = connect(name, sandbox.settings), contract.new_token()
    request = replace(subject(sandbox, name).request(token), num_nodes=NODES, switch=armed)
    with recording() as heard:
        (launched,) = cloud.launch(request)
        assert cloud.launch(request)[0].id == launched.id
        until(lambda: cloud.describe([launched.id])[0].ip)
        found = cloud.find({TAG_CLUSTER: token}, regions=[request.region], instance_type=request.instance_type)
        assert [one.id for one in found.instances] == [launched.id]
        cloud.terminate([launched.id])
        until(lambda: cloud.describe([launched.id])[0].state == "gone")
        with pytest.raises(REFUSALS):
            cloud.launch(replace(request, token=contract.new_token(), instance_type=f"{request.instance_type}-not"))
    service = {"aws": "ElasticMapReduce.", "gcp": "/clusters"}[name]
    said = [exchange.headers.get("x-amz-target", exchange.path) for exchange in heard]
    assert sum(service in one for one in said) > 5, "the recorder has heard next to nothing of the service"
    wrong = Counter(complaint for exchange in heard for complaint in JUDGES[name].complaints(exchange))
    assert not wrong, "\n".join(wrong)


def _launch_spot(sandbox: Sandbox, subject: Subject) -> None:
    cloud, token = connect(subject.cloud, sandbox.settings), contract.new_token()
    armed = switch(sandbox.settings, subject.cloud, 1.0)
    ids = [machine.id for machine in cloud.launch(subject.request(token, use_spot=True, switch=armed))]
    until(lambda: cloud.describe(ids)[0].state != "pending")
    cloud.terminate(ids)
    until(lambda: cloud.describe(ids)[0].state == "gone")
    for leftover in cloud.leftovers({TAG_OWNER: "contract"}).things:
        if not leftover.holds_data:
            cloud.remove(leftover)


def _be_refused(sandbox: Sandbox, subject: Subject) -> None:
    for code in subject.refusals:
        cloud, token = connect(subject.cloud, sandbox.settings), contract.new_token()
        sandbox.control.fault(subject.cloud, subject.create, "error", code=code)
        with pytest.raises(REFUSALS):
            cloud.launch(subject.request(token))


# --- that the judges can find fault --------------------------------------------------------------------------

INSTANCES = "/compute/v1/projects/p/zones/us-central1-a/instances"
MACHINE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/m"
RUN = """<RunInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15"><instancesSet><item>
<instanceId>i-1</instanceId>{}</item></instancesSet></RunInstancesResponse>"""


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"machineType": "t"}, None),
        ({"machinetype": "t"}, "there is no machinetype"),
        ({"canIpForward": "yes"}, "'yes' is no boolean"),
        ({"disks": [{"type": "TEMPORARY"}]}, "'TEMPORARY' is none of"),
        ({"disks": [{"diskSizeGb": 100}]}, "a 64-bit number is a string"),
    ],
)
def test_googles_documents_know_a_fault(said: dict[str, Any], fault: str | None) -> None:
    _finds(fault, google.complaints(_exchange("POST", INSTANCES, json.dumps(said), "{}", requestId="1")))


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"location": "eastus", "properties": {"priority": "Spot", "hardwareProfile": {}}}, None),
        ({"location": "eastus", "properties": {"hardwareprofile": {}}}, "has no hardwareprofile"),
        ({"location": "eastus", "properties": {"priority": "Cheap"}}, "'Cheap' is none of"),
        ({"location": "eastus", "zones": "1"}, "'1' is no list"),
        ({"location": "eastus", "properties": {"provisioningState": "Succeeded"}}, "not for us to say"),
    ],
)
def test_azures_models_know_a_fault(said: dict[str, Any], fault: str | None) -> None:
    reply = {"error": {"code": "Conflict", "message": "no"}}
    exchange = _exchange("PUT", MACHINE, json.dumps(said), json.dumps(reply), 409, **{"api-version": "2024-07-01"})
    _finds(fault, microsoft.complaints(exchange))


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ("<ebsOptimized>true</ebsOptimized>", None),
        ("<ebsoptimized>true</ebsoptimized>", "there is no ebsoptimized"),
        ("<ebsOptimized>True</ebsOptimized>", "'True' is no boolean"),
        ("<launchTime>yesterday</launchTime>", "'yesterday' is no time"),
        ("<groupSet><group/></groupSet>", "is called item, not group"),
    ],
)
def test_amazons_models_know_a_fault(told: str, fault: str | None) -> None:
    exchange = _exchange("POST", "/", "Action=RunInstances&Version=2016-11-15", RUN.format(told))
    _finds(fault, amazon.complaints(exchange))


def _finds(fault: str | None, complaints: list[str]) -> None:
    assert len(complaints) == (fault is not None), complaints
    assert fault is None or fault in complaints[0]


def _exchange(method: str, path: str, said: str, told: str, status: int = 200, **query: str) -> Exchange:
    headers = {
        "content-type": "application/json" if said.startswith("{") else "application/x-www-form-urlencoded",
        "authorization": "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/ec2/aws4_request, Signature=0",
    }
    return Exchange(method, path, list(query.items()), headers, said.encode(), status, told.encode(), {})
