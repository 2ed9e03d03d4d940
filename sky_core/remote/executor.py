"""What the driver asks of whatever runs jobs: start an attempt, look at it, let it move, end it.

Machines with SSH and our agent on them are one way (:mod:`sky_core.remote.ssh_executor`). A managed service, or a
cluster with a scheduler of its own, is another: its cloud's facts name the class.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Protocol, TypedDict, runtime_checkable

from sky_core.facts import schemes
from sky_core.remote.agent import call
from sky_core.remote.agent.data.stores import packages, protocol
from sky_core.remote.answers import JobState
from sky_core.remote.workdir import Archive
from sky_core.ssh.machine import Machine

LOOK_S = 10.0  # until the next bytes of an answer, of a machine that answered the last time…
LONG_LOOK_S = 30.0  # …and of one that did not: it may be busy rather than gone


class Mounted(TypedDict):
    """A mount as the agent reads it.

    Attributes:
        file: The number of its local source in the archive of files; None of all others.
    """

    path: str
    url: str | None
    file: int | None
    write_back: bool


@dataclass(frozen=True)
class JobRequest:
    """One attempt of a job.

    Attributes:
        halts: Whether the machine is there for this job only, and ends itself when nobody asks for it any more.
        run: Shell script, or None for a function.
        container: The image that the command runs in, or None.
        payload: A call packed by :func:`sky_core.remote.functions.pack`, or None for a script.
        workdir: The packed folder that the command runs in a copy of.
        files: The packed local files and folders that are mounted.
        environment: The packed list of the packages that it runs with, see :mod:`.pythons.locking`…
        minor: …and the minor version of Python that they are for.
        mounts: What lies at which path, as :class:`sky_core.remote.agent.job.Job` has it.
        secrets: Environment variables that are written nowhere.
        inputs: URL for each input's name: of a published artifact, or of any file or folder fsspec can read.
        outputs: URL for each output's name, to publish under.
        verdict_url: Where rank 0 of an attempt that ends by itself writes how, for who finds its machine gone; or None.
        checkpoint_url: Where ``$SKY_CHECKPOINT_DIR`` is kept, or None.
        restore_urls: Where earlier attempts, in other clouds, kept it; the newest whole generation is restored.
        checkpoint_interval_s: Seconds between syncs; None leaves it to the agent (at most 5% of the time).
        storage_options: fsspec options by protocol (``s3``, ``gs``, ``abfs``). Secret.
        orphan_ttl_s: Seconds without a poll after which the agent ends the job with a last checkpoint, and the machine…
        promised_s: …but not before so many seconds from its start: a job that is well is worth more than its driver.
        publish_patience_s: Seconds for which an output that cannot be published is tried again, the machine kept.
        node_ips: Addresses of all nodes by rank, as they see each other.
        restarts: How often a command that failed is run again, where it ran.
        restart_on: Exit codes after which it always is.
        engine: The engine that makes one computer of all machines, by its name, with its options; none without.
        gang_key: The private key by which the machines of a gang log in to each other; "" for one machine. Secret.
        gpus_per_node: Accelerators of each machine…
        accelerator_tool: …and the command by which it has to list them, or "" where there is none…
        accelerator_patience_s: …within so many seconds.
        place: Its cloud, region and zone.
    """

    job_id: str
    attempt: int
    cloud: str
    halts: bool = True
    run: str | None = None
    container: str | None = None
    payload: bytes | None = field(default=None, repr=False)
    setup: str | None = None
    workdir: Archive | None = None
    files: Archive | None = None
    environment: Archive | None = None
    minor: str = ""
    mounts: tuple[Mounted, ...] = ()
    envs: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    verdict_url: str | None = None
    checkpoint_url: str | None = None
    restore_urls: tuple[str, ...] = ()
    checkpoint_interval_s: float | None = None
    checkpoint_keep: int = 2
    storage_options: Mapping[str, Mapping[str, object]] = field(default_factory=dict, repr=False)
    orphan_ttl_s: float = 1800.0
    promised_s: float = 0.0
    publish_patience_s: float = 1800.0
    node_ips: tuple[str, ...] = ()
    restarts: int = 0
    restart_on: tuple[int, ...] = ()
    engine: Mapping[str, object] = field(default_factory=dict)
    gang_key: str = field(default="", repr=False)
    gpus_per_node: int = 0
    accelerator_tool: str = ""
    accelerator_patience_s: float = 0.0
    place: Mapping[str, str] = field(default_factory=dict)

    def describe(self, rank: int) -> dict[str, object]:
        """The job as the agent of one node reads it (:class:`sky_core.remote.agent.job.Job`)."""
        plain = {name: getattr(self, name) for name in PLAIN}
        return {
            **plain,
            "payload": base64.b64encode(self.payload).decode() if self.payload is not None else None,
            "workdir": self.workdir.digest if self.workdir is not None else None,
            "files": self.files.digest if self.files is not None else None,
            "environment": self.environment.digest if self.environment is not None else None,
            "verdict_url": verdict_of(self.verdict_url, rank) if self.verdict_url else None,
            "mounts": [dict(mount) for mount in self.mounts],
            "place": dict(self.place),
            "engine": dict(self.engine),
            "envs": dict(self.envs),
            "secrets": dict(self.secrets),
            "inputs": dict(self.inputs),
            "outputs": dict(self.outputs),
            "storage_options": {name: dict(options) for name, options in self.storage_options.items()},
            "rank": rank,
            "node_ips": list(self.node_ips) or ["127.0.0.1"],
            "requirements": self.requirements(),
            "python": self.python,
        }

    @property
    def python(self) -> str:
        """The minor version of Python that a function must be called by, or an environment is for; else ""."""
        if self.minor and self.payload is None:
            return self.minor
        return call.python_of(self.payload) if self.payload is not None else ""

    def requirements(self) -> list[str]:
        """The packages that move this job's data, in the versions that this driver was tested with."""
        urls = [*self.inputs.values(), *self.outputs.values(), *self.restore_urls]
        urls += [mount["url"] for mount in self.mounts if mount["url"]]
        urls += [url for url in (self.checkpoint_url, self.verdict_url) if url]
        owners = schemes()
        found: set[str] = set()
        for url in urls:
            owner = owners.get(protocol(url))
            found.update(packages(url, self.storage_options, owner.filesystem) if owner else ("fsspec",))
        return [_pinned(package) for package in sorted(found)]


