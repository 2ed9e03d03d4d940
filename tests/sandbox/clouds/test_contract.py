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
        first: The call that a launch begins with, where that is another.
        one_by_one: Whether a gang is a call for each machine, which may fail half-way.
        lists_leftovers: Whether the sandbox lets it show what stays when machines go.
        played_by: The cloud of the sandbox that plays this one, where that has another name: a reseller's.
    """

    cloud: str
    place: dict[str, Any]
    create: str
    broken: str
    refusals: tuple[str, str, str, str]
    search: str
    first: str = ""
    one_by_one: bool = False
    lists_leftovers: bool = True
    played_by: str = ""

    @property
    def stage(self) -> str:
        """The name by which the sandbox's faults know it."""
        return self.played_by or self.cloud

    def connect(self, sandbox: Sandbox) -> Cloud:
        """A connection of its own, as each driver has one."""
        settings = sandbox.settings
        there = {**settings.clouds, self.cloud: settings.clouds[self.stage]}
        return connect(self.cloud, settings.model_copy(update={"clouds": there}))

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
        one_by_one=True,
    ),
    "tpu": Subject(
        "gcp",
        {"instance_type": "TPU-VM", "accelerator": "tpu-v3-8", "region": "europe-west4", "zone": "europe-west4-a"},
        "nodes.create",
        "503",
        ("forbidden", "QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED", "invalid"),
        "nodes.list",
        one_by_one=True,
    ),
    "tpu-queue": Subject(
        "gcp",
        {
            "instance_type": "TPU-VM",
            "accelerator": "tpu-v3-8",
            "region": "europe-west4",
            "zone": "europe-west4-a",
            "queue_s": 600.0,
        },
        "queuedResources.create",
        "503",
        ("forbidden", "QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED", "invalid"),
        "queuedResources.list",
        one_by_one=True,
    ),
    "azure": Subject(
        "azure",
        {"instance_type": "Standard_D2s_v5", "region": "eastus", "zone": "eastus-1"},
        "virtualMachines.put",
        "GatewayTimeout",
        ("AuthorizationFailed", "QuotaExceeded", "ZonalAllocationFailed", "InvalidParameter"),
        "virtualMachines.get",
        first="resourceGroups.put",
        lists_leftovers=False,
    ),
}


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest) -> Subject:
    return SUBJECTS[request.param]


@pytest.fixture
def cloud(sandbox: Sandbox, subject: Subject) -> Cloud:
    return subject.connect(sandbox)


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
    promise(contract.Subject(lambda: subject.connect(sandbox), **subject.place))
    until(lambda: sandbox.live() == [])


@pytest.mark.parametrize("promise", PROMISES, ids=[promise.__name__ for promise in PROMISES])
def test_machines_of_ones_own_keep_the_contract(lab: Lab, promise: Promise) -> None:
    promise(contract.Subject(lambda: Ssh(lab.config()), "box", "basement", None))
    assert not any(lab.claims(machine) for machine in lab.machines)


@pytest.mark.parametrize("why", range(4), ids=["auth", "quota", "capacity", "invalid"])
def test_a_lost_reply_and_then_a_refusal_leave_nothing_that_nobody_knows_of(
    sandbox: Sandbox, subject: Subject, cloud: Cloud, token: str, why: int
) -> None:
    sandbox.control.fault(subject.stage, subject.create, "lost", code=subject.broken, token=_call(subject, token))
    code = subject.refusals[why]
    sandbox.control.fault(subject.stage, subject.create, "error", code=code, times=100, token=_call(subject, token))
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
    sandbox.control.fault(subject.stage, subject.create, "error", code=code, times=100, token=_call(subject, token, 1))
    with pytest.raises(REFUSALS) as refused:
        insistently(cloud, subject.request(token, num_nodes=2, asked_before=False))
    until(lambda: sandbox.live() == [])
    if refused.value.settled:
        assert by_tag(cloud, token) == []


def test_a_first_refusal_is_settled_unless_something_is_being_deleted(
    sandbox: Sandbox, subject: Subject, cloud: Cloud, token: str
) -> None:
    first = subject.first or subject.create
    sandbox.control.fault(subject.stage, first, "error", code=subject.refusals[0], times=100)
    with pytest.raises(AuthError) as refused:
        cloud.launch(subject.request(token, asked_before=False))
    assert refused.value.settled
    with pytest.raises(AuthError) as refused:
        cloud.launch(subject.request(token))
    assert not refused.value.settled, "somebody may have asked before, and been heard"


def test_half_a_gang_of_an_earlier_call_is_ended_with_the_refusal(
    sandbox: Sandbox, subject: Subject, cloud: Cloud, token: str
) -> None:
    if not subject.one_by_one:
        pytest.skip("its gang is one call, or one group")
    sandbox.control.fault(subject.stage, subject.create, "lost", code=subject.broken, token=_call(subject, token, 0))
    refusal = subject.refusals[1]
    sandbox.control.fault(subject.stage, subject.create, "error", code=refusal, token=_call(subject, token, 1))
    with pytest.raises(CloudError):
        cloud.launch(subject.request(token, num_nodes=2, asked_before=False))
    assert len(sandbox.live()) == 1
    another = subject.connect(sandbox)  # of a driver that took over
    for number in range(2):
        sandbox.control.fault(
            subject.stage,
            subject.create,
            "error",
            code=refusal,
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
    sandbox.control.fault(subject.stage, subject.search, "error", code=subject.refusals[0], times=1000)
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
    if not subject.lists_leftovers:
        return  # Azure: the rest of a machine is in its group; the emulator has one account, which is not ours to list
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
    return token if number is None or not subject.one_by_one else f"{token}-{number}"
