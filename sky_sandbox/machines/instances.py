"""The machines themselves: real SSH servers on loopback addresses of their own, started and killed whole.

Two runners: :class:`~sky_sandbox.machines.namespaces.Namespaces` (OpenSSH, Linux) where the host allows it, otherwise
:class:`Nursery` (asyncssh, needs nothing but Python). :class:`Hypervisor` is the world's host above either.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import psutil

from sky_sandbox.machines import namespaces
from sky_sandbox.machines.image import MARK, Guest, discard, guest, machine_folder
from sky_sandbox.machines.metadata import Metadata
from sky_sandbox.machines.processes import family, send, sweep
from sky_sandbox.machines.record import Cause, Machine
from sky_sandbox.network import gate

BOOT_TIMEOUT_S = 120.0  # a loaded host forks slowly; a machine that died is noticed at once
RunnerName = Literal["auto", "sshd", "asyncssh"]


class Running(Protocol):
    """The processes of one machine."""

    @property
    def pid(self) -> int:
        """The process that all others descend from."""

    def wait(self) -> int:
        """Block until the machine has ended; its exit status, negative for a signal."""

    def kill(self) -> None:
        """End every process of the machine and return when none is left. Idempotent."""


class Runner(Protocol):
    """A way to run machines."""

    name: str

    def start(self, guest: Guest) -> Running:
        """Start the machine's processes; its sshd answers a little later."""

    def close(self) -> None:
        """Release what the machines share, once all have ended."""


