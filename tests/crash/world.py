"""What all trials share: one sandbox, one witness, one zygote, and a place for their databases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sky_core.config import Settings
from sky_sandbox import client
from sky_sandbox.client import Control
from tests.crash.databases import Database, Databases
from tests.crash.inside import compression
from tests.crash.witness import Witness

# One real second counts as a quarter of a minute of machine time: the two minutes within which everything must be
# gone are eight seconds, in which a busy host can take a machine down.
HOURS_PER_SECOND = 1 / 240
BOOT_S = 0.2
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class World:
    """Where trials are run."""

    folder: Path
    control: Control
    witness: Witness
    databases: Databases
    endpoints: dict[str, Any]

    @property
    def storage(self) -> str:
        """URL of the object store, all dialects."""
        return str(self.endpoints["clouds"]["aws"]["storage_endpoint"])

    def settings(self, name: str, orders: dict[str, Any], *, alone: bool) -> tuple[Settings, Database]:
        """A home, a database and an identity of a trial's own: faults are matched by who calls.

        ``alone``: no other trial's database is on the same server.
        """
        home = self.folder / name
        (home / "sandbox").mkdir(parents=True)
        told = json.loads(json.dumps(self.endpoints))
        for cloud, config in told["clouds"].items():
            keys = config["credentials"]
            keys.update({"access_key_id": caller(cloud, name)} if cloud == "aws" else {"token": caller(cloud, name)})
            config |= {"bucket_prefix": name, **compression.cloud_settings()}
        told |= compression.settings()
        (home / "sandbox/endpoints.json").write_text(json.dumps(told))
        (home / "crash.json").write_text(json.dumps(orders))
        database = self.databases.make(home, alone=alone)
        environ = {"SKYLOOM_HOME": str(home), "SKYLOOM_PROFILE": "sandbox", "SKYLOOM_STORE": database.url}
        return Settings.load(environ), database


def caller(cloud: str, name: str) -> str:
    """The name under which a trial's driver calls a cloud."""
    return f"AKIASKYLOOMSANDBOX00{name}" if cloud == "aws" else f"sandbox-{name}"


@contextmanager
def world(folder: Path, databases: Databases) -> Iterator[World]:
    """Everything up, and down again."""
    home = folder / "world"
    home.mkdir(parents=True)
    options = {"boot_s": BOOT_S, "hours_per_second": HOURS_PER_SECOND, "gb_per_mb": 0.001}
    control = client.up(home, attached=True, **options)
    witness, interpreter = Witness(), sys.executable
    try:
        with _zygote(folder):
            endpoints = json.loads((home / "sandbox/endpoints.json").read_text())
            yield World(folder, control, witness, databases, endpoints)
    finally:
        sys.executable = interpreter
        witness.close()
        client.down(home)
        databases.close()


@contextmanager
def _zygote(folder: Path) -> Iterator[None]:
    """Let drivers be forked: what the broker takes for the interpreter is a script that asks the zygote."""
    address = folder / "zygote.sock"
    log = (folder / "zygote.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.inside.zygote", str(address)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT,
        env={**os.environ, "NO_GCE_CHECK": "true", "AWS_EC2_METADATA_DISABLED": "true"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    if process.stdout.readline() != b"ready\n":
        raise RuntimeError(f"the zygote did not start: {(folder / 'zygote.log').read_text()[-2000:]}")
    script = folder / "driver"
    zygote = Path(__file__).parent / "inside" / "zygote.py"
    shim = f'"{sys.executable}" -IS "{zygote}" --shim "{address}"'
    script.write_text(f"#!/bin/sh\nexec {shim}\n")
    script.chmod(0o755)
    sys.executable = str(script)
    try:
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()
        log.close()
