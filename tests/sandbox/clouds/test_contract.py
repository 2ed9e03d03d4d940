"""What every cloud promises (:mod:`sky_core.clouds.base`), checked alike of all of them through their real SDKs.

A cloud joins by one entry in ``SUBJECTS``: :mod:`sky_core.clouds.contract`, and what only a cloud shows that fails on
order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from sky_core.clouds import connect, contract
from sky_core.clouds.base import REFUSALS, TAG_CLUSTER, TAG_OWNER, Cloud, Instance, LaunchRequest
from sky_core.clouds.contract import PROMISES, Promise
from sky_core.clouds.ssh.provider import Ssh
from sky_core.errors import AuthError, CloudError, InvalidRequest, Throttled, UnknownOutcome
from tests.conftest import Sandbox, until
from tests.sandbox import ssh
from tests.sandbox.lab import Lab


@dataclass(frozen=True)
class Subject:
    """One cloud, or one API of a cloud, under test.

    Attributes:
        create: The API's name of the call that makes a machine, as the sandbox's faults know it.
        broken: The code of a reply that says nothing.
        refusals: Codes with which that call says no: for lack of rights, of quota, of capacity, and for good.
        search: The call by which machines are found by tag.
    """

    cloud: str
    place: dict[str, Any]
    create: str
    broken: str
    refusals: tuple[str, str, str, str]
    search: str

    def request(self, token: str, **changes: Any) -> LaunchRequest:
        tags = {TAG_OWNER: "contract", TAG_CLUSTER: token}
        return ssh.request(token, **{**self.place, "tags": tags, "use_spot": False, **changes})


SUBJECTS = {
    "aws": Subject(
        "aws",
        {"instance_type": "m5.large", "region": "us-east-1", "zone": "us-east-1a"},
        "RunInstances",
        "InternalError",
        ("UnauthorizedOperation", "VcpuLimitExceeded", "InsufficientInstanceCapacity", "InvalidParameterValue"),
        "DescribeInstances",
    ),
    "gcp": Subject(
        "gcp",
        {"instance_type": "n2-standard-2", "region": "us-central1", "zone": "us-central1-a"},
        "instances.insert",
        "backendError",
        ("forbidden", "quotaExceeded", "ZONE_RESOURCE_POOL_EXHAUSTED", "invalid"),
        "instances.aggregatedList",
    ),
    "tpu": Subject(
        "gcp",
        {"instance_type": "TPU-VM", "accelerator": "tpu-v3-8", "region": "europe-west4", "zone": "europe-west4-a"},
        "nodes.create",
        "503",
        ("forbidden", "QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED", "invalid"),
        "nodes.list",
    ),
    "azure": Subject(
        "azure",
        {"instance_type": "Standard_D2s_v5", "region": "eastus", "zone": "eastus-1"},
        "virtualMachines.put",
        "GatewayTimeout",
        ("AuthorizationFailed", "QuotaExceeded", "ZonalAllocationFailed", "InvalidParameter"),
        "virtualMachines.get",
    ),
}


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest) -> Subject:
    return SUBJECTS[request.param]


@pytest.fixture
def cloud(sandbox: Sandbox, subject: Subject) -> Cloud:
    return connect(subject.cloud, sandbox.settings)


def insistently(cloud: Cloud, request: LaunchRequest) -> list[Instance]:
    """Launch as a driver does: again, for as long as nobody knows what the last call did."""
    for _ in range(10):
        try:
            return cloud.launch(request)
        except (UnknownOutcome, Throttled):
            request = replace(request, asked_before=True)
    raise AssertionError("a launch must come to an end")


def by_tag(cloud: Cloud, token: str) -> list[Instance]:
    return list(cloud.find({TAG_CLUSTER: token}).instances)


@pytest.mark.parametrize("promise", PROMISES, ids=[promise.__name__ for promise in PROMISES])
def test_each_cloud_keeps_the_contract(sandbox: Sandbox, subject: Subject, promise: Promise) -> None:
    promise(contract.Subject(lambda: connect(subject.cloud, sandbox.settings), **subject.place))
    until(lambda: sandbox.live() == [])


@pytest.mark.parametrize("promise", PROMISES, ids=[promise.__name__ for promise in PROMISES])
def test_machines_of_ones_own_keep_the_contract(lab: Lab, promise: Promise) -> None:
    promise(contract.Subject(lambda: Ssh(lab.config()), "box", "basement", None))
    assert not any(lab.claims(machine) for machine in lab.machines)


@pytest.mark.parametrize("why", range(4), ids=["auth", "quota", "capacity", "invalid"])
def test_a_lost_reply_and_then_a_refusal_leave_nothing_that_nobody_knows_of(
    sandbox: Sandbox, subject: Subject, cloud: Cloud, token: str, why: int
) -> None:
    sandbox.control.fault(subject.cloud, subject.create, "lost", code=subject.broken, token=_call(subject, token))
    code = subject.refusals[why]
    sandbox.control.fault(subject.cloud, subject.create, "error", code=code, times=100, token=_call(subject, token))
    launched, settled = [], False
    try:
        launched = insistently(cloud, subject.request(token, asked_before=False))
    except REFUSALS as refusal:
        settled = refusal.settled
    assert not settled, "more of the first call may still appear, and the error has to say so"
    until(lambda: len(sandbox.live()) == len(launched))


@pytest.mark.parametrize("why", range(4), ids=["auth", "quota", "capacity", "invalid"])
def test_a_refusal_of_half_a_gang_leaves_nothing(
    sandbox: Sandbox, subject: Subject, cloud: Cloud, token: str, why: int
) -> None:
    code = subject.refusals[why]
    sandbox.control.fault(subject.cloud, subject.create, "error", code=code, times=100, token=_call(subject, token, 1))
    with pytest.raises(REFUSALS) as refused:
        insistently(cloud, subject.request(token, num_nodes=2, asked_before=False))
    until(lambda: sandbox.live() == [])
    if refused.value.settled:
        assert by_tag(cloud, token) == []


def test_a_first_refusal_is_settled_unless_something_is_being_deleted(
    sandbox: Sandbox, subject: Subject, cloud: Cloud, token: str
) -> None:
    first = "resourceGroups.put" if subject.cloud == "azure" else subject.create
    sandbox.control.fault(subject.cloud, first, "error", code=subject.refusals[0], times=100)
    with pytest.raises(AuthError) as refused:
        cloud.launch(subject.request(token, asked_before=False))
    assert refused.value.settled
    with pytest.raises(AuthError) as refused:
        cloud.launch(subject.request(token))
    assert not refused.value.settled, "somebody may have asked before, and been heard"


def test_half_a_gang_of_an_earlier_call_is_ended_with_the_refusal(
    sandbox: Sandbox, subject: Subject, cloud: Cloud, token: str
) -> None:
    if subject.cloud != "gcp":
        pytest.skip("a gang is one call on AWS, and one group on Azure")
    sandbox.control.fault(subject.cloud, subject.create, "lost", code=subject.broken, token=_call(subject, token, 0))
    with pytest.raises(CloudError):
        cloud.launch(subject.request(token, num_nodes=2, asked_before=False))
    another = connect(subject.cloud, sandbox.settings)  # of a driver that took over
    for number in range(2):
        sandbox.control.fault(
            subject.cloud,
            subject.create,
            "error",
            code=subject.refusals[1],
            times=9,
            token=_call(subject, token, number),
        )
    with pytest.raises(REFUSALS) as refused:
        insistently(another, subject.request(token, num_nodes=2))
    assert not refused.value.settled
    until(lambda: sandbox.live() == [])


def test_a_search_that_is_refused_is_told(sandbox: Sandbox, subject: Subject, cloud: Cloud, token: str) -> None:
    cloud.launch(subject.request(token))
    region = subject.place["region"]
    sandbox.control.fault(subject.cloud, subject.search, "error", code=subject.refusals[0], times=1000)
    try:
        found = cloud.find({TAG_CLUSTER: token}, regions=[region], instance_type=subject.place["instance_type"])
    except AuthError:
        return  # the cloud has but this one call, and says no
    assert found.unreachable, "nothing was found, which means nothing"
    assert found.instances == ()


def test_what_stays_when_machines_go_is_listed_and_removed_unless_it_holds_data(
    sandbox: Sandbox, subject: Subject, cloud: Cloud, token: str
) -> None:
    bucket = cloud.storage(subject.place["region"]).url.partition("://")[2]
    launched = cloud.launch(subject.request(token, ports=(8080,)))
    assert not [thing for thing in cloud.leftovers({TAG_OWNER: "contract"}).things if thing.kind == "disk"]
    cloud.terminate([instance.id for instance in launched])
    until(lambda: sandbox.live() == [])
    found = cloud.leftovers({TAG_OWNER: "contract"})
    assert found.unreachable == {}
    if subject.cloud == "azure":
        return  # the rest of a machine is in its group; the emulator has one account, which is not ours to list
    assert bucket in [thing.id for thing in found.things if thing.kind == "bucket"]
    for thing in found.things:
        assert (thing.cloud, thing.holds_data) == (subject.cloud, thing.kind == "bucket")
        if thing.holds_data:
            with pytest.raises(InvalidRequest, match="data"):
                cloud.remove(thing)
        else:
            assert thing.shared
            for _ in range(2):
                cloud.remove(thing)
    left = {thing.kind for thing in cloud.leftovers({TAG_OWNER: "contract"}).things}
    assert left <= {"bucket"}


def _call(subject: Subject, token: str, number: int | None = None) -> str:
    """How the sandbox's faults call the creation of a machine of a gang; ``None`` for a gang of one."""
    if subject.cloud == "aws":
        return token
    if subject.cloud == "azure":
        return token
    return token if number is None else f"{token}-{number}"
