"""Machines of one's own for tests: real sshd processes on loopback, and the files that tell Skyloom of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from sky_core.config import CloudConfig
from sky_core.home import INVENTORY
from sky_core.inventory import Inventory
from sky_core.ssh.machine import Machine
from tests.conftest import Sandbox
from tests.sandbox.driving import Home, home_of
from tests.sandbox.park import Park

BUCKET = "s3://skyloom-lab"


class Lab:
    """Two hosts that nobody has launched, and the home of somebody who has their key."""

    def __init__(self, park: Park, folder: Path, hosts: int = 2, slots: int = 1, price: float = 0.0) -> None:
        self.park, self.folder = park, folder
        self.machines: Sequence[Machine] = [park.boot() for _ in range(hosts)]
        self.key_file, self.known_hosts = folder / "id_lab", folder / "known_hosts"
        self.key_file.write_text(park.keys[0])
        self.known_hosts.write_text("".join(f"[{m.ip}]:{m.port} {m.host_key}\n" for m in self.machines))
        self.catalog = f"""
[[machines]]
cloud = "lab"
region = "basement"
instance_type = "box"
vcpus = 4
memory_gib = 16
price = {price}
slots = {slots}
hosts = {json.dumps([f"{m.user}@{m.ip}:{m.port}" for m in self.machines])}
"""
        (folder / INVENTORY).write_text(self.catalog)

    @property
    def settings(self) -> str:
        """What config.toml says of them."""
        return f'[clouds.lab]\nkey_file = "{self.key_file}"\nknown_hosts = "{self.known_hosts}"\nbucket = "{BUCKET}"\n'

    def config(self, **changes: Any) -> CloudConfig:
        """The same as its provider gets it."""
        hosts = Inventory.read(self.folder).hosts()["lab"]
        fields = {"key_file": self.key_file, "known_hosts": self.known_hosts, "bucket": BUCKET, "hosts": hosts}
        return CloudConfig.model_validate({**fields, **changes})

    def claims(self, machine: Machine) -> list[dict[str, Any]]:
        """What a host has written down of its slots."""
        file = self.park.folder(machine) / ".skyloom" / "slots.json"
        found: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
        return found

    @contextmanager
    def home(self, sandbox: Sandbox, patience: float = 60) -> Iterator[Home]:
        """A home that leads to the sandbox's clouds and to these hosts."""
        with home_of(sandbox, self.folder, f"{self.settings}lost_after_s = {patience}\n") as home:
            options = dict(home.driving.clouds["aws"].storage_options())
            with contextlib.suppress(FileExistsError):
                fsspec.filesystem("s3", **options).mkdir(BUCKET.partition("://")[2])
            yield home
