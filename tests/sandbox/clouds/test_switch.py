"""The dead man's switch: a machine that nobody needs ends its own bill, on every cloud, whoever died."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace

import httpx
import pytest

from sky_core.clouds import connect
from sky_core.clouds.base import Cloud, Instance
from sky_core.clouds.userdata import cloud_config
from sky_core.config import Settings
from sky_core.errors import NotSetUp, Throttled
from sky_core.remote.switch import switch
from tests.conftest import Sandbox, until
from tests.sandbox import ssh
from tests.sandbox.clouds.test_contract import SUBJECTS, Subject

IDLE_S = 4.0
ARMED = {"aws": "machine", "gcp": "cloud", "tpu": "machine", "tpu-queue": "machine", "azure": "machine"}


@pytest.fixture(params=SUBJECTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def subject(name: str) -> Subject:
    return SUBJECTS[name]


@pytest.fixture
def cloud(sandbox: Sandbox, subject: Subject) -> Cloud:
    return connect(subject.cloud, sandbox.settings)


def launched(sandbox: Sandbox, cloud: Cloud, subject: Subject, token: str, *, max_s: float = 3600.0) -> Instance:
    armed = replace(switch(sandbox.settings, subject.cloud, 1.0), idle_s=IDLE_S, max_s=max_s)
    [machine] = cloud.launch(subject.request(token, switch=armed))
    return machine


def test_a_machine_on_which_no_agent_starts_ends_its_bill(
    sandbox: Sandbox, name: str, subject: Subject, cloud: Cloud, token: str
) -> None:
    """As when the driver died between the launch and its first contact, for good."""
    machine = launched(sandbox, cloud, subject, token)
    assert machine.armed == ARMED[name]
    ended = "stopping" if name == "gcp" else "gone"  # without an account it may do no more than power off
    until(lambda: cloud.describe([machine.id])[0].state == ended)
    until(lambda: [one["state"] for one in sandbox.control.machines(live=True)] == (["off"] if name == "gcp" else []))


def test_a_machine_with_an_account_deletes_itself(sandbox: Sandbox, token: str) -> None:
    config = sandbox.settings.clouds["gcp"].model_copy(update={"machine_identity": "ends@skyloom.test"})
    cloud = connect("gcp", sandbox.settings.model_copy(update={"clouds": {"gcp": config}}))
    machine = launched(sandbox, cloud, SUBJECTS["gcp"], token)
    until(lambda: sandbox.live() == [])
    assert cloud.describe([machine.id])[0].state == "gone"


def test_what_a_machine_finds_opens_no_other(sandbox: Sandbox, token: str) -> None:
    """Google's default account is an editor of many projects: code that asks for its token would be one as well."""
    cloud = connect("gcp", sandbox.settings)
    [machine] = ssh.running(cloud, [launched(sandbox, cloud, SUBJECTS["gcp"], token)])
    assert machine.ip is not None
    session = ssh.connect(machine.ip, sandbox.settings.clouds["gcp"].ssh_port)
    url = "http://$GCE_METADATA_HOST/computeMetadata/v1/instance/service-accounts/default/token"
    code, said = session.run(f"curl -s -o /dev/null -w '%{{http_code}}' -H 'Metadata-Flavor: Google' {url}")[:2]
    assert (code, said.strip()[-3:]) == (0, "404")


def test_what_a_tpu_finds_ends_nodes_and_opens_nothing(sandbox: Sandbox, token: str) -> None:
    config = sandbox.settings.clouds["gcp"]
    [machine] = ssh.running(
        connect("gcp", sandbox.settings), [launched(sandbox, connect("gcp", sandbox.settings), SUBJECTS["tpu"], token)]
    )
    assert machine.ip is not None
    url = "http://$GCE_METADATA_HOST/computeMetadata/v1/instance/service-accounts/default/token"
    _, said = ssh.connect(machine.ip, config.ssh_port).run(f"curl -s -H 'Metadata-Flavor: Google' {url}")[:2]
    login = {"Authorization": f"Bearer {json.loads(said)['access_token']}"}
    objects = f"{config.storage_endpoint}/storage/v1/b/{config.bucket_prefix}-europe-west4/o"
    instances = f"{config.endpoint}/compute/v1/projects/{config.account}/aggregated/instances"
    nodes = f"{config.endpoint}/v2/projects/{config.account}/locations/-/nodes"
    for closed in (objects, f"{objects}/jobs%2Fother%2Fcheckpoint?alt=media", instances, nodes):
        assert httpx.get(closed, headers=login).status_code == 403, closed
    assert httpx.delete(f"{nodes.replace('/-/', '/europe-west4-a/')}/{token}", headers=login).status_code == 200
    until(lambda: sandbox.live() == [])