PLAIN = ("job_id", "attempt", "cloud", "halts", "run", "container", "setup", "checkpoint_url",
         "restore_urls", "checkpoint_interval_s", "checkpoint_keep", "orphan_ttl_s", "promised_s", "publish_patience_s",
         "gpus_per_node", "accelerator_tool", "accelerator_patience_s", "restarts", "restart_on")  # fmt: skip


def verdict_of(url: str, rank: int) -> str:
    """Where a rank writes how it ended, beside rank 0's ``url``."""
    return f"{url.removesuffix('.json')}-{rank}.json" if rank else url


def _pinned(package: str) -> str:
    try:
        return f"{package}=={metadata.version(package)}"
    except metadata.PackageNotFoundError:  # one of fsspec's: this driver need not touch that cloud's data itself
        return f"{package}>=2026.1"


class Executor(Protocol):
    """Runs attempts of jobs. Thread-safe; keeps nothing of a job: any driver may go on with what another one started.

    ``machines`` are where the cluster's instances are reached, by rank. An executor that does not use SSH takes their
    ``ip`` for whatever its cloud's provider has put there.

    All methods raise :class:`~sky_core.errors.LinkLost` if nobody answers,
    :class:`~sky_core.errors.HostKeyMismatch` if somebody else does, and :class:`~sky_core.errors.MachineError` if the
    job cannot be run there. ``machines`` are by rank; where there is None, the gang goes on without that one just now.
    """

    def start(self, machines: Sequence[Machine | None], request: JobRequest) -> None:
        """Start an attempt. Doing so again changes nothing."""

    def poll(
        self, machines: Sequence[Machine | None], job_id: str, attempt: int, offsets: Sequence[int],
        look_s: float = LONG_LOOK_S,
    ) -> JobState:  # fmt: skip
        """How the attempt is doing; tells it that somebody looks after it. A gang that is doomed is ended.

        Its log comes from ``offsets`` on: bytes of each rank's log that were had before, none where there is no number.
        Whoever says nothing for ``look_s`` seconds does not answer; PartlySilent names the ranks, where others do.
        """

    def renew(
        self, machines: Sequence[Machine | None], job_id: str, attempt: int, options: Mapping[str, Mapping[str, object]]
    ) -> None:
        """Use these storage options from now on: those that the attempt was started with end soon."""

    def leave(self, machines: Sequence[Machine | None], job_id: str, attempt: int, grace_s: float) -> None:
        """End the attempt as :meth:`cancel` does, with a last checkpoint to go on from elsewhere.

        A command that has just succeeded publishes its outputs instead; :meth:`poll` tells which it was.
        """

    def cancel(self, machines: Sequence[Machine | None], job_id: str, attempt: int, grace_s: float) -> None:
        """End the attempt: gently, and after ``grace_s`` seconds by force. Returns when it has ended."""

    def close(self) -> None:
        """Let go of all connections; the next call opens them again."""


@runtime_checkable
class Introducing(Protocol):
    """An executor whose machines of a gang can be told that another one has taken the place of a lost one."""

    def introduce(self, machines: Sequence[Machine | None], request: JobRequest) -> None:
        """Tell the machines of an attempt that runs which machines there are now: ``node_ips`` of the request.

        Raises:
            LinkLost, HostKeyMismatch, MachineError: as all methods of an executor.
        """


@runtime_checkable
class Warm(Protocol):
    """An executor whose machines can be kept for another job."""

    def keep(self, machines: Sequence[Machine], cloud: str, job_id: str, attempt: int, seconds: float) -> None:
        """Let machines stay when their job is over, for so long from now; then they end themselves. Nothing of the
        attempt is left on them. Doing so again counts anew; the next :meth:`Executor.start` ends it.

        Raises:
            LinkLost, HostKeyMismatch, MachineError: as all methods of an executor.
        """
