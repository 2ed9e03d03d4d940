"""The Azure provider through the real client libraries against the sandbox."""

from __future__ import annotations

import time
from typing import Any

import fsspec
import pytest
from azure.core.exceptions import ResourceNotFoundError
from pydantic import SecretStr

from sky_core.clouds import connect as connect_cloud
from sky_core.clouds.azure.provider import Azure
from sky_core.clouds.base import TAG_CLUSTER, TAG_OWNER, Instance, LaunchRequest
from sky_core.errors import (
    AuthError,
    CapacityError,
    CloudError,
    InvalidRequest,
    QuotaError,
    Throttled,
    UnknownOutcome,
)
from tests.conftest import Sandbox, until
from tests.sandbox import ssh
from tests.sandbox.ssh import running

SIZE, ZONE = "Standard_D2s_v5", "eastus-1"


@pytest.fixture(scope="module")
def azure(shared_sandbox: Sandbox) -> Azure:
    cloud = connect_cloud("azure", shared_sandbox.settings)
    assert isinstance(cloud, Azure)
    return cloud


def request(token: str, **changes: Any) -> LaunchRequest:
    place = {"instance_type": SIZE, "region": "eastus", "zone": ZONE}
    return ssh.request(token, **{**place, "tags": {TAG_OWNER: "tests", TAG_CLUSTER: token}, **changes})


def ids(instances: list[Instance]) -> list[str]:
    return [instance.id for instance in instances]


def creations(sandbox: Sandbox, token: str) -> list[str]:
    """What became of the calls that ask for a machine."""
    calls = [e for e in sandbox.control.audit() if e.get("action") == "virtualMachines.put" and e["token"] == token]
    return [call["outcome"] for call in calls]


def cleared(azure: Azure, token: str) -> bool:
    """Wait until the group of a token is gone with all that was in it."""

    def gone() -> bool:
        try:
            azure._groups.get(token)
        except ResourceNotFoundError:
            return True
        return False

    return bool(until(gone))


def test_launch_log_in_and_terminate(sandbox: Sandbox, azure: Azure, token: str) -> None:
    azure.check()
    [launched] = azure.launch(request(token, use_spot=False))
    assert (launched.region, launched.zone, launched.instance_type) == ("eastus", ZONE, SIZE)
    assert launched.use_spot is False
    [machine] = running(azure, [launched])
    assert machine.ip is not None
    assert machine.launched_at == pytest.approx(time.time(), abs=300)
    session = ssh.connect(machine.ip, sandbox.settings.clouds["azure"].ssh_port)
    assert session.run("echo $SKY_SANDBOX; echo $LOGNAME") == (0, "1\nskyloom\n")
    assert azure.find({TAG_CLUSTER: token}).instances == (machine,)
    azure.terminate([machine.id])
    until(lambda: not sandbox.live())
    assert cleared(azure, token)
    assert azure.find({TAG_CLUSTER: token}).instances == ()
    [gone] = azure.describe([machine.id])
    assert (gone.state, gone.preempted) == ("gone", False)
    azure.terminate([machine.id])


def test_same_token_same_machines(sandbox: Sandbox, azure: Azure, token: str) -> None:
    first = azure.launch(request(token, num_nodes=2))
    again = Azure(sandbox.settings.clouds["azure"]).launch(request(token, num_nodes=2))
    assert ids(first) == ids(again)
    assert creations(sandbox, token) == ["created"] * 2


