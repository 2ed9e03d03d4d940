"""The driver's hand on a job: start it on its machines, follow it, end it. Any process may; nothing is kept here
but open connections.
"""

from __future__ import annotations

import base64
import json
import shlex
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any, TypeVar
from urllib.parse import quote

from sky_core.facts import schemes
from sky_core.remote import bundle
from sky_core.remote.agent.stores import protocol
from sky_core.remote.answers import JobState, poll_answer
from sky_core.remote.ssh import Link, Machine
from sky_core.remote.workdir import Archive

Answer = TypeVar("Answer")

HOME = ".skyloom"  # on the machine; see agent/job.py
LOOK_S = 10.0  # until the next bytes of an answer, of a machine that answered the last time…
LONG_LOOK_S = 30.0  # …and of one that did not: it may be busy rather than gone
POLL_TIMEOUT_S = 180.0  # for all of an answer; its log may come slowly
START_TIMEOUT_S = 120.0
CANCEL_MARGIN_S = 30.0
MOVE_MARGIN_S = 630.0  # the last checkpoint included
NO_LOG = -1  # as offset: do not send the log


@dataclass(frozen=True)
class JobRequest:
    """One attempt of a job.

    Attributes:
        run: Shell script, or None for a function.
        payload: A call packed by :func:`sky_core.remote.functions.pack`, or None for a script.
        workdir: The packed folder that the command runs in a copy of.
        secrets: Environment variables that are written nowhere.
        inputs: URL for each input's name: of a published artifact, or of any file or folder fsspec can read.
        outputs: URL for each output's name, to publish under.
        verdict_url: Where an attempt that ends by itself writes how, for who finds its machine gone; or None.
        checkpoint_url: Where ``$SKY_CHECKPOINT_DIR`` is kept, or None.
        restore_urls: Where earlier attempts, in other clouds, kept it; the newest whole generation is restored.
        checkpoint_interval_s: Seconds between syncs; None leaves it to the agent (at most 5% of the time).
        storage_options: fsspec options by protocol (``s3``, ``gs``, ``abfs``). Secret.
        orphan_ttl_s: Seconds without a poll after which the agent ends the job with a last checkpoint, and the machine…
        promised_s: …but not before so many seconds from its start: a job that is well is worth more than its driver.
        publish_patience_s: Seconds for which an output that cannot be published is tried again, the machine kept.
        node_ips: Addresses of all nodes by rank, as they see each other.
    """

    job_id: str
    attempt: int
    cloud: str
    run: str | None = None
    payload: bytes | None = field(default=None, repr=False)
    setup: str | None = None
    workdir: Archive | None = None
    envs: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    verdict_url: str | None = None
    checkpoint_url: str | None = None
    restore_urls: tuple[str, ...] = ()
    checkpoint_interval_s: float | None = None
    checkpoint_keep: int = 2
    storage_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    orphan_ttl_s: float = 1800.0
    promised_s: float = 0.0
    publish_patience_s: float = 1800.0
    node_ips: tuple[str, ...] = ()

    def describe(self, rank: int) -> dict[str, Any]:
        """The job as the agent of one node reads it (:class:`sky_core.remote.agent.job.Job`)."""
        plain = {name: getattr(self, name) for name in PLAIN}
        return {
            **plain,
            "payload": base64.b64encode(self.payload).decode() if self.payload is not None else None,
            "workdir": self.workdir.digest if self.workdir is not None else None,
            "envs": dict(self.envs),
            "secrets": dict(self.secrets),
            "inputs": dict(self.inputs),
            "outputs": dict(self.outputs),
            "storage_options": {name: dict(options) for name, options in self.storage_options.items()},
            "rank": rank,
            "node_ips": list(self.node_ips) or ["127.0.0.1"],
            "requirements": self._requirements(),
        }

    def _requirements(self) -> list[str]:
        """The packages that move this job's data, in the versions that this driver was tested with."""
        urls = [*self.inputs.values(), *self.outputs.values(), *self.restore_urls]
        urls += [url for url in (self.checkpoint_url, self.verdict_url) if url]
        owners = schemes()
        packages = {owners[scheme].filesystem for url in urls if (scheme := protocol(url)) in owners}
        return [_pinned(package) for package in sorted(packages | {"fsspec"})] if urls else []


PLAIN = ("job_id", "attempt", "cloud", "run", "setup", "verdict_url", "checkpoint_url", "restore_urls",
         "checkpoint_interval_s", "checkpoint_keep", "orphan_ttl_s", "promised_s", "publish_patience_s")  # fmt: skip


def _pinned(package: str) -> str:
    try:
        return f"{package}=={metadata.version(package)}"
    except metadata.PackageNotFoundError:  # this driver need not touch that cloud's data itself
        return f"{package}>=2026.1"


