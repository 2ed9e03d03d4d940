"""The driver's side of the agent: start a job on its machines, look at it in one round trip, end it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sky_core.errors import LinkLost, MachineError
from sky_core.remote.agent.stores import protocol
from sky_core.remote.bundle import agent_archive, pack_folder
from sky_core.remote.ssh import Link, Machine

FOLDER = ".skyloom"  # in the machine's home
PACKAGES = {"s3": "s3fs>=2026.1", "gs": "gcsfs>=2026.1", "abfs": "adlfs>=2026.1"}

__all__ = ["Executor", "JobRequest", "JobState", "Machine"]


@dataclass(frozen=True)
class JobRequest:
    """What the agent is asked to do; see :class:`sky_core.remote.agent.job.Job` for the fields in common.

    Attributes:
        payload: A pickled call, or None for a command.
        workdir: A folder on this machine whose files the job starts among, or None.
        restore_urls: Where earlier attempts kept their checkpoints.
        storage_options: fsspec options by protocol; secret, sent through the link's standard input only.
    """

    job_id: str
    attempt: int
    cloud: str
    run: str | None = None
    payload: bytes | None = None
    setup: str | None = None
    workdir: str | None = None
    envs: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    checkpoint_url: str | None = None
    restore_urls: Sequence[str] = ()
    checkpoint_interval_s: float | None = None
    checkpoint_keep: int = 2
    storage_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    orphan_ttl_s: float = 1800.0
    node_ips: Sequence[str] = ("127.0.0.1",)


@dataclass(frozen=True)
class JobState:
    """What one look at the agent tells.

    Attributes:
        phase: inputs, setup, running, outputs or done; ``missing`` before its start, ``lost`` if the agent is gone.
        log: New bytes of the log; ``log_offset`` is where the next look goes on.
        eviction: Whether the cloud has announced the machine's end.
        moved: Bytes moved so far, ``{"inputs": {name: bytes}, "outputs": {name: bytes}}``.
        restored_generation: The checkpoint generation that was restored at the start, or None.
    """

    phase: str
    exit_code: int | None = None
    log: bytes = b""
    log_offset: int = 0
    eviction: bool = False
    checkpoint_generation: int | None = None
    restored_generation: int | None = None
    restored_bytes: int = 0
    moved: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    detail: str = ""


class Executor:
    """Links to all machines in use, one each, kept open between looks.

    Args:
        key_file: The private key that logs in.
    """

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self._links: dict[Machine, Link] = {}
        self._lock = threading.Lock()

    def start(self, machines: Sequence[Machine], request: JobRequest) -> None:
        """Start the job on all machines of the gang. A second start of the same attempt changes nothing.

        Raises:
            LinkLost: if a machine does not answer (yet).
            MachineError: if one cannot run the agent.
            HostKeyMismatch: if another machine answers.
            SpecError: if the workdir is no folder.
        """
        archive, data = agent_archive()
        workdir = pack_folder(Path(request.workdir)) if request.workdir else None
        for rank, machine in enumerate(machines):
            link = self._link(machine)
            _put_once(link, f"{FOLDER}/{archive}", data)
            if workdir is not None:
                _put_once(link, f"{FOLDER}/workdirs/{workdir[0]}.tar.gz", workdir[1])
            description = _description(request, rank, workdir[0] if workdir else None)
            link.run(["python3", f"{FOLDER}/{archive}", "start"], json.dumps(description).encode())

    def poll(self, machines: Sequence[Machine], job_id: str, attempt: int, log_offset: int) -> JobState:
        """Look at the job through its first machine, and renew its lease on all of them.

        Raises:
            LinkLost: if a machine does not answer.
        """
        answers = [self._agent(machine, "poll", job_id, str(attempt), str(log_offset)) for machine in machines]
        head, _, log = answers[0].partition(b"\n")
        told = json.loads(head)
        if told["phase"] == "missing":
            return JobState("missing", log_offset=log_offset)
        return JobState(
            phase=told["phase"],
            exit_code=told["exit_code"],
            log=log,
            log_offset=told["log_offset"],
            eviction=any(json.loads(answer.partition(b"\n")[0]).get("eviction") for answer in answers),
            checkpoint_generation=told["generation"],
            restored_generation=told["restored"],
            restored_bytes=told["restored_bytes"],
            moved=told["moved"],
            detail=told["detail"],
        )

    def cancel(self, machines: Sequence[Machine], job_id: str, attempt: int, grace_s: float) -> None:
        """Ask the agents to end the job: SIGTERM, then SIGKILL after ``grace_s`` seconds.

        Raises:
            LinkLost: if a machine does not answer.
        """
        for machine in machines:
            self._agent(machine, "cancel", job_id, str(attempt), str(grace_s))

    def forget(self, machines: Sequence[Machine]) -> None:
        """Close the links to machines that are gone."""
        with self._lock:
            links = [self._links.pop(machine) for machine in machines if machine in self._links]
        for link in links:
            link.close()

    def _agent(self, machine: Machine, *arguments: str) -> bytes:
        try:
            return self._link(machine).run(["python3", f"{FOLDER}/{agent_archive()[0]}", *arguments])
        except MachineError as error:
            raise LinkLost(f"the agent does not answer: {error}") from error

    def _link(self, machine: Machine) -> Link:
        with self._lock:
            return self._links.setdefault(machine, Link(machine, self._key_file))


def _put_once(link: Link, path: str, data: bytes) -> None:
    """Send a file that is named by its content, unless it is there."""
    if link.run(f"test -f {path} && echo there || true").strip() != b"there":
        link.put(data, path)


def _description(request: JobRequest, rank: int, workdir: str | None) -> dict[str, Any]:
    fields = {name: getattr(request, name) for name in request.__dataclass_fields__}
    urls = [*request.inputs.values(), *request.outputs.values(), *request.restore_urls, request.checkpoint_url or ""]
    packages = {PACKAGES[protocol(url)] for url in urls if protocol(url) in PACKAGES}
    payload = base64.b64encode(request.payload).decode() if request.payload is not None else None
    return {**fields, "payload": payload, "workdir": workdir, "rank": rank, "requirements": sorted(packages)}