def test_without_an_account_to_delete_itself_by_no_tpu_is_launched(sandbox: Sandbox, token: str) -> None:
    config = sandbox.settings.clouds["gcp"].model_copy(update={"tpu_identity": None})
    cloud = connect("gcp", sandbox.settings.model_copy(update={"clouds": {"gcp": config}}))
    with pytest.raises(NotSetUp, match="delete themselves") as refused:
        launched(sandbox, cloud, SUBJECTS["tpu"], token)
    assert "tpu_identity" in refused.value.cure
    assert [one for one in sandbox.control.audit() if one.get("token") == token] == []


def test_a_machine_with_a_living_agent_stays_until_that_dies(sandbox: Sandbox, token: str) -> None:
    subject, cloud = SUBJECTS["aws"], connect("aws", sandbox.settings)
    [machine] = ssh.running(cloud, [launched(sandbox, cloud, subject, token)])
    assert machine.ip is not None
    session = ssh.connect(machine.ip, sandbox.settings.clouds["aws"].ssh_port)
    began = time.monotonic()
    beat = "mkdir -p ~/.skyloom; for i in $(seq 12); do touch ~/.skyloom/alive; sleep 1; done"
    assert session.run(beat)[0] == 0, "the machine lives for as long as its agent does"
    assert time.monotonic() - began > 2 * IDLE_S
    until(lambda: sandbox.live() == [])


def test_nothing_lives_longer_than_its_maximum(sandbox: Sandbox, token: str) -> None:
    subject, cloud = SUBJECTS["aws"], connect("aws", sandbox.settings)
    [machine] = ssh.running(cloud, [launched(sandbox, cloud, subject, token, max_s=6.0)])
    assert machine.ip is not None
    session = ssh.connect(machine.ip, sandbox.settings.clouds["aws"].ssh_port)
    session.client.exec_command("mkdir -p ~/.skyloom; while :; do touch ~/.skyloom/alive; sleep 0.5; done")
    until(lambda: sandbox.live() == [])


def test_where_roles_may_not_be_assigned_nothing_is_armed_and_that_is_told(sandbox: Sandbox, token: str) -> None:
    """A Contributor on Azure: the machine is launched all the same, and it is for the sweep to end it."""
    cloud = connect("azure", sandbox.settings)
    sandbox.control.fault("azure", "roleAssignments.put", "error", code="AuthorizationFailed", times=100)
    assert launched(sandbox, cloud, SUBJECTS["azure"], token).armed == "none"
    assert len(sandbox.live()) == 1


def test_a_new_subscription_is_registered_for_identities_too(sandbox: Sandbox, token: str) -> None:
    cloud = connect("azure", sandbox.settings)
    sandbox.control.account(registered=False)
    for _ in range(4):  # one refusal for each of what it has to be registered for
        with contextlib.suppress(Throttled):
            assert launched(sandbox, cloud, SUBJECTS["azure"], token).armed == "machine"
            return
    pytest.fail("it is not launched")


def test_a_machine_may_end_itself_from_the_moment_on_at_which_it_is_there(sandbox: Sandbox, token: str) -> None:
    """A driver that dies for good in the middle of a launch leaves no machine without the right to."""
    launched(sandbox, connect("azure", sandbox.settings), SUBJECTS["azure"], token)
    calls = [entry["action"] for entry in sandbox.control.audit() if entry.get("token") == token and "action" in entry]
    assert "roleAssignments.put" in calls[: calls.index("virtualMachines.put")]


@pytest.mark.parametrize("kind", ["aws", "gcp", "azure"])
def test_user_data_holds_no_more_than_ec2_takes(kind: str, tmp_path: object) -> None:
    settings = Settings.load({"SKYLOOM_HOME": str(tmp_path)})
    request = SUBJECTS["aws"].request("size", switch=switch(settings, kind, 100.0))
    assert len(cloud_config(request, "skyloom").encode()) < 16 * 1024