def test_a_launch_cut_short_is_taken_up_where_it_stopped(
    sandbox: Sandbox, azure: Azure, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(azure._groups, "update", die)
        with pytest.raises(KeyboardInterrupt):
            azure.launch(request(token, num_nodes=2))
    assert len(azure.launch(request(token, num_nodes=2))) == 2
    assert sorted(creations(sandbox, token)) == ["created", "created", "exists", "exists"]


@pytest.mark.parametrize("action", ["resourceGroups.put", "networkInterfaces.put", "virtualMachines.put"])
def test_a_lost_reply_does_not_launch_twice(sandbox: Sandbox, azure: Azure, token: str, action: str) -> None:
    sandbox.control.fault("azure", action, "lost", code="GatewayTimeout", token=token)
    [machine] = azure.launch(request(token))
    assert sandbox.live() == [machine.id]
    assert creations(sandbox, token).count("created") <= 1


def test_when_all_replies_are_lost_the_machine_is_still_found(sandbox: Sandbox, azure: Azure, token: str) -> None:
    sandbox.control.fault("azure", "virtualMachines.put", "lost", code="GatewayTimeout", times=4, token=token)
    with pytest.raises(UnknownOutcome):
        azure.launch(request(token))
    [found] = azure.find({TAG_CLUSTER: token}).instances
    assert ids(azure.launch(request(token))) == [found.id]
    assert len(sandbox.live()) == 1


@pytest.mark.parametrize(("spot", "code"), [(True, "SkuNotAvailable"), (False, "ZonalAllocationFailed")])
def test_gangs_are_all_or_nothing(sandbox: Sandbox, azure: Azure, token: str, spot: bool, code: str) -> None:
    sandbox.control.capacity(ZONE, SIZE, "spot" if spot else "on-demand", 2)
    with pytest.raises(CapacityError) as refused:
        azure.launch(request(token, num_nodes=3, use_spot=spot))
    assert (refused.value.scope, refused.value.code) == ("zone", code)
    assert cleared(azure, token)
    assert sandbox.live() == []
    elsewhere = azure.launch(request(f"{token}-b", zone="eastus-2", num_nodes=3, use_spot=spot))
    assert {instance.zone for instance in elsewhere} == {"eastus-2"}


def test_a_gang_knows_its_members(azure: Azure, token: str) -> None:
    machines = running(azure, azure.launch(request(token, num_nodes=3)))
    assert len({machine.private_ip for machine in machines} - {None}) == 3


def test_without_a_zone_the_region_is_out_of_machines(sandbox: Sandbox, azure: Azure, token: str) -> None:
    sandbox.control.capacity("eastus", SIZE, "on-demand", 0)
    with pytest.raises(CapacityError) as refused:
        azure.launch(request(token, zone=None, use_spot=False))
    assert (refused.value.scope, refused.value.code) == ("region", "AllocationFailed")


def test_an_accelerator_can_be_sold_out_whatever_the_size(sandbox: Sandbox, azure: Azure, token: str) -> None:
    sandbox.control.capacity(ZONE, "V100", "spot", 0)
    for size in ("Standard_NC6s_v3", "Standard_NC24rs_v3"):
        with pytest.raises(CapacityError):
            azure.launch(request(f"{token}-{size[-6:-4].lower()}", instance_type=size, accelerator="V100"))
    assert azure.launch(request(token, instance_type="Standard_NC4as_T4_v3", accelerator="T4"))


def test_quota(sandbox: Sandbox, azure: Azure, token: str) -> None:
    sandbox.control.quota("azure", "eastus", 3)
    azure.launch(request(token))
    with pytest.raises(QuotaError) as refused:
        azure.launch(request(f"{token}-b"))
    assert (refused.value.scope, refused.value.code) == ("region", "OperationNotAllowed")


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("SkuNotAvailable", CapacityError),
        ("AllocationFailed", CapacityError),
        ("OverconstrainedAllocationRequest", CapacityError),
        ("OverconstrainedZonalAllocationRequest", CapacityError),
        ("QuotaExceeded", QuotaError),
    ],
)
def test_refusals_are_sorted_however_they_arrive(
    sandbox: Sandbox, azure: Azure, token: str, code: str, error: type[CloudError], mode: str
) -> None:
    sandbox.control.fault("azure", "virtualMachines.put", "error", code=f"{code}@{mode}", token=token)
    with pytest.raises(error) as refused:
        azure.launch(request(token))
    assert refused.value.code == code
    assert cleared(azure, token)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("AuthorizationFailed", AuthError),
        ("ExpiredAuthenticationToken", AuthError),
        ("RequestDisallowedByPolicy", AuthError),
        ("InvalidParameter", InvalidRequest),
        ("TooManyRequests", Throttled),
        ("InternalServerError", UnknownOutcome),
    ],
)
def test_errors_are_sorted(sandbox: Sandbox, azure: Azure, token: str, code: str, error: type[CloudError]) -> None:
    sandbox.control.fault("azure", "virtualMachines.put", "error", code=code, times=4, token=token)
    with pytest.raises(error) as raised:
        azure.launch(request(token))
    assert raised.value.code == code
    assert sandbox.live() == []
    if error in (Throttled, UnknownOutcome):
        sandbox.control.clear_faults()
        assert len(azure.launch(request(token))) == 1


def test_a_group_that_is_being_deleted_is_worth_another_try(sandbox: Sandbox, azure: Azure, token: str) -> None:
    azure.terminate(ids(azure.launch(request(token))))
    with pytest.raises(Throttled):
        azure.launch(request(token))
    assert cleared(azure, token)
    assert len(azure.launch(request(token))) == 1


def test_an_unknown_size_is_invalid(azure: Azure, token: str) -> None:
    with pytest.raises(InvalidRequest, match="Humongous"):
        azure.launch(request(token, instance_type="Humongous"))