class Executor:
    """Starts, follows and ends jobs over SSH. Thread-safe; connections are kept until :meth:`close`.

    All methods raise :class:`~sky_core.errors.LinkLost` if a machine does not answer,
    :class:`~sky_core.errors.HostKeyMismatch` if another one does, and :class:`~sky_core.errors.MachineError` if it
    cannot run the agent.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys
        self._links: dict[Machine, Link] = {}
        self._lock = threading.Lock()

    def start(self, machines: Sequence[Machine], request: JobRequest) -> None:
        """Start an attempt on all its machines, in the order of their ranks. Doing so again changes nothing."""
        if request.workdir is not None:
            self._deliver_workdir([self._link(machine) for machine in machines], request.workdir)

        def start(rank: int) -> None:
            link = self._link(machines[rank])
            program = self._deliver_agent(link)
            description = json.dumps(request.describe(rank)).encode()
            link.run(["python3", program, "start"], description, START_TIMEOUT_S)

        _each(start, range(len(machines)))

    def poll(
        self, machines: Sequence[Machine], job_id: str, attempt: int, log_offset: int, look_s: float = LONG_LOOK_S
    ) -> JobState:
        """How the attempt is doing, with rank 0's log from ``log_offset`` on; renews every node's lease.

        A machine that says nothing for ``look_s`` seconds does not answer.

        A gang is over when rank 0 is, or as soon as another node has failed or is lost.
        """
        arguments = [(machine, log_offset if rank == 0 else NO_LOG) for rank, machine in enumerate(machines)]
        first, *others = _each(lambda given: self._poll(given[0], job_id, attempt, given[1], look_s), arguments)
        if first.phase in ("done", "missing", "lost"):
            return first
        for rank, other in enumerate(others, start=1):
            if other.phase in ("lost", "missing"):
                return replace(first, phase="lost", detail=f"node {rank}: {other.detail or other.phase}")
            if other.phase == "done" and other.exit_code != 0:
                why = f"exit code {other.exit_code}" if other.exit_code is not None else other.detail
                return replace(first, phase="done", exit_code=other.exit_code, detail=f"node {rank}: {why}",
                           eviction=first.eviction or other.eviction)  # fmt: skip
        return first

    def cancel(self, machines: Sequence[Machine], job_id: str, attempt: int, grace_s: float) -> None:
        """End the attempt everywhere: SIGTERM, after ``grace_s`` seconds SIGKILL. Returns when it has ended."""

        def cancel(machine: Machine) -> None:
            self._agent(
                machine, "cancel", job_id, attempt, str(grace_s), "cancelled", timeout_s=grace_s + CANCEL_MARGIN_S
            )

        _each(cancel, machines)

    def leave(self, machines: Sequence[Machine], job_id: str, attempt: int, grace_s: float) -> None:
        """End the attempt as :meth:`cancel` does, with a last checkpoint to go on from elsewhere.

        A command that has just succeeded publishes its outputs instead; :meth:`poll` tells which it was.
        """

        def leave(machine: Machine) -> None:
            self._agent(machine, "cancel", job_id, attempt, str(grace_s), "moved", timeout_s=grace_s + MOVE_MARGIN_S)

        _each(leave, machines)

    def close(self) -> None:
        """Close all connections; the next call opens them again."""
        with self._lock:
            links, self._links = list(self._links.values()), {}
        for link in links:
            link.close()

    def _poll(self, machine: Machine, job_id: str, attempt: int, offset: int, look_s: float = LONG_LOOK_S) -> JobState:
        answer = self._agent(machine, "poll", job_id, attempt, str(offset), timeout_s=POLL_TIMEOUT_S, stall_s=look_s)
        return poll_answer(answer, offset)

    def _agent(
        self,
        machine: Machine,
        command: str,
        job_id: str,
        attempt: int,
        *more: str,
        timeout_s: float,
        stall_s: float | None = None,
    ) -> bytes:
        """Call the agent that the attempt was started with, whatever version it has."""
        program = shlex.quote(f"{HOME}/jobs/{quote(job_id, safe='')}/{attempt}/agent.pyz")
        call = f"python3 -S {program} {shlex.join([command, job_id, str(attempt), *more])}"
        nobody = shlex.join(["echo", json.dumps({"phase": "missing"})])
        script = f"if test -e {program}; then {call}; else {nobody}; fi"
        return self._link(machine).run(script, timeout_s=timeout_s, stall_s=stall_s)

    def _deliver_agent(self, link: Link) -> str:
        program, content = bundle.agent()
        path = f"{HOME}/{program}"
        if not _has(link, path):
            link.put(content, path)
        return path

    def _deliver_workdir(self, links: Sequence[Link], archive: Archive) -> None:
        path = f"{HOME}/workdirs/{archive.digest}.tar.gz"
        lacking = [link for link in links if not _has(link, path)]
        if not lacking:
            return
        with archive.open() as file:
            for link in lacking:
                file.seek(0)
                link.put(file, path)

    def _link(self, machine: Machine) -> Link:
        with self._lock:
            return self._links.setdefault(machine, Link(machine, self._keys))


def _has(link: Link, path: str) -> bool:
    return link.run(f"test -f {shlex.quote(path)} && echo yes || true").strip() == b"yes"


def _each(work: Callable[[Any], Answer], items: Iterable[Any]) -> list[Answer]:
    """Do the work for all items at once; raises the first error after all have ended."""
    items = list(items)
    if len(items) == 1:
        return [work(items[0])]
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(work, items))
