"""What is known of a cloud without its SDK, in one record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from sky_core.facts.managed import Managed, parts
from sky_core.facts.reserved import Reservations

CpuMaker = Literal["intel", "amd", "arm"]

# Hours from the launch call to the first line of set-up, charged to every placement on machines: a coarse figure for
# the three clouds' current images (1 to 4 minutes); the changeover of recovery policies is measured instead.
BOOT_HOURS = 0.05


def _unknown(_: str) -> CpuMaker | None:
    return None


def _nothing(_: str) -> float:
    return 0.0


def _never(_: str) -> bool:
    return False


def _no_queue(_: str, __: bool) -> float:
    return 0.0


@dataclass(frozen=True)
class Credentials:
    """Where an SDK's default chain looks first, so that planning can tell a usable cloud without importing it.

    A machine's own identity (EC2 role, GCE service account, managed identity) cannot be seen from here:
    ``[clouds.<name>] enabled = true`` in config.toml vouches for it.

    Attributes:
        variables: Environment variables, of which one is enough; the first is the one to suggest.
        files: Paths below the home folder, of which one is enough.
        sessions: Patterns of paths below it, where a login that ends leaves what came of it: none makes a cloud usable.
        account: What ``[clouds.<name>] account`` means there, or "" if no account has to be named.
        account_variables: Environment variables that name the account as well.
    """

    variables: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    account: str = ""
    account_variables: tuple[str, ...] = ()


@dataclass(frozen=True)
class CloudFacts:
    """All that is known of one cloud without its SDK.

    Attributes:
        name: As users write it: ``cloud="aws"``, ``[clouds.aws]``.
        also_called: What else people call it: told in a cure, never taken for the name.
        provider: ``module:class`` of what keeps :class:`~sky_core.clouds.base.Cloud`; imported in the driver only.
        executor: ``module:function`` that makes, from the settings, what runs jobs there
            (:class:`~sky_core.remote.executor.Executor`); imported in the driver only.
        on_machine: The module that its machines take along to ask it about themselves: when it takes them back, and how
            they end their own bill (:mod:`sky_core.remote.agent.host.clouds`). "": they are not told, and power off.
        sdk: Modules that the provider imports; all of them have to be installed.
        extra: The extra of this distribution that brings them, or "" if it is none of ours.
        schemes: URL schemes of its object store, each with the fsspec protocol that opens it.
        filesystem: The package that gives fsspec that protocol; a machine of any cloud may need it.
        default_region: Where a bucket lies of which only the URL is known.
        credentials: How to tell whether it can be used.
        quotas: The page on which more of a quota is asked for, or "".
        audit: ``module:function`` that finds out what an account lacks (:mod:`sky_core.clouds.findings`), or "".
        prices: ``module:function`` that makes the source of its own price API, or "" if it has none.
        offerings: ``module:function`` that gives what it sells where the snapshot does not have it: mappings with the
            fields of an entry ``[[machines]]`` of catalog.toml, but for its hosts. "" for the clouds of the snapshot.
        egress_usd_per_gb: What leaving it costs, where the table of egress prices does not have it.
        spot_zones: Whether its spot market counts by zones, rather than by regions.
        zone: The pattern of a zone's name, its region as the first group; None where zones have no names of their own.
        billed_gb_bytes: Bytes in a gigabyte of its egress bill.
        gbit_out: Gbit/s that one machine sends out of its region.
        embedded_spot: The day of the embedded catalog's spot prices, where they are older than those beside them.
        preemptions_per_hour: What it publishes of spot machines' lives, where the catalog has nothing better.
        one_network: Whether machines of two launches in a region see each other as those of one do, if one is made
            beside the other (:class:`~sky_core.clouds.base.LaunchRequest`).
        bills_pending: Whether a machine costs money from its creation on, rather than once it runs.
        bills_stopping: From a machine type to whether such a machine costs money until its end is complete, rather than
            until it is ordered.
        least_billed_s: From a machine type to the seconds that are charged for a machine which has run at all.
        queue_hours: From a machine type and whether it is on spot to the hours for which a launch may wait at most in a
            queue of the cloud's own; 0 where it has none.
        cpu_maker: From a machine type to its processor's maker; None where it varies or is unknown.
        managed: Its services that run engines, if it has such.
        reservations: How reserved capacity is named there; None where a launch cannot name any.
        own: Whether the machines are the user's own: they are left on when a job ends, and nobody but they themselves
            can say how they are.
        chatty_loggers: Loggers of its SDK that say at INFO what nobody asked for.
    """

    name: str
    provider: str
    also_called: tuple[str, ...] = ()
    executor: str = "sky_core.remote.ssh_executor:connect"
    on_machine: str = ""
    sdk: tuple[str, ...] = ()
    extra: str = ""
    schemes: Mapping[str, str] = field(default_factory=dict)
    filesystem: str = ""
    default_region: str = ""
    credentials: Credentials = Credentials()
    quotas: str = ""
    audit: str = ""
    prices: str = ""
    offerings: str = ""
    egress_usd_per_gb: float = 0.0
    spot_zones: bool = True
    zone: re.Pattern[str] | None = None
    billed_gb_bytes: int = 10**9
    gbit_out: float = 1.0
    preemptions_per_hour: float = 0.025
    embedded_spot: date | None = None
    one_network: bool = False
    bills_pending: bool = False
    bills_stopping: Callable[[str], bool] = _never
    least_billed_s: Callable[[str], float] = _nothing
    queue_hours: Callable[[str, bool], float] = _no_queue
    cpu_maker: Callable[[str], CpuMaker | None] = _unknown
    managed: tuple[Managed, ...] = ()
    reservations: Reservations | None = None
    own: bool = False
    chatty_loggers: tuple[str, ...] = ()

    def service(self, instance_type: str) -> Managed | None:
        """The service that sells it, None for a machine."""
        release, _ = parts(instance_type)
        return next((one for one in self.managed if release in one.releases), None) if release else None

    def user(self, instance_type: str) -> str:
        """Whom a machine of that type lets log in; "" where that is ours to say."""
        service = self.service(instance_type)
        return service.user if service else ""

    def start_hours(self, instance_type: str) -> float:
        """Hours from the launch call to the first line of set-up."""
        service = self.service(instance_type)
        return service.start_hours if service else BOOT_HOURS

    def arch(self, instance_type: str) -> Literal["arm64", "x86_64"]:
        """The architecture of a machine type's processor."""
        return "arm64" if self.cpu_maker(instance_type) == "arm" else "x86_64"

    def billed_hours(self, instance_type: str, hours: float) -> float:
        """The hours that are charged for a machine which existed so long: all of the clouds count by the second."""
        return max(hours, self.least_billed_s(instance_type) / 3600) if hours > 0 else 0.0

    @property
    def install(self) -> str:
        """How to install what its provider needs."""
        return f"pip install 'skyloom[{self.extra}]'" if self.extra else f"pip install {' '.join(self.sdk)}"
