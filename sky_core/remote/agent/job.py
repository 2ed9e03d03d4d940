"""A job as the driver describes it, and where its files lie on the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

BROUGHT = "brought"  # folder in the agent's zip file for what runs on the machine: ``sky_core.checkpoint``, …


def root() -> Path:
    """Where the agent keeps everything on the machine."""
    return Path.home() / ".skyloom"


def archive(digest: str) -> Path:
    """Where the driver has put an archive of that SHA-256."""
    return root() / "workdirs" / f"{digest}.tar.gz"


@dataclass(frozen=True)
class Job:
    """What the driver sends on stdin, as JSON. Secrets live in this process's memory and nowhere else.

    Attributes:
        halts: Whether the machine is there for this job only, and ends with it.
        run: The user's command, or None for a function.
        container: The image that setup and the command run in, or None: on the machine itself.
        payload: A pickled call (base64), or None for a command.
        workdir: SHA-256 of the archive of the user's folder, already on the machine, or None.
        files: SHA-256 of the archive of local files and folders that are mounted, by number; or None.
        environment: SHA-256 of the archive of the list of its packages, or None…
        index: …and the package index that has them; None: uv's own. Secret.
        mounts: What lies at which path: ``{"path", "url" or None, "file": number in ``files`` or None, "write_back"}``.
        inputs: URL of a published artifact, or of any file or folder, for each input's name.
        outputs: URL to publish under, for each output's name.
        verdict_url: Where an attempt that ends by itself writes how, or None.
        checkpoint_url: Where this attempt keeps its checkpoints, or None.
        restore_urls: Where earlier attempts kept theirs; the newest whole one of all these is restored.
        storage_options: fsspec options for each protocol. Secret.
        orphan_ttl_s: Seconds without a poll after which nobody seems to drive the job any more…
        promised_s: …and the seconds that it goes on nevertheless, counted from its start: what it was planned to take.
        publish_patience_s: Seconds for which an output that cannot be published is tried again.
        restarts: How often a command that failed is run again, where it ran.
        restart_on: Exit codes after which it always is.
        engine: The engine that makes one computer of all machines (``name``) and its options; none of a plain task. Of
            a gang whose machines come and go ``elastic`` has its ``min``, ``max`` and ``reliable``.
        gang_key: The key pair (``private``, ``public``) by which the machines of a gang log in to each other. Secret.
        peers: Where each of them, by rank, is logged in to: ``{"address", "port", "user", "host_key"}``; none alone.
        gpus_per_node: Accelerators of each machine…
        accelerator_tool: …and the command that lists them: "nvidia-smi", "neuron-ls", or "" where there is none…
        accelerator_patience_s: …and the seconds after which it must.
        place: Its cloud, region and zone.
        requirements: Python packages that the transfers need, as pip spells them.
        python: Version of Python that the function was pickled by, such as "3.12"; "" for a command.
    """

    job_id: str
    attempt: int
    cloud: str
    halts: bool = True
    run: str | None = None
    container: str | None = None
    payload: str | None = None
    setup: str | None = None
    workdir: str | None = None
    files: str | None = None
    environment: str | None = None
    index: str | None = None
    mounts: Sequence[Mapping[str, Any]] = ()
    envs: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    verdict_url: str | None = None
    checkpoint_url: str | None = None
    restore_urls: Sequence[str] = ()
    checkpoint_interval_s: float | None = None
    checkpoint_keep: int = 2
    storage_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    orphan_ttl_s: float = 1800.0
    promised_s: float = 0.0
    publish_patience_s: float = 1800.0
    rank: int = 0
    node_ips: Sequence[str] = ("127.0.0.1",)
    restarts: int = 0
    restart_on: Sequence[int] = ()
    engine: Mapping[str, Any] = field(default_factory=dict)
    gang_key: Mapping[str, str] = field(default_factory=dict, repr=False)
    peers: Sequence[Mapping[str, Any]] = ()
    gpus_per_node: int = 0
    accelerator_tool: str = ""
    accelerator_patience_s: float = 0.0
    place: Mapping[str, str] = field(default_factory=dict)
    requirements: Sequence[str] = ()
    python: str = ""

    @property
    def spare(self) -> bool:
        """Whether the gang goes on without this rank: of an elastic one all but the first, which are reliable."""
        elastic = self.engine.get("elastic")
        return elastic is not None and self.rank >= elastic["reliable"]

    def urls(self) -> list[str]:
        """Every URL this job moves data from or to; without any, nothing is installed for that before it starts."""
        checkpoints = [self.checkpoint_url] if self.checkpoint_url else []
        mounts = [mount["url"] for mount in self.mounts if mount["url"]]
        return [*self.inputs.values(), *self.outputs.values(), *mounts, *checkpoints, *self.restore_urls]


class Place:
    """The folder of one attempt of one job.

    Attributes:
        program: The agent that leads this attempt; a later driver may bring another one.
        python: The Python that it runs by.
        supervisor: Who leads it: the boot of the machine, the process, and when that was started.
        own_log: What the agent's own processes print; empty unless something is wrong.
        lease: Its modification time is the driver's sign of life.
        cancel: Holds the grace in seconds and why ("cancelled" or "moved"), once the job is to end.
        renewals: A pipe by which fresh credentials come, to be in no file.
        eviction: Made when the cloud has announced the machine's end.
        progress: Where the command says how far it is.
        over: Made when nobody asks for the job any more, on a machine that stays.
        hosts: The addresses of a gang's machines, one a line.
        unmade: Why the engine has not come about, or has ended before its time.
        staging: The copy of the checkpoint that is being uploaded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "agent.pyz"
        self.python = folder / "python"
        self.log = folder / "log"
        self.own_log = folder / "agent.log"
        self.state = folder / "state.json"
        self.supervisor = folder / "supervisor"
        self.lease = folder / "lease"
        self.cancel = folder / "cancel"
        self.renewals = folder / "renewals"
        self.eviction = folder / "eviction"
        self.progress = folder / "progress"
        self.over = folder / "over"
        self.hosts = folder / "hosts"
        self.unmade = folder / "unmade"
        self.work = folder / "work"
        self.files = folder / "files"
        self.payload = folder / "payload"
        self.checkpoint = folder / "checkpoint"
        self.staging = folder / "staging"
        self.mounts = folder / "mounts"

    @property
    def written(self) -> tuple[Path, ...]:
        """The folders that a job's commands write to."""
        return self.work, self.checkpoint, self.folder / "outputs", self.mounts

    def unpack(self, job: Job) -> None:
        """Make the working folder, and that of local files."""
        import tarfile  # not for a look at the job

        for digest, folder in ((job.workdir, self.work), (job.files, self.files)):
            folder.mkdir(exist_ok=True)
            if digest:
                with tarfile.open(archive(digest)) as packed:
                    packed.extractall(folder)  # noqa: S202 - packed by our own driver

    @classmethod
    def of(cls, job_id: str, attempt: int) -> Place:
        """Where that attempt lies; a job's id may hold any characters."""
        return cls(root() / "jobs" / quote(job_id, safe="") / str(attempt))

    def input(self, name: str) -> Path:
        """The folder that holds an input."""
        return self.folder / "inputs" / name

    def mount(self, number: int) -> Path:
        """The folder that holds a mounted bucket's content."""
        return self.mounts / str(number)

    def script(self, name: str, text: str) -> str:
        """Where a script lies from now on, for a shell to run."""
        file = self.folder / f"{name}.sh"
        file.write_text(text)
        return str(file)

    def output(self, name: str) -> Path:
        """Where the job writes an output."""
        return self.folder / "outputs" / name


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file at once: a reader sees the old content or the new one."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.write_bytes(data)
    new.replace(path)
