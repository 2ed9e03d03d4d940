"""The sandbox's own life: it starts fast, weighs little and leaves nothing behind, however it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from sky_core.clouds import connect as connect_cloud
from sky_core.config import Settings
from sky_core.errors import SandboxNotRunning
from sky_sandbox import client
from sky_sandbox.machines import namespaces
from sky_sandbox.machines.processes import family
from tests.conftest import Sandbox, start_sandbox, until
from tests.sandbox.ssh import connect, request, running

RUNNERS = ["sshd", "asyncssh"]


def start(home: Path, runner: str) -> Sandbox:
    if runner == "sshd" and not namespaces.available():
        pytest.skip("this host gives no namespaces, or has no sshd")
    return start_sandbox(home, runner=runner)


def launch(sandbox: Sandbox, number: int) -> None:
    """Machines that run, each with a daemon."""
    aws = connect_cloud("aws", sandbox.settings)
    for machine in running(aws, aws.launch(request("life", num_nodes=number))):
        assert machine.ip is not None
        session = connect(machine.ip, sandbox.settings.clouds["aws"].ssh_port)
        session.run(f"setsid nohup sleep 1000.{sandbox.control.pid} >/dev/null 2>&1 &")
    until(lambda: len(left_of(sandbox)) == number)


def left_of(sandbox: Sandbox) -> list[int]:
    """Daemons of the sandbox's machines that run."""
    word = f"1000.{sandbox.control.pid}"
    return [p.pid for p in psutil.process_iter(["cmdline"]) if word in (p.info["cmdline"] or ())]


def assert_nothing_left(sandbox: Sandbox, processes: list[psutil.Process]) -> None:
    until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes))
    until(lambda: left_of(sandbox) == [])


@pytest.mark.parametrize("runner", RUNNERS)
def test_down_leaves_nothing(tmp_path: Path, runner: str) -> None:
    sandbox = start(tmp_path, runner)
    launch(sandbox, 2)
    processes = family(sandbox.control.pid)
    assert client.down(tmp_path)
    assert not (tmp_path / "sandbox/endpoints.json").exists()
    assert list((tmp_path / "sandbox/machines").iterdir()) == []
    assert_nothing_left(sandbox, processes)
    assert not client.down(tmp_path)
    with pytest.raises(SandboxNotRunning, match="skyloom sandbox up"):
        Settings.load(sandbox.environ)


@pytest.mark.slow
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_killed_sandbox_takes_its_machines_along(tmp_path: Path, runner: str) -> None:
    sandbox = start(tmp_path, runner)
    launch(sandbox, 2)
    processes = family(sandbox.control.pid)
    os.kill(sandbox.control.pid, signal.SIGKILL)
    assert_nothing_left(sandbox, processes)
    with pytest.raises(SandboxNotRunning):
        sandbox.control.status()
    again = start(tmp_path, runner)
    assert again.control.machines() == [], "a new sandbox begins empty"
    client.down(tmp_path)


def test_an_attached_sandbox_ends_with_its_parent(tmp_path: Path) -> None:
    script = f"""\
    import time
    from pathlib import Path
    from sky_sandbox import client
    client.up(Path({str(tmp_path)!r}), attached=True, boot_s=0.1)
    print("up", flush=True)
    time.sleep(1000)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        environ = {"SKYLOOM_HOME": str(tmp_path), "SKYLOOM_PROFILE": "sandbox"}
        sandbox = Sandbox(tmp_path, Settings.load(environ), client.control(tmp_path), environ)
        launch(sandbox, 1)
        processes = family(sandbox.control.pid)
        parent.kill()
    assert_nothing_left(sandbox, processes)


def test_a_detached_sandbox_outlives_its_parent_and_is_found_again(tmp_path: Path) -> None:
    script = f"from pathlib import Path; from sky_sandbox import client; client.up(Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", script], check=True)
    control = client.control(tmp_path)
    assert client.up(tmp_path).pid == control.pid, "up is idempotent"
    assert client.down(tmp_path)
    assert not psutil.pid_exists(control.pid)


def test_what_a_failed_start_says(tmp_path: Path) -> None:
    with pytest.raises(SandboxNotRunning, match="invalid choice"):
        client.up(tmp_path, runner="nonsense")


def test_endpoints_are_private(tmp_path: Path, sandbox: Sandbox) -> None:
    path = sandbox.home / "sandbox/endpoints.json"
    assert path.stat().st_mode & 0o777 == 0o600
    endpoints = json.loads(path.read_text())
    stranger = client.Control(endpoints["admin"]["url"], "guess", endpoints["pid"])
    with pytest.raises(Exception, match="token"):
        stranger.machines()


@pytest.mark.slow
@pytest.mark.parametrize(("runner", "limit_mb"), [("sshd", 300), ("asyncssh", 450)])
def test_twenty_machines_weigh_little(tmp_path: Path, runner: str, limit_mb: int) -> None:
    sandbox = start(tmp_path, runner)
    connect_cloud("aws", sandbox.settings).find({"any": "thing"})  # makes moto build all its regions
    launch(sandbox, 20)
    assert sandbox.control.status()["memory_mb"] < limit_mb
    client.down(tmp_path)


@pytest.mark.slow
def test_it_needs_no_root(tmp_path: Path) -> None:
    """As an ordinary user, in user namespaces."""
    if os.getuid() != 0:
        pytest.skip("we are an ordinary user: all other tests show it")
    if not namespaces.available():
        pytest.skip("this host gives no namespaces, or has no sshd")
    user = 4711
    home = Path("/var/tmp/skyloom-test-ordinary-user")  # below nothing that only root may enter
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    os.chown(home, user, user)
    program = f"""\
    import sys; sys.path[:0] = [{str(Path.cwd())!r}]
    import os
    from pathlib import Path
    from tests.sandbox.emulation.test_sandbox_life import launch, start, left_of, assert_nothing_left, client, family
    assert os.getuid() == {user}
    sandbox = start(Path({str(home)!r}), "sshd")
    launch(sandbox, 2)
    processes = family(sandbox.control.pid)
    client.down(sandbox.home)
    assert_nothing_left(sandbox, processes)
    assert list((sandbox.home / "sandbox/machines").iterdir()) == []
    print("all well")
    """
    try:
        # In a mount namespace where the interpreter, which may lie in root's home, can be read by everybody.
        held = home / "python"
        held.mkdir()
        script = (
            f"mount --rbind /root {held} && mount -t tmpfs -o mode=755 tmpfs /root && cd {held} && "
            "for d in .[!.]*/ */; do test ! -d $d || { mkdir /root/$d; mount --rbind $d /root/$d; }; done; "
            f'exec setpriv --reuid {user} --regid {user} --clear-groups env HOME={home} "$@"'
        )
        run = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", textwrap.dedent(program)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.stdout == "all well\n", run.stderr[-3000:]
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_it_starts_fast(tmp_path: Path) -> None:
    sandbox = start_sandbox(tmp_path)
    used = psutil.Process(sandbox.control.pid).cpu_times()
    client.down(tmp_path)
    assert used.user + used.system < 10, "seconds of processor time, which a loaded host does not stretch"
