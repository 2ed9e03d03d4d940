"""What a home adds to the catalog: machines on premises, reserved machines, negotiated prices, enabled regions.

``$SKYLOOM_HOME/catalog.toml``::

    enabled_regions = ["ap-south-2"]      # regions that the account has asked for and got

    [[machines]]
    cloud = "lab"                         # any name; aws, gcp or azure for reserved machines
    region = "basement"
    instance_type = "dgx-a100"
    vcpus = 128
    memory_gib = 1024
    accelerators = "A100-80GB:8"
    price = 2.5                           # USD per hour; 0 is fine: already paid for
    count = 2                             # how many there are
    hosts = ["ops@10.0.0.5", "ops@10.0.0.6:2222"]
    slots = 1                             # jobs that each host takes at a time
    host_keys = { "10.0.0.5" = "SHA256:…" }   # or leave them to known_hosts

    [[machines]]
    cloud = "aws"
    region = "us-east-1"
    zone = "us-east-1a"
    instance_type = "p5.48xlarge"
    vcpus = 192
    memory_gib = 2048
    accelerators = "H100:8"
    price = 0
    count = 2
    reservation = "cr-0123456789abcdef0"  # what a launch there names
    since = 2026-11-30T11:30:00Z          # when it begins; leave it out where it has
    until = 2026-12-01T11:00:00Z          # when it ends; leave it out where it does not
"""

from __future__ import annotations

import re
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sky_core.errors import SpecError
from sky_core.facts import clouds
from sky_core.home import INVENTORY
from sky_core.ssh.pins import is_pin

HOST = re.compile(
    r"^(?:(?P<user>[A-Za-z0-9_.\-]+)@)?(?P<address>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+)(?::(?P<port>\d{1,5}))?$"
)
ACCELERATORS = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._\-]*(:\d+(\.\d+)?)?$")
PLACE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._\-]*$")

Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Host(BaseModel):
    """A machine of one's own that jobs run on over SSH.

    Attributes:
        user, port: None for those of the cloud's settings.
        slots: Jobs that it takes at a time.
        host_key: Its pin (:mod:`sky_core.ssh.pins`), or "" to look it up in known_hosts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    cloud: str
    region: str
    zone: str | None
    instance_type: str
    address: str
    user: str | None = None
    port: int | None = None
    slots: int = 1
    host_key: str = ""

    @property
    def name(self) -> str:
        """Names it among all hosts: its address, with the port where it is not the usual one."""
        return self.address if self.port is None else f"{self.address}:{self.port}"


class Machines(BaseModel):
    """One entry ``[[machines]]``: equal machines in one place.

    Attributes:
        vcpus, memory_gib: What one job gets: with more than one slot, a host's share.
        accelerators: Of each machine, e.g. ``"A100:8"``.
        price: USD per hour and machine (with more than one slot, per slot).
        count: How many there are; None for as many as the cloud gives. Must match ``hosts`` where both are given.
        hosts: SSH addresses ``[user@]host[:port]`` of machines of one's own.
        slots: Jobs that each host takes at a time; machines with accelerators take one.
        host_keys: The pinned key of a host, by its address: a public key line or a fingerprint ``SHA256:…``.
        reservation: What a launch names to get into the capacity that is reserved, as its cloud calls it; without it
            such machines are launched like any others.
        since: When the reservation begins; None of one that has.
        until: When it ends, or takes its machines back.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    cloud: str
    region: str
    zone: str | None = None
    instance_type: str
    vcpus: Amount
    memory_gib: Amount
    accelerators: str | None = None
    price: Money
    spot_price: Money | None = None
    arch: Literal["x86_64", "arm64"] = "x86_64"
    count: Annotated[int, Field(gt=0)] | None = None
    hosts: tuple[str, ...] = ()
    slots: Annotated[int, Field(gt=0, le=1000)] = 1
    host_keys: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    reservation: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @field_validator("cloud", "region", "zone", "instance_type")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and not PLACE.match(value):
            raise ValueError(f"{value!r} is not a name: letters, digits, '.', '_' and '-'")
        return value

    @field_validator("since", "until", mode="before")
    @classmethod
    def _moment(cls, value: object) -> object:
        offset = value.utcoffset() if isinstance(value, datetime) else None
        if value is not None and offset is None:
            raise ValueError("write a date and time with its offset, without quotes: 2026-12-01T11:00:00Z")
        return value

    @field_validator("accelerators")
    @classmethod
    def _one_accelerator(cls, value: str | None) -> str | None:
        if value is not None and not ACCELERATORS.match(value):
            raise ValueError(f"{value!r} is not an accelerator; write e.g. 'V100:4'")
        return value

    @field_validator("hosts")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not HOST.match(host):
                raise ValueError(f"{host!r} is not an address; write e.g. 'user@10.0.0.5:22'")
        return value

    @model_validator(mode="after")
    def _as_many_as_hosts(self) -> Machines:
        if self.hosts and self.count not in (None, len(self.hosts)):
            raise ValueError(f"count: {self.count} machines, but {len(self.hosts)} hosts")
        return self

    @model_validator(mode="after")
    def _hosts_of_ones_own(self) -> Machines:
        if self.hosts and self.cloud in clouds():
            raise ValueError(
                f"hosts: {self.cloud} has machines of its own; give yours another cloud's name, e.g. 'lab'"
            )
        if not self.hosts and (self.slots > 1 or self.host_keys):
            raise ValueError("slots and host_keys belong to hosts, and there are none")
        if self.slots > 1 and self.accelerators:
            raise ValueError("slots: a machine with accelerators takes one job at a time: nothing would share them out")
        addresses = {_host(host)["address"] for host in self.hosts}
        for address, pin in self.host_keys.items():
            if address not in addresses:
                raise ValueError(f"host_keys: {address!r} is none of the hosts")
            if not is_pin(pin):
                raise ValueError(f"host_keys: {address}: write a public key line or a fingerprint 'SHA256:…'")
        return self

    @model_validator(mode="after")
    def _reserved(self) -> Machines:
        if self.reservation is None:
            if self.since is not None or self.until is not None:
                raise ValueError("since and until are of a reservation, and none is named; name it in reservation")
            return self
        known = clouds()[self.cloud].reservations if self.cloud in clouds() else None
        if known is None or not known.takes(self.instance_type):
            raise ValueError(f"reservation: {self.cloud} takes none for {self.instance_type}; leave it out")
        if not known.name.match(self.reservation):
            raise ValueError(f"reservation: {self.reservation!r} is no {known.called}; write e.g. '{known.example}'")
        if known.zonal and self.zone is None:
            raise ValueError(f"zone: a {known.called} is in one zone; name it")
        if self.count is None:
            raise ValueError("count: say how many machines are reserved")
        if self.spot_price is not None:
            raise ValueError("spot_price: reserved machines are not sold on spot; leave it out")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("until: it is not after since")
        return self

    @property
    def capacity(self) -> int | None:
        """How many jobs they take at a time; None for as many as the cloud gives."""
        return len(self.hosts) * self.slots or self.count

    def each_host(self) -> tuple[Host, ...]:
        """Its hosts one by one."""
        place = self.model_dump(include={"cloud", "region", "zone", "instance_type", "slots"})
        return tuple(
            Host(**place, **(parts := _host(host)), host_key=self.host_keys.get(str(parts["address"]), ""))
            for host in self.hosts
        )