def test_what_an_interrupted_launch_left_is_found_and_removed(sandbox: Sandbox, azure: Azure, token: str) -> None:
    sandbox.control.fault("azure", "virtualMachines.put", "error", code="InternalServerError", times=4, token=token)
    with pytest.raises(UnknownOutcome):
        azure.launch(request(token))
    [remains] = azure.find({TAG_CLUSTER: token}).instances
    assert (remains.state, remains.ip, remains.tags[TAG_OWNER]) == ("stopping", None, "tests")
    azure.terminate([remains.id])
    assert cleared(azure, token)


def test_a_machine_whose_creation_failed_is_still_found(sandbox: Sandbox, azure: Azure, token: str) -> None:
    sandbox.control.fault("azure", "virtualMachines.put", "error", code="AllocationFailed", token=token)
    sandbox.control.fault("azure", "resourceGroups.delete", "error", code="AuthorizationFailed", token=token)
    with pytest.raises(CapacityError):
        azure.launch(request(token))
    [failed] = azure.find({TAG_CLUSTER: token}).instances
    assert failed.state == "stopping"
    azure.terminate([failed.id])
    assert cleared(azure, token)


def test_eviction_is_told_from_termination(sandbox: Sandbox, azure: Azure, token: str) -> None:
    machines = running(azure, azure.launch(request(token, num_nodes=2)))
    sandbox.control.preempt(machines[0].id, notice_s=0)
    until(lambda: azure.describe([machines[0].id])[0].state == "gone")
    evicted, left = azure.describe(ids(machines))
    assert (evicted.preempted, evicted.use_spot, evicted.region) == (True, True, "eastus")
    assert left.state == "running"
    assert [i.state for i in azure.launch(request(token, num_nodes=2))] == ["gone", "running"], "no second machine"
    azure.terminate(ids(machines))
    assert cleared(azure, token)
    assert [i.preempted for i in azure.describe(ids(machines))] == [False, False]


def test_one_of_a_gang_can_be_ended(sandbox: Sandbox, azure: Azure, token: str) -> None:
    machines = running(azure, azure.launch(request(token, num_nodes=2)))
    azure.terminate([machines[1].id])
    until(lambda: azure.describe([machines[1].id])[0].state == "gone")
    left, ended = azure.describe(ids(machines))
    assert (left.state, ended.preempted) == ("running", False)
    assert len(sandbox.live()) == 1
    kinds = sorted(r.type.rpartition("/")[2] for r in azure._resources.list_by_resource_group(token))
    assert kinds.count("networkInterfaces") == kinds.count("disks") == kinds.count("publicIPAddresses") == 1


def test_machines_made_beside_a_cluster_are_in_its_network_which_stays_as_long(azure: Azure, token: str) -> None:
    more = f"{token}-more"
    gang = azure.launch(request(token, num_nodes=2))
    other = azure.launch(request(more, beside=token))
    interface: Any = azure._resources.get_by_id(
        azure._network.interface(more, other[0].id.rpartition("/")[2]), api_version="2024-05-01"
    )
    subnet = interface.properties["ipConfigurations"][0]["properties"]["subnet"]["id"]
    assert f"/{token}/" in subnet, "of the other's group"
    azure.terminate(ids(gang))
    until(lambda: [one.state for one in azure.find({TAG_CLUSTER: token}).instances] == ["stopping"])
    azure.terminate(ids(other))
    assert cleared(azure, more)
    azure.terminate([one.id for one in azure.find({TAG_CLUSTER: token}).instances])
    assert cleared(azure, token)


def test_a_machine_that_halts_itself_still_costs(sandbox: Sandbox, azure: Azure, token: str) -> None:
    [machine] = running(azure, azure.launch(request(token, use_spot=False)))
    ssh.connect(str(machine.ip), sandbox.settings.clouds["azure"].ssh_port).run("sudo poweroff")
    until(lambda: azure.describe([machine.id])[0].reason == "stopped")
    [halted] = azure.find({TAG_CLUSTER: token}).instances
    assert (halted.reason, halted.preempted) == ("stopped", False)


def test_find_is_by_all_tags_and_by_region(azure: Azure, token: str) -> None:
    here = azure.launch(request(token))
    there = azure.launch(request(f"{token}-b", region="westeurope", zone="westeurope-3"))
    owner = {TAG_OWNER: "tests"}
    assert set(ids(here + there)) <= set(ids(azure.find(owner).instances))
    assert ids(azure.find({**owner, TAG_CLUSTER: token}).instances) == ids(here)
    assert azure.find({TAG_OWNER: "others", TAG_CLUSTER: token}).instances == ()
    found = azure.find(owner, regions=["westeurope"]).instances
    assert [(i.region, i.zone) for i in found if i.id in ids(there)] == [("westeurope", "westeurope-3")]
    assert not set(ids(here)) & set(ids(found))


