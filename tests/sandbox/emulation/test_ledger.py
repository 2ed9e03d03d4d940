"""What the clouds bill, whatever anybody believes: each machine's states, and what a guest's shutdown leaves behind."""

from __future__ import annotations

import json
import ssl
import urllib.request
from typing import Any

import pytest

from sky_core.clouds import connect as connect_cloud
from sky_sandbox.azure.resources import Entry as Resource
from sky_sandbox.ledger import Entry, Ledger
from sky_sandbox.machines.record import Cause, Machine
from sky_sandbox.world import World
from tests.conftest import Sandbox, until
from tests.sandbox.ssh import connect, request, running

# --- the rules, on a clock of our own ----------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Instant:
    """A host whose machines boot and die at once."""

    def boot(self, machine: Machine) -> None: ...

    def notice(self, machine: Machine, seconds: float) -> None: ...

    def let_in(self, machine: Machine, sources: object, *, cut: bool) -> None: ...

    def kill(self, machine: Machine) -> None: ...


class Slow(Instant):
    """Ten seconds pass while a machine dies."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def kill(self, machine: Machine) -> None:
        self.clock.now += 10


class Watched(Instant):
    """What Azure says of a machine while it dies."""

    said: tuple[str, ...] = ()

    def kill(self, machine: Machine) -> None:
        entry = Resource({"properties": {"provisioningState": "Succeeded"}}, machine)
        self.said = (*self.said, *entry.statuses()[1])


def world(clock: Clock, hours_per_second: float = 1 / 3600, host: Instant | None = None) -> World:
    return World(host or Instant(), boot_s=0.0, ledger=Ledger(hours_per_second), clock=clock)


def start(world: World, cloud: str, rests: set[Cause], **extra: Any) -> Machine:
    machine = Machine(
        "m", cloud, "r", "r-a", "t", "on-demand", 2, {"skyloom-job": "j"}, "127.77.0.1", "", world.clock(),
        rests=frozenset(rests), extra=extra,
    )  # fmt: skip
    world.start(machine)
    until(lambda: machine.state == "running")
    return machine


def test_azure_calls_a_machine_deallocated_once_it_is() -> None:
    """Before, the time of its last operation is that of its making: it would have ended as it began."""
    host = Watched()
    there = world(Clock(), host=host)
    machine = start(there, "azure", {"preempted"})
    there.stop(machine.id, "preempted")
    assert host.said == ("ProvisioningState/updating", "PowerState/deallocating")
    entry = Resource({"properties": {"provisioningState": "Succeeded"}}, machine)
    assert entry.statuses()[1] == ["ProvisioningState/succeeded", "PowerState/deallocated"]
    assert entry.changed_at() == machine.ended_at


def bill(world: World) -> dict[str, tuple[float, bool]]:
    """Billed seconds of each kind, and whether it goes on."""
    return {e["kind"]: (e["billed_s"], e["ended"] is None) for e in world.ledger.entries(world.clock())}


def test_ec2_bills_a_minute_at_least_and_the_volumes_of_a_stopped_instance() -> None:
    clock = Clock()
    there = world(clock)
    machine = start(there, "aws", {"self"})
    clock.now += 10
    there.stop(machine.id, "self")
    clock.now += 90
    assert machine.state == "off"
    assert bill(there) == {"machine": (60, False), "disk": (100, True), "address": (10, False)}
    there.stop(machine.id, "user")
    assert machine.state == "gone"
    assert bill(there)["disk"] == (100, False)


def test_a_google_disk_outlives_its_stopped_machine() -> None:
    clock = Clock()
    there = world(clock)
    machine = start(there, "gcp", {"self"})
    clock.now += 100
    there.stop(machine.id, "self")
    clock.now += 100
    assert bill(there) == {"machine": (100, False), "disk": (200, True), "address": (100, False)}


def test_a_tpu_node_costs_until_it_is_deleted() -> None:
    clock = Clock()
    there = world(clock)
    machine = start(there, "gcp", {"self"}, node={}, host=0)
    clock.now += 10
    there.stop(machine.id, "self")
    clock.now += 10
    assert bill(there) == {"machine": (20, True)}
    there.stop(machine.id)
    assert bill(there) == {"machine": (20, False)}


@pytest.mark.parametrize(("cause", "billed"), [("self", True), ("deallocated", False)])
def test_azure_bills_what_is_allocated(cause: Cause, billed: bool) -> None:
    clock = Clock()
    there = world(clock)
    machine = start(there, "azure", {"self", "deallocated"})
    clock.now += 10
    there.stop(machine.id, cause)
    clock.now += 10
    assert machine.state == "off"
    assert bill(there) == {"machine": (20 if billed else 10, billed)}
    there.stop(machine.id, "deallocated")
    assert bill(there) == {"machine": (20 if billed else 10, False)}


@pytest.mark.parametrize(
    ("cloud", "extra", "billed"),
    [("aws", {}, 100), ("gcp", {}, 110), ("gcp", {"node": {}, "host": 0}, 100), ("azure", {}, 100)],
)
def test_only_compute_engine_bills_a_machine_that_is_on_its_way_out(cloud: str, extra: Any, billed: float) -> None:
    clock = Clock()
    there = world(clock, host=Slow(clock))
    machine = start(there, cloud, {"self"}, **extra)
    clock.now += 100
    there.stop(machine.id)
    assert machine.state == "gone"
    assert bill(there)["machine"] == (billed, False)


def test_bills_are_on_the_users_scale() -> None:
    ledger = Ledger(hours_per_second=0.1)
    ledger.begin(Entry("aws", "machine", "i-1", "r", {}, 0.0, minimum_s=60.0))
    ledger.end("aws", "machine", "i-1", 10.0)
    [entry] = ledger.entries(50.0)
    assert (entry["seconds"], entry["billed_s"]) == (10.0, 3600.0)


# --- through the real clients ------------------------------------------------------------------------------------


def entries(sandbox: Sandbox, token: str) -> dict[str, bool]:
    """The kinds of things with this cluster's tag, and whether each is billed now."""
    found = [entry for entry in sandbox.control.ledger() if entry["tags"].get("skyloom-cluster") == token]
    return {entry["kind"]: entry["ended"] is None for entry in found}


