"""The machines themselves, of both kinds: what a session finds there, and that nothing survives their end."""

from __future__ import annotations

import importlib.util
import io
import itertools
import os
import sys
import uuid
import zipfile
from collections.abc import Iterator

import paramiko
import psutil
import pytest

from sky_core.clouds import connect as connect_cloud
from sky_core.clouds.base import Instance
from sky_core.networks import Networks
from sky_sandbox import client
from sky_sandbox.machines import namespaces
from sky_sandbox.network.gate import BASTION
from tests.conftest import Sandbox, start_sandbox, until
from tests.sandbox.ssh import Session, connect, greeting, new_key, request, running

numbers = itertools.count()


@pytest.fixture(scope="module", params=["sshd", "asyncssh"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox whose machines are of one kind."""
    if request.param == "sshd" and not namespaces.available():
        pytest.skip("this host gives no namespaces, or has no sshd")
    sandbox = start_sandbox(tmp_path_factory.mktemp(request.param), runner=request.param, aws_notice_s=2)
    yield sandbox
    client.down(sandbox.home)


def launch(world: Sandbox, number: int = 1) -> list[Instance]:
    """Running machines."""
    aws = connect_cloud("aws", world.settings)
    return running(aws, aws.launch(request(f"instances-{next(numbers)}", num_nodes=number)))


def log_in(world: Sandbox, machine: Instance) -> Session:
    assert machine.ip is not None
    return connect(machine.ip, world.settings.clouds["aws"].ssh_port)


def name(machine: Instance) -> str:
    return machine.id.partition("/")[2]


def state(world: Sandbox, machine: Instance) -> tuple[str, str]:
    [found] = [m for m in world.control.machines() if m["id"] == name(machine)]
    return found["state"], found["cause"]


def having(word: str) -> list[int]:
    """Processes that carry a word on their command line."""
    return [p.pid for p in psutil.process_iter(["cmdline"]) if any(word in part for part in p.info["cmdline"] or ())]


def test_what_a_session_finds(world: Sandbox) -> None:
    session = log_in(world, launch(world)[0])
    assert session.run("exit 3") == (3, "")
    assert session.run("echo $USER $SKY_SANDBOX; cd; pwd | grep -c /")[1] == "skyloom 1\n1\n"
    code, text = session.run("python -c 'import sys, fsspec, cloudpickle; print(sys.prefix)'")
    assert (code, text.strip()) == (0, sys.prefix)
    assert session.run("bash -lc 'command -v shutdown python'")[1].count("/bin/") == 2
    assert session.run("sudo -n true")[0] == 0
    assert session.run("head -c 20000000 /dev/zero | wc -c") == (0, "20000000\n")


def test_files_and_streams(world: Sandbox) -> None:
    session = log_in(world, launch(world)[0])
    data = os.urandom(3_000_000)
    with session.client.open_sftp() as sftp:
        sftp.putfo(io.BytesIO(data), "upload")
        back = io.BytesIO()
        sftp.getfo("upload", back)
    assert back.getvalue() == data
    stdin, stdout, _ = session.client.exec_command("cat > copy && cmp copy upload && cat copy")
    stdin.write(data)
    stdin.channel.shutdown_write()
    assert stdout.read() == data


def test_machines_have_homes_of_their_own(world: Sandbox) -> None:
    one, other = (log_in(world, machine) for machine in launch(world, 2))
    one.run("echo secret > note; echo secret > $(python -c 'import tempfile; print(tempfile.gettempdir())')/note")
    assert other.run("ls")[1] == ""
    shared = other.run("ls $(python -c 'import tempfile; print(tempfile.gettempdir())')")[1]
    assert "note" not in shared.split()  # Python itself may be there, where the project lies below /tmp


def wheel() -> bytes:
    """A package with one module, skyx."""
    files = {
        "skyx.py": "word = 'here'",
        "skyx-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: skyx\nVersion: 1.0\n",
        "skyx-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "skyx-1.0.dist-info/RECORD": "",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return buffer.getvalue()


def test_what_pip_installs_stays_in_the_machine(world: Sandbox) -> None:
    one, other = (log_in(world, machine) for machine in launch(world, 2))
    with one.client.open_sftp() as sftp:
        sftp.putfo(io.BytesIO(wheel()), "skyx-1.0-py3-none-any.whl")
    code, text = one.run("python -m pip install --no-index --quiet ./skyx-1.0-py3-none-any.whl")
    assert code == 0, text
    assert one.run("cd /; python -c 'import skyx; print(skyx.word)'") == (0, "here\n")
    assert other.run("python -c 'import skyx'")[0] == 1
    assert importlib.util.find_spec("skyx") is None


def test_host_key_and_login_are_checked(world: Sandbox) -> None:
    [machine] = launch(world)
    assert machine.ip is not None
    port = world.settings.clouds["aws"].ssh_port
    with pytest.raises(paramiko.BadHostKeyException):
        connect(machine.ip, port, host_key=new_key())
    with pytest.raises(paramiko.AuthenticationException):
        connect(machine.ip, port, user="root")


def test_a_kill_leaves_no_survivor(world: Sandbox) -> None:
    machine, bystander = launch(world, 2)
    mine, other = (f"1000.{uuid.uuid4().int}" for _ in range(2))
    # A daemon in a session of its own, one that also threw away its environment, and a plain child in the background.
    session = log_in(world, machine)
    session.run(f"setsid nohup sleep {mine} >/dev/null 2>&1 &")
    session.run(f"env -i setsid -f nohup sleep {mine} </dev/null >/dev/null 2>&1")
    session.run(f"(sleep {mine} >/dev/null 2>&1 &)")
    log_in(world, bystander).run(f"setsid nohup sleep {other} >/dev/null 2>&1 &")
    until(lambda: (len(having(mine)), len(having(other))) == (3, 1))
    world.control.preempt(name(machine), notice_s=0)
    until(lambda: state(world, machine) == ("gone", "preempted"))
    assert (having(mine), len(having(other))) == ([], 1)


@pytest.mark.parametrize("command", ["shutdown -h now", "sudo shutdown -h now", "sudo -n poweroff"])
def test_shutdown_inside(world: Sandbox, command: str) -> None:
    [machine] = launch(world)
    log_in(world, machine).client.exec_command(command)
    until(lambda: state(world, machine) == ("gone", "self"))


def test_a_killed_server_process_counts_as_a_crash(world: Sandbox) -> None:
    [machine] = launch(world)
    session = log_in(world, machine)
    session.run("setsid nohup sleep 1000 >/dev/null 2>&1 &")
    [listener] = {
        connection.pid
        for connection in psutil.net_connections("tcp4")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr == (machine.ip, world.settings.clouds["aws"].ssh_port)
    }
    psutil.Process(listener).kill()
    until(lambda: state(world, machine)[0] == "gone")
    assert state(world, machine)[1] in ("killed", "self")


def test_a_hung_machine_says_nothing(world: Sandbox) -> None:
    [machine] = launch(world)
    session = log_in(world, machine)
    world.control.hang(name(machine))
    with pytest.raises((TimeoutError, paramiko.SSHException)):
        session.client.exec_command("echo alive", timeout=1)[1].read()
    world.control.hang(name(machine), hung=False)
    assert log_in(world, machine).run("echo alive") == (0, "alive\n")
    world.control.hang(name(machine))
    world.control.preempt(name(machine), notice_s=0)
    until(lambda: state(world, machine) == ("gone", "preempted"))


def test_a_firewall_holds_for_each_address_by_itself(world: Sandbox) -> None:
    [machine] = launch(world)
    config = world.settings.clouds["aws"]
    assert machine.ip is not None
    place = (machine.ip, config.ssh_port)
    assert greeting(place, "127.0.0.1") == b"SSH-"
    world.control.account("private")
    assert [greeting(place, source) for source in ("127.0.0.1", BASTION)] == [b"", b""], "no rule of its group says so"
    bastion = config.model_copy(update={"network": Networks(sources=(f"{BASTION}/32",))})
    connect_cloud("aws", world.settings.model_copy(update={"clouds": {"aws": bastion}})).launch(request("opens"))
    assert [greeting(place, source) for source in ("127.0.0.1", BASTION)] == [b"", b"SSH-"]
    world.control.account()
    assert log_in(world, machine).run("echo $SKY_SANDBOX") == (0, "1\n")


def test_eviction_is_announced_where_the_machine_looks(world: Sandbox) -> None:
    [machine] = launch(world)
    session = log_in(world, machine)
    ask = (
        "base=$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest; "
        "token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $base/api/token); "
        'curl -sf -H "X-aws-ec2-metadata-token: $token" $base/meta-data/{}'
    )
    assert session.run(ask.format("instance-id")) == (0, name(machine))
    assert session.run(ask.format("spot/instance-action"))[0] == 22, "404 until the notice"
    world.control.preempt(name(machine))
    code, text = session.run(ask.format("spot/instance-action"))
    assert code == 0
    assert '"action": "terminate"' in text
    until(lambda: state(world, machine) == ("gone", "preempted"))