def test_someone_elses_group_is_never_deleted(azure: Azure, token: str) -> None:
    azure._groups.create_or_update(token, {"location": "eastus", "tags": {"precious": "yes"}})
    azure.terminate([f"/subscriptions/{azure._subscription}/resourceGroups/{token}", "i-0123", ""])
    assert azure._groups.get(token).tags == {"precious": "yes"}
    assert [i.state for i in azure.describe(["i-0123"])] == ["gone"]


def test_confidential_machines(sandbox: Sandbox, azure: Azure, token: str) -> None:
    for number, size in enumerate(("Standard_DC2s_v3", "Standard_DC2as_v5")):
        name = f"{token}-{number}"
        assert azure.launch(request(name, instance_type=size, use_spot=False))
        profile = azure._machines.get(name, f"{name}-0").security_profile
        assert (profile is not None and profile.security_type == "ConfidentialVM") == (size == "Standard_DC2as_v5")


def test_a_short_wait_is_waited_and_a_long_one_is_the_callers(sandbox: Sandbox, azure: Azure, token: str) -> None:
    sandbox.control.fault("azure", "resourceGroups.put", "error", code="TooManyRequests", seconds=1, token=token)
    sandbox.control.fault("azure", "virtualMachines.put", "slow", seconds=0.5, token=token)
    began = time.monotonic()
    assert azure.launch(request(token))
    assert time.monotonic() - began >= 1.5
    sandbox.control.fault("azure", "resourceGroups.get", "error", code="TooManyRequests", seconds=3600, token=token)
    with pytest.raises(Throttled):
        azure.launch(request(token))


def test_missing_login_and_subscription(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    config = sandbox.settings.clouds["azure"]
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID", raising=False)
    with pytest.raises(AuthError, match="AZURE_SUBSCRIPTION_ID"):
        Azure(config.model_copy(update={"account": None}))
    sandbox.control.fault("azure", "resourceGroups.get", "error", code="InvalidAuthenticationToken", times=9)
    with pytest.raises(AuthError):
        Azure(config).check()


def test_no_secret_in_error_or_repr(sandbox: Sandbox, azure: Azure, token: str, caplog: Any) -> None:
    secret = Azure(sandbox.settings.clouds["azure"].model_copy(update={"credentials": {"token": SecretStr("hush")}}))
    sandbox.control.fault("azure", "virtualMachines.put", "error", code="InvalidParameter", token=token)
    with caplog.at_level("DEBUG"), pytest.raises(InvalidRequest) as raised:
        secret.launch(request(token))
    for text in (str(raised.value), repr(raised.value), caplog.text):
        assert "hush" not in text
        assert "PRIVATE KEY" not in text


def test_a_container_per_region_through_adlfs(sandbox: Sandbox, azure: Azure) -> None:
    place = azure.storage("eastus")
    assert azure.storage("eastus") == place
    assert Azure(sandbox.settings.clouds["azure"]).storage("eastus") == place, "a second process finds it there"
    with fsspec.open(f"{place.url}/a/b.txt", "wb", **azure.storage_options()) as file:
        file.write(b"data")
    filesystem, path = fsspec.url_to_fs(place.url, **azure.storage_options())
    assert filesystem.cat(f"{path}/a/b.txt") == b"data"


def test_a_named_account_is_looked_for(sandbox: Sandbox, azure: Azure) -> None:
    config = sandbox.settings.clouds["azure"].model_copy(update={"storage_endpoint": None, "storage_account": "mine"})
    with pytest.raises(InvalidRequest, match="'mine'"):
        Azure(config).storage("eastus")
    azure._groups.create_or_update("accounts", {"location": "eastus"})
    id_ = (
        f"/subscriptions/{azure._subscription}/resourceGroups/accounts/providers/Microsoft.Storage/storageAccounts/mine"
    )
    azure._resources.begin_create_or_update_by_id(id_, {"location": "eastus"}, api_version="2023-05-01").result()
    cloud = Azure(config)
    assert cloud.storage("eastus").url == "abfs://skyloom-eastus"
    assert cloud.storage_options()["account_name"] == "mine"


def test_regional_accounts_keep_data_where_it_is(sandbox: Sandbox) -> None:
    config = sandbox.settings.clouds["azure"].model_copy(update={"storage_endpoint": None, "storage_account": None})
    here, there = (Azure(config).storage(region).url for region in ("eastus", "westeurope"))
    assert here.startswith("abfs://skyloom-eastus@sky")
    assert here.partition("@")[2] != there.partition("@")[2]
    assert Azure(config).storage("eastus").url == here
    loan = Azure(config.model_copy(update={"machine_identity": "/subscriptions/x/…/mine"})).lend([], "azure")
    assert loan.options == {"identity": "/subscriptions/x/…/mine"}
    assert loan.ends_at is None
