"""Machines without a cloud around them, for tests of what runs on machines: booted, told of evictions and killed."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

from sky_core.clouds.base import LaunchRequest
from sky_core.clouds.userdata import cloud_config, public_key
from sky_core.config import PythonSource
from sky_core.remote.answers import JobState
from sky_core.remote.executor import JobRequest
from sky_core.remote.keys import TeamKey
from sky_core.remote.ssh_executor import SshExecutor
from sky_core.remote.workdir import Archive, packed
from sky_core.ssh.machine import Machine
from sky_sandbox import world
from sky_sandbox.machines.instances import Hypervisor, choose_runner
from sky_sandbox.machines.metadata import Metadata

OVER = ("done", "lost", "missing")
BUCKET = {"s3": "s3://jobs", "gs": "gs://jobs", "abfs": "abfs://jobs"}
ZONES = {"aws": "us-east-1a", "gcp": "us-central1-a", "azure": "eastus-1"}
addresses = itertools.count(os.getpid() % 40000 * 6 + 1)  # test runs beside each other must not meet


def archive(folder: Path) -> Archive:
    """A folder as a driver finds it in its store."""
    with packed(str(folder)) as (digest, file):
        content = file.read()
    return Archive(digest, lambda: iter([content[:10], content[10:]]))


class Park:
    """Machines and the executor that works on them."""

    def __init__(self, folder: Path, ssh_port: int, metadata_port: int, python: PythonSource | None = None) -> None:
        """With a source of Pythons, machines have what their image has; without, all that jobs need."""
        strict, metadata = python is not None, Metadata(metadata_port)
        self.hypervisor = Hypervisor(choose_runner(), metadata, folder / "park", ssh_port, strict=strict)
        self._key = TeamKey.new()
        self.keys = (self._key.client_key,)
        self.executor = SshExecutor(self.keys, python)
        self.machines: dict[Machine, world.Machine] = {}

    def boot(self, cloud: str = "aws", image: str = "") -> Machine:
        """A running machine of an image."""
        number = next(addresses)
        token = f"machine-{number}"
        host_key = self._key.host_key(token)
        request = LaunchRequest(
            token, "m5.large", "us-east-1", None, True, host_key=host_key,
            authorized_key=public_key(self._key.client_key),
        )  # fmt: skip
        ip = f"127.{78 + (number >> 16) % 100}.{number >> 8 & 255}.{number & 255}"
        emulated = world.Machine(
            token, cloud, "region", ZONES[cloud], "m5.large", "spot", 2, {}, ip,
            cloud_config(request, "skyloom"), time.time(), extra={"image": image},
        )  # fmt: skip
        self.hypervisor.boot(emulated)
        machine = Machine(ip, self.hypervisor.ssh_port, "skyloom", public_key(host_key))
        self.machines[machine] = emulated
        return machine

    def host_key(self, token: str) -> str:
        """A private key that nobody else has."""
        return self._key.host_key(token)

    def evict(self, machine: Machine, seconds: float) -> None:
        """Announce the machine's end; it is up to the test to bring it about."""
        self.hypervisor.notice(self.machines[machine], seconds)

    def kill(self, machine: Machine) -> None:
        """Pull the plug."""
        self.hypervisor.kill(self.machines[machine])

    def folder(self, machine: Machine) -> Path:
        """The machine's home, as the host sees it."""
        name = "ip-" + self.machines[machine].ip.replace(".", "-")
        return self.hypervisor.folder / "machines" / name / "home"

    def close(self) -> None:
        """End everything."""
        self.executor.close()
        for machine in list(self.machines):
            self.kill(machine)
        self.hypervisor.close()

    # --- jobs ------------------------------------------------------------------------------------------------

    def follow(
        self, machines: Machine | list[Machine], job: JobRequest, until: Callable[[JobState], bool] | None = None
    ) -> JobState:
        """Poll until the job is over or ``until`` says so; the state with the whole log so far."""
        where = machines if isinstance(machines, list) else [machines]
        log, offsets, deadline = b"", (), time.monotonic() + 240
        while True:
            state = self.executor.poll(where, job.job_id, job.attempt, offsets)
            log, offsets = log + state.log, state.offsets
            if state.phase in OVER or (until is not None and until(state)):
                return JobState(**{**vars(state), "log": log})
            assert time.monotonic() < deadline, f"the job does not end: {state}"
            time.sleep(0.05)

    def run(self, machines: Machine | list[Machine], job: JobRequest) -> JobState:
        """Start a job and follow it to its end."""
        self.executor.start(machines if isinstance(machines, list) else [machines], job)
        return self.follow(machines, job)