class Inventory(BaseModel):
    """The whole file.

    Attributes:
        enabled_regions: Regions that queries would leave out, but that this account may use.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    enabled_regions: tuple[str, ...] = ()
    machines: tuple[Machines, ...] = ()

    @model_validator(mode="after")
    def _each_reservation_once(self) -> Inventory:
        seen: dict[tuple[str | None, ...], int] = {}
        for number, one in enumerate(self.machines):
            if one.reservation is not None:
                first = seen.setdefault((one.cloud, one.reservation.lower(), one.zone, one.instance_type), number)
                if first != number:
                    raise ValueError(f"machines.{number}: reservation: named twice: machines.{first} has it; leave one")
        return self

    @classmethod
    def read(cls, home: Path) -> Inventory:
        """The file of that home, empty if there is none.

        Raises:
            SpecError: naming the entry and field that cannot be meant.
        """
        path = home / INVENTORY
        try:
            return cls.model_validate(tomllib.loads(path.read_text()))
        except FileNotFoundError:
            return cls()
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"{path}: {error}") from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            message = (
                "no such field" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
            )
            raise SpecError(": ".join(filter(None, (str(path), field, message)))) from None

    def hosts(self) -> dict[str, tuple[Host, ...]]:
        """The machines of one's own, by the name of their cloud."""
        found: dict[str, tuple[Host, ...]] = {}
        for entry in self.machines:
            if entry.hosts:
                found[entry.cloud] = (*found.get(entry.cloud, ()), *entry.each_host())
        return found


def _host(text: str) -> dict[str, str | int | None]:
    """User, address and port of ``[user@]host[:port]``; an IPv6 address stands in brackets."""
    parts = HOST.match(text)
    assert parts is not None, "checked before"
    port = parts["port"]
    return {"user": parts["user"], "address": parts["address"].strip("[]"), "port": None if port is None else int(port)}
