"""Machines that die, are mute or somebody else's, object stores that are out, faults for one caller only."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest

from sky_core.clouds import connect as connect_cloud
from sky_core.clouds.base import Cloud, Instance
from sky_core.errors import AuthError, QuotaError
from tests.conftest import Sandbox, until
from tests.sandbox.ssh import Session, connect, request, running


@pytest.fixture
def aws(sandbox: Sandbox) -> Cloud:
    return connect_cloud("aws", sandbox.settings)


def launch(aws: Cloud, token: str) -> Instance:
    [machine] = running(aws, aws.launch(request(token)))
    return machine


def name(machine: Instance) -> str:
    return machine.id.rpartition("/")[2]


def log_in(sandbox: Sandbox, machine: Instance) -> Session:
    assert machine.ip is not None
    return connect(machine.ip, sandbox.settings.clouds["aws"].ssh_port)


def test_a_host_that_fails(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    machine = launch(aws, token)
    sandbox.control.kill(name(machine))
    [gone] = aws.describe([machine.id])
    assert (gone.state, gone.reason) == ("gone", "Server.InternalError")


def test_an_address_that_was_given_to_a_stranger(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    machine = launch(aws, token)
    sandbox.control.estrange(name(machine))
    assert aws.describe([machine.id])[0].state == "gone"
    with pytest.raises(Exception, match=r"[Hh]ost key"):
        log_in(sandbox, machine)
    assert not sandbox.control.ledger(open_only=True, tags={"skyloom-cluster": token}), "a stranger's bill is not ours"


def test_a_machine_without_a_word(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    sandbox.control.fault("aws", "boot", "mute", region="us-east-1")
    machine = launch(aws, token)
    assert machine.ip is not None
    with socket.create_connection((machine.ip, sandbox.settings.clouds["aws"].ssh_port), timeout=10) as link:
        link.settimeout(0.5)
        with pytest.raises(TimeoutError):
            link.recv(1)


def test_a_machine_that_fails_after_it_was_accepted(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    sandbox.control.fault("aws", "boot", "error", code="Client.VolumeLimitExceeded")
    [machine] = aws.launch(request(token))
    until(lambda: aws.describe([machine.id])[0].state == "gone")
    [gone] = aws.describe([machine.id])
    assert isinstance(gone.failed, QuotaError), "and not taken back"
    assert not gone.preempted


def test_an_instance_that_ec2_does_not_know_yet(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    sandbox.control.fault("aws", "start", "unseen", seconds=8.0)
    aws.launch(request(token))
    other = connect_cloud("aws", sandbox.settings)  # another process: it has not seen the answer to the launch
    assert other.find({"skyloom-cluster": token}, regions=["us-east-1"]).instances == ()
    until(lambda: other.find({"skyloom-cluster": token}, regions=["us-east-1"]).instances)


def test_faults_for_one_caller_only(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    sandbox.control.fault("aws", "RunInstances", "error", code="UnauthorizedOperation", caller="AKIASKYLOOMSANDBOX00")
    with pytest.raises(AuthError):
        aws.launch(request(token))
    sandbox.control.fault("aws", "RunInstances", "error", code="UnauthorizedOperation", caller="somebody else")
    assert aws.launch(request(token))


def test_a_bucket_that_is_out(sandbox: Sandbox) -> None:
    url = sandbox.settings.clouds["aws"].storage_endpoint
    sandbox.control.storage_outage("out-of-order", 0.5)
    assert status(f"{url}/out-of-order-us-east-1/key") == 503
    assert status(f"{url}/another-us-east-1/key") == 403, "it asks who we are"
    until(lambda: status(f"{url}/out-of-order-us-east-1/key") == 403)


def status(url: str) -> int:
    try:
        return int(urllib.request.urlopen(url).status)
    except urllib.error.HTTPError as error:
        return error.code
