"""What becomes of jobs while nobody looks at them: the driver was away, or what answers is not their machine."""

from __future__ import annotations

import contextlib
import socket
import threading

import paramiko
import pytest

from sky_core.broker import Broker
from sky_core.broker.calls import pack
from sky_core.driver.process import Driver
from sky_core.driver.stages import running
from sky_core.spec import Artifact, Pipeline, Resources, Task
from tests.conftest import until
from tests.sandbox.ssh import new_key

pytestmark = pytest.mark.alone
WAIT = "until test -e ~/go; do sleep 0.1; done; "
# A busy host may take seconds from the driver's last look to the end of the jobs: they are not to be orphans by then.
SANDBOX = {"hours_per_second": 0.1, "orphan_ttl_s": 10.0, "lease_s": 2.0}


@pytest.fixture
def broker(world, monkeypatch, own_store_url):
    """A broker whose jobs are driven by the test only."""
    for name, value in world.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SKYLOOM_STORE", own_store_url)
    monkeypatch.setattr("sky_core.broker.broker.ensure_driver", lambda settings: None)
    yield Broker.open()
    world.control.reset()


def task(name="work", run=None, **fields):
    where = {"cloud": "aws", "region": "us-east-1", "instance_type": "m5.large", **fields.pop("resources", {})}
    return Task(**{"name": name, "run": run, "hours": 1, "resources": Resources(**where), **fields})


@contextlib.contextmanager
def driving(broker):
    """A driver of the test's own while the block runs; it lets the steps under way end."""
    driver = Driver(broker.settings)
    thread = threading.Thread(target=driver.run, kwargs={"idle_s": 3600.0})
    thread.start()
    try:
        yield driver
    finally:
        driver.stop()
        thread.join()


def submit(broker, one):
    broker.plan(one.name, Pipeline(name="p", tasks=(one,)))
    return broker.submit(f"run/{one.name}", one, one.name)


def go(world):
    """Let all commands go on that are waiting."""
    for machine in world.control.machines(live=True):
        (home,) = world.home.glob(f"sandbox/**/machines/ip-{machine['ip'].replace('.', '-')}/home")
        (home / "go").touch()


def kinds(broker, job):
    return [event.kind for event in broker.store.events(job.id)]


def over(broker, *jobs):
    try:
        until(lambda: all(broker.job(job.id).over for job in jobs))
    except AssertionError:
        waiting = [job.id for job in jobs if not broker.job(job.id).over]
        raise AssertionError([(broker.job(job_id), broker.store.events(job_id)) for job_id in waiting]) from None
    return [broker.job(job.id) for job in jobs]


def test_what_ended_while_the_driver_was_away_is_not_run_again(world, broker):
    def answer(x):
        return x * 2

    payload, _ = pack(answer, (21,), {})
    jobs = [
        submit(broker, task("outputs", WAIT + "echo 42 > $SKY_OUTPUT_X", outputs={"x": Artifact()})),
        submit(broker, task("nothing", WAIT + "echo all is well")),
        submit(broker, task("fails", WAIT + "echo no luck; exit 3")),
        submit(broker, task("value", setup=WAIT, function=broker.store.put_payload(payload), outputs={"result": {}})),
    ]
    with driving(broker):
        until(lambda: all(broker.job(job.id).memory.get("phase") in ("running", "setup") for job in jobs))
    go(world)
    until(lambda: not world.live())
    with driving(broker):
        outputs, nothing, fails, value = over(broker, *jobs)
    for job in jobs:
        assert len(world.launches(job.id)) == 1
        assert "found ended" in kinds(broker, job)
    assert [job.state for job in (outputs, nothing, fails, value)] == ["succeeded", "succeeded", "failed", "succeeded"]
    assert fails.result["exit_code"] == 3
    assert broker.store.log(fails.id).endswith(b"no luck\n")
    assert broker.outputs(outputs)["x"].uri
    assert broker.value(value) == 42


def test_what_had_not_ended_is_run_again(world, broker):
    job = submit(broker, task(run="sleep 600", resources={"use_spot": True}))
    with driving(broker):
        until(lambda: broker.job(job.id).memory.get("phase") == "running")
        world.control.preempt(tags={"skyloom-job": job.id}, notice_s=0)
        until(lambda: len(world.launches(job.id)) == 2)
    assert "found ended" not in kinds(broker, job)


class Stranger(paramiko.ServerInterface):
    """Another machine's sshd, which notes who tries to log in."""

    def __init__(self, ip: str, port: int) -> None:
        import io

        self.key = paramiko.Ed25519Key.from_private_key(io.StringIO(new_key()))
        self.met, self.logins = threading.Event(), []
        self.wire = socket.create_server((ip, port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                wire, _ = self.wire.accept()
                transport = paramiko.Transport(wire)
                transport.add_server_key(self.key)
                with contextlib.suppress(Exception):
                    transport.start_server(server=self)
                self.met.set()

    def check_auth_publickey(self, username, key):
        self.logins.append(username)
        return paramiko.AUTH_FAILED


def test_an_address_given_to_a_stranger_is_a_machine_that_is_gone(world, broker):
    job = submit(broker, task(run="sleep 600", resources={"use_spot": True}))
    with driving(broker):
        until(lambda: broker.job(job.id).memory.get("phase") == "running")
    (machine,) = world.control.machines(live=True)
    world.control.preempt(machine["id"], notice_s=0)
    until(lambda: not world.live())
    stranger = until(lambda: _occupied(machine["ip"], broker.settings.clouds["aws"].ssh_port))
    with driving(broker):
        until(lambda: len(world.launches(job.id)) == 2)
    assert stranger.met.is_set()
    stranger.wire.close()
    assert stranger.logins == [], "nothing is sent to a stranger"
    assert "preempted" in kinds(broker, job)
    assert "step failed" not in kinds(broker, job)


def _occupied(ip, port):
    try:
        return Stranger(ip, port)
    except OSError:
        return None


@pytest.fixture
def network(monkeypatch):
    """This process's network, to be cut by ``network.clear()``: nothing can be sent or reached any more."""
    up = threading.Event()
    up.set()

    def guarded(real):
        def call(self, *args, **kwargs):
            if not up.is_set() and self.family != socket.AF_UNIX:
                raise OSError(101, "Network is unreachable")
            return real(self, *args, **kwargs)

        return call

    for name in ("connect", "send", "sendall"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
    yield up
    up.set()


def test_a_healthy_machine_outlives_our_own_network(world, broker, network, monkeypatch):
    monkeypatch.setattr(running, "LINK_TIMEOUT_S", 1.0)
    job = submit(broker, task(run=WAIT + "echo done", hours=500))
    with driving(broker):
        until(lambda: broker.job(job.id).memory.get("phase") == "running")
        network.clear()
        until(lambda: "network out" in kinds(broker, job))
        looks = broker.job(job.id).updated_at
        until(lambda: broker.job(job.id).updated_at > looks + 5)
        network.set()
        until(lambda: "network back" in kinds(broker, job))
        go(world)
        (job,) = over(broker, job)
    assert job.state == "succeeded"
    assert len(world.launches(job.id)) == 1
    assert kinds(broker, job).count("network out") == 1
