"""What is true in the sandbox: the machines of three clouds, their capacity, quotas, faults and bills.

Pure state behind one lock, no HTTP and no processes: the API servers (``aws``, ``gcp``, ``azure``) translate to
and from it, an :class:`Host` starts and kills the real sshd processes, the control API injects faults.
Scopes and names are the clouds' own ("us-east-1a", "us-central1-a", "eastus-1" for zone 1 of eastus).
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from sky_sandbox.accounts import Account
from sky_sandbox.ledger import Ledger
from sky_sandbox.machines.record import WAITS, Cause, Machine, Market
from sky_sandbox.network.gate import BASTION, Source, pool_member
from sky_sandbox.reservations import Reservations

# Who makes the API call that is being answered: the AWS access key, or the bearer token.
CALLER: ContextVar[str] = ContextVar("CALLER", default="")
DRIVER = "127.0.0.1"  # where whoever drives really comes from, wherever it is seen
HIDDEN = ("user_data", "extra", "rests")  # fields of a machine that are not for the audit log: keys, our own notes


@dataclass
class Fault:
    """An injected failure of API calls.

    Attributes:
        action: The call, as the audit log names it ("RunInstances", "instances.insert", "virtualMachines.put"), or "*";
            or ``start``, a machine's creation, and ``boot``, what it then goes through; ``queue``, the wait of a
            queued resource or a Flex-start VM: ``slow`` makes it last ``seconds`` at least, ``error`` lets it fail
            after so many.
        kind: ``error`` answers ``code`` without doing anything; ``lost`` does it and then answers ``code`` (time-out
            after success); ``slow`` waits ``seconds``, then does it, whether or not the caller still listens. A boot
            can fail (``error``), or leave the machine running without an answer on its SSH port (``mute``). A machine
            can be ``unseen`` for ``seconds`` after its start: EC2, eventually consistent, then does not know it yet.
        match: Only calls with these values (region, zone, type, market, token, caller; AWS: service), all of them.
            The caller is the AWS access key or the bearer token.
        times: How many calls it hits…
        spared: …after so many that it lets pass.
        message: What AWS or Google says with the code, where that matters.
    """

    cloud: str
    action: str
    kind: Literal["error", "lost", "slow", "mute", "unseen"]
    code: str = ""
    seconds: float = 0.0
    match: dict[str, str] = field(default_factory=dict)
    times: int = 1
    message: str = ""
    spared: int = 0


class Refused(Exception):
    """The world has no room; the API server words it as its cloud does."""

    def __init__(self, why: Literal["capacity", "quota"], message: str, *, none: bool = False) -> None:
        super().__init__(message)
        self.why = why
        self.none = none  # whether the quota is 0


class Host(Protocol):
    """Starts and kills the real process behind a machine.

    Attributes:
        shares_host: Whether a machine sees files of this host that it could do harm to.
    """

    shares_host: bool

    def boot(self, machine: Machine) -> None:
        """Start sshd for the machine and return once it accepts connections."""

    def mute(self, machine: Machine) -> None:
        """Start a machine that takes connections on its SSH port and never says a word, as behind a bad firewall."""

    def notice(self, machine: Machine, seconds: float) -> None:
        """Let the machine's metadata service announce the eviction in ``seconds``."""

    def let_in(self, machine: Machine, sources: frozenset[Source] | None, *, cut: bool) -> None:
        """Let SSH sessions begin from these sources on this host only, or from all; ``cut`` ends those there are."""

    def kill(self, machine: Machine) -> None:
        """End every process of the machine at once, as pulling the plug does. Idempotent."""


