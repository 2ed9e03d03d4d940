"""The contract of a cloud, in one page. A new cloud is one file that keeps it, plus catalog rows.

Every method is idempotent: asking twice with the same token gives the same machines. Errors are the
:class:`~sky_core.errors.CloudError` family; failover reads their class and scope only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

State = Literal["pending", "running", "stopping", "gone"]

# Tags that every machine, disk and address of ours carries, so that it can be found again without our records.
TAG_OWNER = "skyloom"  # value: the id of the store that owns it
TAG_CLUSTER = "skyloom-cluster"  # value: the cluster's token
TAG_JOB = "skyloom-job"


@dataclass(frozen=True)
class LaunchRequest:
    """One gang of equal machines, all or nothing.

    Attributes:
        token: Idempotency token, lower-case letters, digits and '-', at most 40, starting with a letter. Used as
            EC2 ClientToken, GCE request id and instance name, TPU node id, ARM resource group name.
        host_key: Private SSH host key (OpenSSH PEM) that the machines must present.
        authorized_key: Public SSH key allowed to log in.
        accelerator: Name in the field's spelling ("V100", "tpu-v3-8", "Inferentia"), or None.
        max_hours: The cloud itself ends the machines after so long where it can (dead man's switch), or None.
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
    max_hours: float | None = None

    def __repr__(self) -> str:  # keeps the private host key out of logs and tracebacks
        return f"LaunchRequest({self.token}, {self.instance_type} x{self.num_nodes} in {self.zone or self.region})"


@dataclass(frozen=True)
class Instance:
    """One machine as the cloud tells of it.

    Attributes:
        id: What ``terminate`` takes: ``region/i-…`` on EC2, ``zone/name`` on GCE, ``zone/tpu/name``
            for TPU nodes, the ARM id on Azure.
        launched_at: Seconds since the epoch, or None where unknown.
        reason: Why it stopped, in the cloud's words, e.g. ``Server.SpotInstanceTermination``; "" while it runs.
        preempted: True when the cloud took it back (spot), False when unknown or ended by us.
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
    tags: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    preempted: bool = False


class Cloud(Protocol):
    """What Skyloom needs of a cloud."""

    name: str

    def check(self) -> None:
        """Make the cheapest authenticated call.

        Raises:
            AuthError: if the credentials do not work, naming what is missing.
        """

    def launch(self, request: LaunchRequest) -> list[Instance]:
        """Ask for the machines and return them, possibly still pending, once the cloud has accepted the request.

        Blocks until the cloud accepts or refuses (seconds), not until machines have booted. What a refused
        or failed request may have left behind (NICs, disks, half a gang) is removed before raising.

        Raises:
            CapacityError, QuotaError, AuthError, Throttled, InvalidRequest: refused; nothing was created.
            UnknownOutcome: nobody knows; call again with the same token, or ``find``.
        """

    def find(self, tags: Mapping[str, str], *, regions: Sequence[str] | None = None) -> list[Instance]:
        """All machines that carry these tags and are not gone; in these regions, or wherever Skyloom may launch."""

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        """The machines of these ids as they are now; one that the cloud no longer knows has state ``gone``."""

    def terminate(self, ids: Sequence[str]) -> None:
        """End these machines with their disks, NICs and addresses. Unknown and ended ones are fine."""

    def storage(self, region: str) -> Storage:
        """Skyloom's bucket in that region and how to reach it; creates the bucket if needed (idempotent)."""

    def storage_options(self) -> Mapping[str, Any]:
        """fsspec options to read and write this cloud's object store. Secret: never stored, never logged."""


@dataclass(frozen=True)
class Storage:
    """A bucket: ``url`` such as ``s3://skyloom-us-east-1`` or ``abfs://container``, without trailing slash."""

    url: str
    region: str