def launch(sandbox: Sandbox, cloud: str, token: str, **fields: Any) -> tuple[Any, Any]:
    provider = connect_cloud(cloud, sandbox.settings)
    [machine] = running(provider, provider.launch(request(token, **fields)))
    return provider, machine


def halt(sandbox: Sandbox, cloud: str, machine: Any) -> None:
    connect(machine.ip, sandbox.settings.clouds[cloud].ssh_port).client.exec_command("sudo shutdown -h now")


def test_a_guests_shutdown_ends_an_ec2_instance(sandbox: Sandbox, token: str) -> None:
    _, machine = launch(sandbox, "aws", token)
    assert entries(sandbox, token) == {"machine": True, "disk": True, "address": True}
    halt(sandbox, "aws", machine)
    until(lambda: entries(sandbox, token) == {"machine": False, "disk": False, "address": False})


AZURE: dict[str, Any] = {"region": "eastus", "zone": "eastus-1", "instance_type": "Standard_D2s_v5"}


def test_a_guests_shutdown_saves_nothing_on_azure(sandbox: Sandbox, token: str) -> None:
    provider, machine = launch(sandbox, "azure", token, **AZURE)
    everything = {"machine": True, "disk": True, "address": True, "nic": True}
    assert entries(sandbox, token) == everything
    halt(sandbox, "azure", machine)
    until(lambda: [m["state"] for m in sandbox.control.machines() if m["id"] == machine.id] == ["off"])
    assert entries(sandbox, token) == everything
    act(sandbox, machine.id, "deallocate")
    until(lambda: entries(sandbox, token) == {**everything, "machine": False})
    provider.terminate([machine.id])
    until(lambda: not any(entries(sandbox, token).values()))


def act(sandbox: Sandbox, machine: str, action: str) -> None:
    """Ask Azure for an action, as a machine does that has nothing but Python."""
    config = sandbox.settings.clouds["azure"]
    context = ssl.create_default_context(cafile=str(config.ca_file))
    url = f"{config.endpoint}{machine}/{action}?api-version=2024-07-01"
    asked = urllib.request.Request(url, b"", {"Authorization": "Bearer sandbox"}, method="POST")
    with urllib.request.urlopen(asked, context=context) as reply:
        assert reply.status == 202, json.dumps(dict(reply.headers))