class World:
    """All machines and what may be had. Thread-safe; methods never block on processes while holding the lock."""

    def __init__(
        self,
        host: Host,
        *,
        boot_s: float = 1.0,
        notice_s: Mapping[str, float] | None = None,
        audit: Path | None = None,
        ledger: Ledger | None = None,
        clock: Callable[[], float] = time.time,
        ssh_port: int = 22,
        firewalls: bool = False,
    ) -> None:
        self.host = host
        self.ssh_port = ssh_port
        self.firewalls = firewalls  # whether they are asked before whoever drives machines is seen elsewhere
        self.ledger = ledger or Ledger()
        self.boot_s = boot_s
        self.notice_s = dict(notice_s or {"aws": 120.0, "gcp": 30.0, "azure": 30.0})
        self.clock = clock
        self.lock = threading.RLock()
        self.machines: dict[str, Machine] = {}
        self.capacity: dict[tuple[str, str, str], int] = {}  # (zone or "*", type, pool or "*", market) -> machines
        self.quota: dict[tuple[str, str], int] = {}  # (cloud, region or "*") -> vCPUs
        self.faults: list[Fault] = []
        self.reservations = Reservations(self)
        self.account = Account()
        # By cloud: whether an address is let in on a port of a machine.
        self.gates: dict[str, Callable[[Machine, str, int], bool]] = {}
        self.caller_at: tuple[str, ...] = ()  # where whoever drives machines is seen, if not where it is
        self.listeners: list[Callable[[Machine], None]] = []  # told of each machine that has ended or was let go
        # What counts against a quota beside machines: vCPUs of a cloud, in a region or "*".
        self.claims: list[Callable[[str, str], int]] = []
        self.forgets: list[Callable[[], None]] = []  # called when all is to be forgotten
        self._audit = audit
        self._addresses = itertools.count(1)

    # --- what may be had -------------------------------------------------------------------------------------

    def admit(
        self,
        cloud: str,
        region: str,
        zone: str,
        type_: str,
        market: Market,
        vcpus: int,
        count: int = 1,
        pools: tuple[str, ...] = (),
    ) -> None:
        """Check capacity and quota for ``count`` more machines of ``type_`` that draw on ``pools``.

        Raises:
            Refused: if there is no room.
        """
        with self.lock:
            self.within_quota(cloud, region, vcpus * count, pools)
            live = self._counted()
            for key in ((z, t, market) for z in (zone, region, "*") for t in (type_, *pools, "*")):
                free = self.capacity.get(key)
                if free is None:
                    continue
                there = sum(
                    m.market == market and key[0] in (m.zone, m.region, "*") and key[1] in (m.type, *m.pools, "*")
                    for m in live
                )
                if there + count > free:
                    wanted = type_ if key[1] == "*" else key[1]
                    raise Refused("capacity", f"no {market} capacity for {wanted} in {zone}")

    def within_quota(self, cloud: str, region: str, vcpus: int, pools: tuple[str, ...]) -> None:
        """Check the quota for so many more vCPUs.

        Raises:
            Refused: if that is more than there may be.
        """
        with self.lock:
            if pools and not self.account.accelerators:
                raise Refused("quota", f"the account has a quota of 0 for {pools[0]}", none=True)
            for scope in (region, "*"):
                limit = self.quota.get((cloud, scope))
                used = sum(m.vcpus for m in self._counted() if m.cloud == cloud and scope in (m.region, "*"))
                used += sum(claim(cloud, scope) for claim in self.claims)
                if limit is not None and used + vcpus > limit:
                    raise Refused("quota", f"{used} of {limit} vCPUs are in use in {region}")

    def _counted(self) -> list[Machine]:
        live = [m for m in self.machines.values() if m.state in ("pending", "running")]
        return [m for m in live if WAITS not in m.extra and not m.reservation]

    # --- life of a machine -----------------------------------------------------------------------------------

    def start(self, machine: Machine) -> None:
        """Add a machine; it boots in its own thread and is ``running`` once its sshd answers."""
        machine.caller = CALLER.get()
        fault = self.fault(machine.cloud, "start", **_place(machine))
        if fault is not None and fault.kind == "unseen":
            machine.seen_at = self.clock() + fault.seconds
        with self.lock:
            self.machines[machine.id] = machine
            self.ledger.note(machine, self.clock())
        self.record("start", machine)
        threading.Thread(target=self._boot, args=(machine,), daemon=True).start()

    def _boot(self, machine: Machine) -> None:
        time.sleep(self.boot_s)
        with self.lock:
            if machine.state != "pending":
                return
        CALLER.set(machine.caller)  # this thread is the machine's own
        fault = self.fault(machine.cloud, "boot", **_place(machine))
        try:
            if fault is not None and fault.kind == "error":
                raise OSError(fault.code or "failed by the sandbox")
            if fault is not None and fault.kind == "mute":
                self.host.mute(machine)
            else:
                self.host.boot(machine)
        except OSError as error:
            machine.extra["boot_error"] = str(error)
            self.stop(machine.id, "failed")
            return
        self._mind_the_gate(machine)  # before anybody is told that it runs
        with self.lock:
            alive = machine.state == "pending"
            if alive:
                machine.state, machine.ready_at = "running", self.clock()
                self.ledger.note(machine, machine.ready_at)
        if not alive:  # terminated while booting
            self.host.kill(machine)
        else:
            self.mind_the_gates()

    def lacks(self, permission: str) -> bool:
        """Whether whoever drives may not do that, as the account is now."""
        return self.account.lacks(permission)

    def move(self, *addresses: str) -> None:
        """Let whoever drives the machines be seen at another address: links break, firewalls are asked about that one.

        Of several, a pool, each connection has one.
        """
        self.caller_at = addresses
        self.mind_the_gates(cut=True)

    def seen_at(self, port: int) -> str:
        """Where whoever drives is seen by whom it connects to from that port of its own."""
        return self.caller_at[pool_member(port, len(self.caller_at))] if self.caller_at else DRIVER

    def mind_the_gates(self, *, cut: bool = False) -> None:
        """Let each machine be reached from where its cloud's rules and networks let it, and from nowhere else."""
        for machine in self.live():
            if machine.state == "running":
                self._mind_the_gate(machine, cut=cut)

    def _mind_the_gate(self, machine: Machine, *, cut: bool = False) -> None:
        self.host.let_in(machine, self._reached_from(machine), cut=cut)

    def _reached_from(self, machine: Machine) -> frozenset[Source] | None:
        """What on this host reaches a machine; None for all, as long as nobody asks for more."""
        outside = self.account.routed or self.account.public_addresses
        if outside and not (self.caller_at or self.firewalls):
            return None
        gate, callers = self.gates[machine.cloud], self.caller_at or (DRIVER,)
        seen = {Source(BASTION): BASTION}
        if outside:
            seen |= {Source(DRIVER, number, len(callers)): address for number, address in enumerate(callers)}
        return frozenset(source for source, seen_at in seen.items() if gate(machine, seen_at, self.ssh_port))

    def stop(self, machine_id: str, cause: Cause = "user") -> None:
        """End a machine now. Idempotent; the first cause stays, but one that rests can still be deleted."""
        with self.lock:
            machine = self.machines.get(machine_id)
            if machine is None or machine.state == "gone":
                return
            machine.deleted = machine.deleted or cause == "user"
            if machine.state == "off":
                self._let_go(machine, cause)
            if machine.state not in ("pending", "running"):
                return
            machine.state, machine.cause, machine.stopping_at = "stopping", cause, self.clock()
            self.ledger.note(machine, machine.stopping_at)
        self.host.kill(machine)
        with self.lock:
            rests = machine.cause in machine.rests and not machine.deleted
            machine.state, machine.ended_at = "off" if rests else "gone", self.clock()
            self.ledger.note(machine, machine.ended_at)
        self.record("end", machine)
        self._tell(machine)

    def _let_go(self, machine: Machine, cause: Cause) -> None:
        """Delete or deallocate a machine that rests."""
        if machine.deleted:
            machine.state = "gone"
        elif cause == "deallocated":
            machine.cause, machine.ended_at = cause, self.clock()
        self.ledger.note(machine, self.clock())
        self.record("released", machine)
        self._tell(machine)

    def _tell(self, machine: Machine) -> None:
        for listener in self.listeners:
            listener(machine)

    def preempt(self, machine_id: str, notice_s: float | None = None) -> None:
        """Announce an eviction as the machine's cloud does, then end it. ``notice_s=0`` is a sudden death."""
        with self.lock:
            machine = self.machines[machine_id]
            seconds = self.notice_s[machine.cloud] if notice_s is None else notice_s
            if machine.state not in ("pending", "running") or machine.notice_at is not None:
                return
            machine.notice_at = self.clock()
        self.record("notice", machine, seconds=seconds)
        if seconds > 0:
            self.host.notice(machine, seconds)
        timer = threading.Timer(seconds, self.stop, (machine_id, "preempted"))
        timer.daemon = True
        timer.start()

    def address(self) -> str:
        """The next free loopback address."""
        number = next(self._addresses)
        return f"127.77.{number >> 8 & 255}.{number & 255}"

    def limit(self, zone: str, type_: str, market: Market, count: int | None, *, evict: bool = False) -> list[str]:
        """Set how many machines of a (zone, type or pool, market) there may be; None frees it, "*" means all.

        With ``evict`` the machines above the limit are preempted, the youngest first: spot lifetimes show that a
        machine is the safer the longer it has lived. Returns the ids of those.
        """
        with self.lock:
            if count is None:
                self.capacity.pop((zone, type_, market), None)
                return []
            self.capacity[zone, type_, market] = count
            there = [
                machine
                for machine in self.live()
                if machine.market == market
                and machine.notice_at is None
                and zone in (machine.zone, machine.region, "*")
                and type_ in (machine.type, *machine.pools, "*")
            ]
        there.sort(key=lambda machine: machine.created_at)
        excess = [machine.id for machine in there[count:]] if evict else []
        for machine_id in excess:
            self.preempt(machine_id)
        return excess

    def close(self) -> None:
        """End all machines, at once."""
        with ThreadPoolExecutor(16) as pool:
            pool.map(self.stop, [machine.id for machine in self.live()])

    def live(self, cloud: str | None = None) -> list[Machine]:
        """Machines that cost money now."""
        with self.lock:
            return [m for m in self.machines.values() if m.state != "gone" and cloud in (None, m.cloud)]

    # --- faults and the audit log ----------------------------------------------------------------------------

    def fault(self, cloud: str, action: str, **about: str) -> Fault | None:
        """The injected fault that this call meets, used up by one."""
        known = {"caller": CALLER.get(), **about}
        with self.lock:
            for fault in self.faults:
                if (
                    fault.times > 0
                    and fault.cloud in (cloud, "*")
                    and fault.action in (action, "*")
                    and all(known.get(key) == value for key, value in fault.match.items())
                ):
                    if fault.spared > 0:
                        fault.spared -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def record(self, event: str, machine: Machine | None = None, /, **fields: Any) -> None:
        """Append one line to the audit log: API calls that create or end something, and what became of machines."""
        if self._audit is None:
            return
        entry: dict[str, Any] = {"at": self.clock(), "event": event, **fields}
        if machine is not None:
            entry["machine"] = {k: v for k, v in asdict(machine).items() if k not in HIDDEN}
        with self.lock, self._audit.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def audit(self) -> list[dict[str, Any]]:
        """All entries of the audit log, the oldest first."""
        if self._audit is None or not self._audit.exists():
            return []
        with self.lock:
            lines = self._audit.read_text().splitlines()
        return [json.loads(line) for line in lines]


def _place(machine: Machine) -> dict[str, str]:
    """What faults can match a machine by."""
    return {"region": machine.region, "zone": machine.zone, "type": machine.type, "market": machine.market}
