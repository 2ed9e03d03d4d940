"""What the clouds would bill: every machine, disk and address of the account, from when to when.

The ledger watches the world, not the calls made to it: it knows nothing of who launched what or of what they
believe. It follows one rule, **allocated is billed**, as each cloud has it:

- EC2 bills an instance while it is ``running``, for 60 s at least, not while it shuts down; a stopped one keeps its
  volumes.
  https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
- Compute Engine bills from ``RUNNING`` to ``TERMINATED``, ``STOPPING`` too, for 60 s at least; a terminated instance
  keeps its disk until it is deleted. https://cloud.google.com/compute/docs/instances/instance-life-cycle
- A Cloud TPU node is billed while it is ``READY``, whatever its guest does: not while it is deleted, nor preempted.
  https://cloud.google.com/tpu/pricing
- An Azure VM is billed as long as it has hardware, also ``Stopped`` by its guest; only deallocating or deleting it
  ends that, from the moment on at which it begins. https://learn.microsoft.com/azure/virtual-machines/states-billing

A reservation is billed from its making to its end, used or not, and the machines in it are not billed again; a Capacity
Block of EC2's was paid in advance.

Disks and addresses of AWS and Google come and go with their machine's state; on Azure they are resources of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from sky_sandbox.machines.record import WAITS, Machine

Kind = Literal["machine", "disk", "address", "nic", "reservation"]
NODE_UNBILLED = ("preempted", "failed")  # causes of an end that leave a TPU node there, at no price
MINIMUM_S = {"aws": 60.0, "gcp": 60.0}  # billed seconds of a machine that has run at all; not of TPU nodes


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Attributes:
        id: The machine's id in the sandbox, or the name of the disk or address.
        started: When the bill began, in seconds since the epoch.
        ended: When it ended, None while it goes on.
        minimum_s: Billed seconds that are charged at least.
        pending_s: Seconds of the sandbox's clock for which a machine was there before its bill began.
    """

    cloud: str
    kind: Kind
    id: str
    region: str
    tags: Mapping[str, str]
    started: float
    ended: float | None = None
    minimum_s: float = 0.0
    pending_s: float = 0.0


class Ledger:
    """All entries, open and closed. Thread-safe.

    Args:
        hours_per_second: The hours that one real second counts for, as on the bills of the sandbox's users.
    """

    def __init__(self, hours_per_second: float = 1 / 3600) -> None:
        self._scale = hours_per_second * 3600
        self._lock = threading.Lock()
        self._open: dict[tuple[str, Kind, str], Entry] = {}
        self._closed: list[Entry] = []

    def note(self, machine: Machine, at: float) -> None:
        """Begin and end what the machine's present state begins and ends; call it at each change of state."""
        charged = charges(machine)
        for kind in ("machine", "disk", "address"):
            if kind in charged:
                least = 0.0 if kind != "machine" or _is_node(machine) else MINIMUM_S.get(machine.cloud, 0.0)
                pending = at - machine.created_at
                entry = Entry(machine.cloud, kind, machine.id, machine.region, machine.tags, at, None, least, pending)
                self.begin(entry)
            elif machine.cloud != "azure" or kind == "machine":
                self.end(machine.cloud, kind, machine.id, at)

    def begin(self, entry: Entry) -> None:
        """Open an entry, unless it is open."""
        with self._lock:
            self._open.setdefault((entry.cloud, entry.kind, entry.id), replace(entry, tags=dict(entry.tags)))

    def end(self, cloud: str, kind: Kind, id_: str, at: float) -> None:
        """Close an entry, if it is open."""
        with self._lock:
            entry = self._open.pop((cloud, kind, id_), None)
            if entry is not None:
                self._closed.append(replace(entry, ended=at))

    def entries(self, now: float, tags: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """The entries that have these tags in the order of their beginning, ready for JSON, as billed until ``now``.

        Beside the fields of :class:`Entry`: ``seconds``, how long it has been there by the sandbox's clock, and
        ``billed_s``, the seconds that its cloud charges for, on the scale of the users' bills (none for a network
        interface, which is free and in the way).
        """
        with self._lock:
            entries = [
                entry for entry in (*self._closed, *self._open.values()) if (tags or {}).items() <= entry.tags.items()
            ]
        return [self._row(entry, now) for entry in sorted(entries, key=lambda entry: entry.started)]

    def _row(self, entry: Entry, now: float) -> dict[str, Any]:
        seconds = (now if entry.ended is None else entry.ended) - entry.started
        billed = 0.0 if entry.kind == "nic" else max(seconds * self._scale, entry.minimum_s)
        return {**asdict(entry), "seconds": seconds, "billed_s": billed}


def charges(machine: Machine) -> frozenset[Kind]:
    """What a machine's cloud charges for in the state that the machine is in, and that no reservation has paid for."""
    return _charges(machine) - {"machine"} if machine.reservation else _charges(machine)


def _charges(machine: Machine) -> frozenset[Kind]:
    if machine.state == "gone" or WAITS in machine.extra:
        return frozenset()
    if machine.cloud == "azure":
        released = machine.deleted or machine.cause in ("deallocated", "preempted")
        return frozenset() if released else frozenset({"machine"})
    if _is_node(machine):
        # The hosts of a slice are one node, and one line.
        ready = machine.state != "pending" and not machine.deleted and machine.cause not in NODE_UNBILLED
        return frozenset({"machine"}) if ready and machine.extra["host"] == 0 else frozenset()
    runs = ("running",) if machine.cloud == "aws" else ("running", "stopping")
    if machine.state not in runs:
        return frozenset({"disk"})
    return frozenset({"machine", "disk", "address"} if machine.public else {"machine", "disk"})


def _is_node(machine: Machine) -> bool:
    return "node" in machine.extra
