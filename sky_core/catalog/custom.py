"""Rows of one's own: machines on premises, reserved machines, negotiated prices; regions that were enabled.

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
"""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sky_core.catalog.names import device_memory_gib
from sky_core.catalog.schema import SCHEMA, format_labels
from sky_core.errors import SpecError
from sky_core.spec import Resources

FILE = "catalog.toml"
SOURCE = "custom"
HOST = re.compile(r"^(?:[A-Za-z0-9_.\-]+@)?[A-Za-z0-9.\-:\[\]]+$")
ACCELERATORS = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._\-]*(:\d+(\.\d+)?)?$")
PLACE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._\-]*$")

Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Machines(BaseModel):
    """One entry ``[[machines]]``: equal machines in one place.

    Attributes:
        accelerators: Of each machine, e.g. ``"A100:8"``.
        price: USD per hour and machine.
        count: How many there are; None for as many as the cloud gives. Must match ``hosts`` where both are given.
        hosts: SSH addresses ``[user@]host[:port]`` of machines of one's own.
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
    labels: dict[str, str] = Field(default_factory=dict)

    @field_validator("cloud", "region", "zone", "instance_type")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and not PLACE.match(value):
            raise ValueError(f"{value!r} is not a name: letters, digits, '.', '_' and '-'")
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

    def row(self, as_of: datetime) -> dict[str, Any]:
        """The entry as a row of the catalog."""
        pairs = Resources(accelerators=self.accelerators).accelerators
        accelerator, count = pairs[0] if pairs else (None, None)
        return {
            **self.model_dump(include={"cloud", "region", "zone", "instance_type", "vcpus", "memory_gib", "arch"}),
            "accelerator": accelerator,
            "accelerator_count": count,
            "device_memory_gib": device_memory_gib(accelerator) if accelerator else None,
            "price": self.price,
            "spot_price": self.spot_price,
            "labels": format_labels(self.labels),
            "capacity": self.count or len(self.hosts) or None,
            "source": SOURCE,
            "as_of": as_of.date(),
        }


class Custom(BaseModel):
    """The whole file.

    Attributes:
        enabled_regions: Regions that queries would leave out, but that this account may use.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    enabled_regions: tuple[str, ...] = ()
    machines: tuple[Machines, ...] = ()

    @classmethod
    def read(cls, home: Path) -> Custom:
        """The file of that home, empty if there is none.

        Raises:
            SpecError: naming the entry and field that cannot be meant.
        """
        path = home / FILE
        try:
            return cls.model_validate(tomllib.loads(path.read_text()))
        except FileNotFoundError:
            return cls()
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"{path}: {error}") from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "file"
            message = (
                "no such field" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
            )
            raise SpecError(f"{path}: {field}: {message}") from None

    def table(self) -> pl.DataFrame:
        """The machines as rows of the catalog."""
        now = datetime.now(UTC)
        return pl.DataFrame([entry.row(now) for entry in self.machines], schema=dict(SCHEMA))

    def hosts(self, instance_type: str) -> tuple[str, ...]:
        """SSH addresses of the machines of that type."""
        return tuple(host for entry in self.machines if entry.instance_type == instance_type for host in entry.hosts)
