"""The contract of a cloud, in one page. A new cloud is one folder that keeps it, plus catalog rows.

Every method is idempotent: asking twice with the same token gives the same machines. Errors are the
:class:`~sky_core.errors.CloudError` family; failover reads their class and scope only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from sky_core.errors import AuthError, CapacityError, CloudError, InvalidRequest, QuotaError

State = Literal["pending", "running", "stopping", "gone"]
REFUSALS = (CapacityError, QuotaError, AuthError, InvalidRequest)  # errors that say no; all others leave it open

# Tags that every machine, disk and address of ours carries, so that it can be found again without our records.
TAG_OWNER = "skyloom"  # value: the id of the store that owns it
TAG_CLUSTER = "skyloom-cluster"  # value: the cluster's token
TAG_JOB = "skyloom-job"


# What ends a machine if nobody does: the cloud itself, the machine by its own timer, or nothing.
Armed = Literal["cloud", "machine", "none"]


@dataclass(frozen=True)
class Switch:
    """A dead man's switch, armed at the first moment of a machine's boot, before and apart from any agent.

    Attributes:
        program: Source of a Python module, standard library only, whose ``end_bill()`` ends the bill of the machine
            that runs it; "" where to power off does.
        idle_s: The machine ends itself when nothing has touched ``~/.skyloom/alive`` for so many real seconds.
        max_s: It ends so many real seconds after its boot in any case.
    """

    program: str
    idle_s: float
    max_s: float


@dataclass(frozen=True)
class LaunchRequest:
    """One gang of equal machines, all or nothing.

    Attributes:
        token: Idempotency token, lower-case letters, digits and '-', at most 40, starting with a letter. Used as
            EC2 ClientToken, GCE request id and instance name, TPU node id, ARM resource group name.
        host_key: Private SSH host key (OpenSSH PEM) that the machines must present.
        authorized_key: Public SSH key allowed to log in.
        accelerator: Name in the field's spelling ("V100", "tpu-v3-8", "Inferentia"), or None.
        switch: What ends each machine if nobody else does, or None for nothing.
        asked_before: Whether an earlier call with this token may have been made. Only who has just made the token up
            can deny it.
        beside: Token of a cluster of the same region whose network the machines are to be in; "" for none.
        queue_s: Seconds that it may wait at most in the cloud's own queue for such machines, past which the cloud gives
            none any more; None to be refused at once. Where a cloud has no such queue, it means nothing.
        reservation: Capacity that is reserved, by the name that its cloud gives it: the machines are to be in it and
            nowhere else; None for what is sold to all.
    """

    token: str
    instance_type: str
    region: str
    zone: str | None
    use_spot: bool
    num_nodes: int = 1
    accelerator: str | None = None
    accelerator_count: float = 0
    image: str | None = None
    disk_gib: int = 64
    arch: str = "x86_64"
    ports: tuple[int, ...] = ()
    host_key: str = ""
    authorized_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    switch: Switch | None = None
    asked_before: bool = True
    beside: str = ""
    queue_s: float | None = None
    reservation: str | None = None

    def __repr__(self) -> str:  # keeps the private host key out of logs and tracebacks
        return f"LaunchRequest({self.token}, {self.instance_type} x{self.num_nodes} in {self.zone or self.region})"


@dataclass(frozen=True)
class Instance:
    """One machine as the cloud tells of it.

    Attributes:
        id: What ``terminate`` takes: ``region/i-…`` on EC2, ``zone/name`` on GCE, ``zone/tpu/name``
            for TPU nodes, ``zone/tpu-queue/name`` for those that came through the queue, the ARM id on Azure.
        launched_at: When it was made by the cloud's own record, seconds since the epoch, or None where unknown.
        ended_at: When it ended by the cloud's own record, or None while it runs and where unknown.
        reason: Why it stopped, in the cloud's words, e.g. ``Server.SpotInstanceTermination``; "" while it runs.
        preempted: True when the cloud took it back (spot), False when unknown or ended by us.
        halted: True when it was shut down from within, False when unknown.
        seen: False for a machine that its cloud does not show, where that need not mean that it is gone: not yet,
            and this is what the launch was answered; or ``gone`` for whoever has not launched it.
        paid_ahead: True where it is paid for until its cloud takes it back: in a Capacity Block of EC2.
        queued: True while it waits in its cloud's own queue: nothing of it is there yet.
        failed: Why it never came to run although its launch was accepted, sorted as a refusal; None of all others. One
            that is ``preempted`` as well may have run: its cloud keeps no more than that it was taken.
        armed: What ends it if nobody does, as ``launch`` knows it; "none" from all other calls.
    """

    id: str
    cloud: str
    region: str
    zone: str | None
    instance_type: str
    use_spot: bool
    state: State
    ip: str | None = None
    private_ip: str | None = None
    launched_at: float | None = None
    ended_at: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    preempted: bool = False
    halted: bool = False
    seen: bool = True
    paid_ahead: bool = False
    queued: bool = False
    failed: CloudError | None = None
    armed: Armed = "none"

    @property
    def broke(self) -> bool:
        """Whether it has ended by itself, which says nothing of what its place takes back."""
        return self.halted or (self.failed is not None and not self.preempted)


@dataclass(frozen=True)
class Reach:
    """What a machine may touch: what lies at ``url`` and below.

    Attributes:
        folder: Whether what lies there is known to be a folder; else it may be a single file.
    """

    url: str
    write: bool
    folder: bool = True


@dataclass(frozen=True)
class Loan:
    """Credentials for a machine, as fsspec options. Secret.

    Attributes:
        ends_at: When they end, seconds since the epoch; None if they do not, being the machine's own.
    """

    options: Mapping[str, object] = field(repr=False)
    ends_at: float | None = None


Kind = Literal["disk", "interface", "firewall", "bucket"]


@dataclass(frozen=True)
class Leftover:
    """A thing beside machines that is ours and stays when they go.

    Attributes:
        id: What ``remove`` takes, unique with ``kind`` and ``cloud``.
        region: "" for things that belong to none.
        shared: Whether all stores of the account use it; harmless to remove, since a launch makes it again.
    """

    kind: Kind
    id: str
    cloud: str
    region: str
    shared: bool = False

    @property
    def holds_data(self) -> bool:
        """Whether somebody may miss it: such things are told of, never removed."""
        return self.kind == "bucket"


@dataclass(frozen=True)
class Leftovers:
    """What a search for leftovers saw, and why a place or an API could not be searched, by its name."""

    things: tuple[Leftover, ...]
    unreachable: Mapping[str, str] = field(default_factory=dict)


def whole_gang(there: Sequence[Instance], request: LaunchRequest) -> bool:
    """Whether these machines are all that the request asks for, and alive."""
    alive = sum(instance.state in ("pending", "running") for instance in there)
    return alive == len(there) == request.num_nodes


@dataclass(frozen=True)
class Found:
    """What a search by tag saw.

    Attributes:
        instances: Machines that carry the tags and are not gone.
        unreachable: Why a place refused to be searched, by its name: a region, or an API of its own such as ``tpu``.
            What is there is not known; nothing may be concluded from its absence in ``instances``.
    """

    instances: tuple[Instance, ...]
    unreachable: Mapping[str, str] = field(default_factory=dict)


class Cloud(Protocol):
    """What Skyloom needs of a cloud.

    Attributes:
        settle_s: Seconds after a creating call within which what it made may still appear, its reply being lost.
    """

    name: str
    settle_s: float

    def check(self) -> None:
        """Make the cheapest authenticated call.

        Raises:
            AuthError: if the credentials do not work, naming what is missing.
        """

    def launch(self, request: LaunchRequest) -> list[Instance]:
        """Ask for the machines and return them, possibly still pending, once the cloud has accepted the request.

        Blocks until the cloud accepts or refuses (seconds), not until machines have booted. What a refused
        or failed request may have left behind (NICs, disks, half a gang) is removed before raising.

        A refusal after a call of unknown outcome, in here or before (``asked_before``), speaks of itself only: what
        the other call made is looked for. A whole gang is returned as if it had not been refused; less is ended.

        Raises:
            CapacityError, QuotaError, AuthError, InvalidRequest: refused. Nothing is there if ``settled``; else look
                again by tag once ``settle_s`` have passed.
            Throttled: refused; the same call may be made again.
            UnknownOutcome: nobody knows; call again with the same token, or ``find``.
        """

    def find(
        self, tags: Mapping[str, str], *, regions: Sequence[str] | None = None, instance_type: str | None = None
    ) -> Found:
        """All machines that carry these tags and are not gone; in these regions, or wherever Skyloom may launch.

        Who looks for machines of one type says so: a refusal of an API that cannot have them is then none.

        Raises:
            AuthError: if the credentials work nowhere. A region or an API that refuses is told in the answer instead.
        """

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        """The machines of these ids as they are now; one that the cloud no longer knows has state ``gone``.

        The order of ``ids`` is kept. An id of several hosts (a TPU node) gives one machine for each that it has by now.
        """

    def terminate(self, ids: Sequence[str]) -> None:
        """End these machines with their disks, NICs and addresses. Unknown and ended ones are fine."""

    def leftovers(self, tags: Mapping[str, str]) -> Leftovers:
        """Things beside machines that carry these tags, or are shared by all stores, and that no machine holds.

        Raises:
            AuthError: if the credentials work nowhere. A region or an API that refuses is told in the answer instead.
        """

    def remove(self, leftover: Leftover) -> None:
        """Delete it; fine if it is gone.

        Raises:
            InvalidRequest: if it holds data, or is in use after all.
        """

    def storage(self, region: str) -> Storage:
        """Skyloom's bucket in that region and how to reach it; creates the bucket if needed (idempotent).

        A cloud without an object store of its own gives the URL that its settings name, of any cloud's store.

        Raises:
            InvalidRequest: if it has none, and none is named.
        """

    def storage_options(self) -> Mapping[str, object]:
        """fsspec options for the driver itself. Secret: never stored, never logged, on no machine."""

    def lend(self, reaches: Sequence[Reach], machine: str) -> Loan:
        """fsspec options for a machine: short-lived ones that reach these places only, never the operator's own.

        Args:
            machine: The name of the cloud that it is in: the identity that the settings give to this cloud's own
                machines serves no others.

        Raises:
            AuthError: if the login cannot lend, or the settings forbid it, with what to set.
        """


@runtime_checkable
class Gated(Protocol):
    """A cloud whose machines stand behind a firewall of ours."""

    def let_in(self, ids: Sequence[str]) -> None:
        """Open the way to these machines from where this one is seen now, and close it from where it was before.

        Called when a connection has failed: addresses change. Rules of other hosts stay.
        """


@dataclass(frozen=True)
class Storage:
    """A bucket: ``url`` such as ``s3://skyloom-us-east-1`` or ``abfs://container``, without trailing slash."""

    url: str
    region: str