class Nursed:
    """One machine of the nursery."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.started: Future[int] = Future()
        self.ended: Future[int] = Future()

    @property
    def pid(self) -> int:
        """Process id of its SSH server."""
        return self.started.result()

    def wait(self) -> int:
        return self.ended.result()

    def kill(self) -> None:
        if not self.ended.done():
            for process in family(self.pid)[:1]:
                send(process, signal.SIGSTOP)  # no new sessions while we sweep
                sweep(self.pid, MARK, self.guest.mark)
                send(process, signal.SIGKILL)
        self.ended.result()


class Nursery:
    """Starts machines by :mod:`sky_sandbox.machines.sshserver`."""

    name = "asyncssh"

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sky_sandbox.machines.sshserver"], stdin=pipe, stdout=pipe, start_new_session=True
        )
        self._machines: dict[str, Nursed] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, guest: Guest) -> Nursed:
        machine = self._machines[guest.name] = Nursed(guest)
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(guest.dump()).encode() + b"\n")
            self._process.stdin.flush()
        machine.started.result()
        return machine

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message: dict[str, Any] = json.loads(line)
            if "started" in message:
                self._machines[message["started"]].started.set_result(message["pid"])
            else:
                self._machines.pop(message["ended"]).ended.set_result(message["status"])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def choose_runner(name: RunnerName = "auto") -> Runner:
    """The runner of that name; ``auto`` takes sshd in namespaces where the host allows it.

    Raises:
        OSError: if sshd was asked for by name and cannot be had.
    """
    if name == "asyncssh":
        return Nursery()
    if namespaces.available():
        return namespaces.Namespaces()
    if name == "sshd":
        raise OSError("sshd in namespaces is not to be had on this host; use the asyncssh runner")
    return Nursery()


class Hypervisor:
    """Boots and kills the machines of a world, each with its metadata service.

    Attributes:
        ended: Told the id of a machine that ended without being killed by us, and why: ``self`` (it shut itself
            down) or ``killed`` (somebody killed its process).
        apis: Variables that lead a machine's programs to its cloud's API.
        strict: Whether machines have the Python of their image, not the sandbox's.
    """

    def __init__(
        self, runner: Runner, metadata: Metadata, folder: Path, ssh_port: int, *, strict: bool = False
    ) -> None:
        self.runner = runner
        self.shares_host = runner.name != "sshd"
        self.strict = strict
        self.metadata = metadata
        self.folder = folder
        self.ssh_port = ssh_port
        self.ended: Callable[[str, Cause], None] = lambda machine_id, cause: None
        self.apis: dict[str, str] = {}
        self._running: dict[str, Running] = {}
        self._lock = threading.Lock()
        self._up: set[str] = set()
        self._frozen: set[str] = set()
        self._let_in: dict[str, frozenset[gate.Source] | None] = {}
        self._mute: dict[str, socket.socket] = {}

    def boot(self, machine: Machine) -> None:
        """Start the machine and return once its sshd answers.

        Raises:
            OSError: if it does not come up; the message ends with what its log says.
        """
        new = guest(machine, self.folder, self.ssh_port, self.metadata.port, self.apis, strict=self.strict)
        new.home.mkdir(parents=True)
        self.metadata.add(machine)
        running = self._running[machine.id] = self.runner.start(new)
        threading.Thread(target=self._watch, args=(machine.id, running), daemon=True).start()
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while not _answers(new.ip, new.port):
            if machine.id not in self._running or time.monotonic() > deadline:
                log = new.log.read_text(errors="replace")[-500:] if new.log.exists() else ""
                raise OSError(f"{new.name} did not come up: {log}")
            time.sleep(0.02)
        with self._lock:
            self._up.add(machine.id)
            if machine.id in self._frozen:
                self._signal(machine.id, signal.SIGSTOP)

    def _watch(self, machine_id: str, running: Running) -> None:
        status = running.wait()
        by_itself = self._running.pop(machine_id, None) is not None
        if by_itself and machine_id in self._up:
            self.ended(machine_id, "killed" if status == -signal.SIGKILL else "self")

    def mute(self, machine: Machine) -> None:
        """Hold the machine's SSH port without ever answering; nothing else of it is there."""
        self._mute[machine.id] = socket.create_server((machine.ip, self.ssh_port), backlog=16)

    def estrange(self, machine: Machine) -> None:
        """Give the address of a machine that has ended to somebody else's, with keys of its own."""
        self.boot(replace(machine, id=f"{machine.id} of a stranger", user_data=""))

    def notice(self, machine: Machine, seconds: float) -> None:
        """Let the machine's metadata service announce its end in ``seconds``."""
        self.metadata.announce(machine, seconds)

    def kill(self, machine: Machine) -> None:
        """Pull the plug: every process of the machine ends, its metadata service and its disk are gone."""
        running = self._running.pop(machine.id, None)
        if running is not None:
            running.kill()
        if machine.id in self._mute:
            self._mute.pop(machine.id).close()
        self._up.discard(machine.id)
        self._frozen.discard(machine.id)
        self._let_in.pop(machine.id, None)
        self.metadata.remove(machine)
        discard(machine_folder(machine, self.folder))

    def freeze(self, machine_id: str, frozen: bool = True) -> None:
        """Stop all processes of a machine without a word, as a hung host does, or let them go on.

        One that boots hangs as soon as it is up: before that nobody could tell.
        """
        with self._lock:
            (self._frozen.add if frozen else self._frozen.discard)(machine_id)
            if machine_id in self._up:
                self._signal(machine_id, signal.SIGSTOP if frozen else signal.SIGCONT)

    def let_in(self, machine: Machine, sources: frozenset[gate.Source] | None, *, cut: bool) -> None:
        """Let only these addresses connect to the machine's SSH server, or with None all; ``cut`` ends its sessions."""
        with self._lock:
            running = self._running.get(machine.id)
            if running is None or (self._let_in.get(machine.id) == sources and not cut):
                return
            processes = family(running.pid)
            server, *sessions = [p for p in processes if _name(p).startswith("sshd")] or processes[:1]
            for process in sessions if cut else ():
                send(process, signal.SIGKILL)
            gate.let_in(server, self.ssh_port, sources)
            self._let_in[machine.id] = sources

    def _signal(self, machine_id: str, number: signal.Signals) -> None:
        if machine_id in self._running:
            for process in family(self._running[machine_id].pid):
                send(process, number)

    def close(self) -> None:
        """Release what all machines share; those of the world have been killed, strangers end now."""
        for running in list(self._running.values()):
            running.kill()
        self.runner.close()
        self.metadata.close()


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def _answers(ip: str, port: int) -> bool:
    try:
        with socket.create_connection((ip, port), timeout=1):
            return True
    except OSError:
        return False
