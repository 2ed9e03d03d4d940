"""What there is to know of an engine, and of the machine that it is started on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

CLUSTER_ADDRESS = "SKY_CLUSTER_ADDRESS"  # where clients that are not in the cluster find it: one port of rank 0
DASHBOARD = "dashboard"  # the file in the attempt's folder that says where it is
EXTRAS = ("ray", "dask", "spark")  # of the distribution ``skyloom``, with versions that are known to work


def cure(engine: str, package: str) -> str:
    """Where a machine gets a package from."""
    extra = f" (or skyloom[{engine}])" if engine in EXTRAS else ""
    return f'name {package}{extra} in the file of environment="…", or install it in setup'


class Lacking(Exception):
    """This machine has not what the engine needs; the message has the cure."""


@dataclass(frozen=True)
class Node:
    """One machine of the cluster.

    Attributes:
        engine: The engine's name.
        options: What the task says of it.
        ips: Addresses of all machines by rank.
        ports: What rank 0 may serve on, the same numbers on all machines.
        own: A port for what this machine serves: another one on each, since hosts may be shared.
        folder: Of the attempt: at the same place on all machines.
        work: The working folder, whose modules the engine's workers may import.
        path: ``PATH`` of the job's commands.
    """

    engine: str
    options: Mapping[str, Any]
    rank: int
    ips: Sequence[str]
    gpus: int
    ports: Sequence[int]
    own: int
    folder: str
    work: str
    path: str = field(repr=False, default="")

    @property
    def ip(self) -> str:
        """Its own address."""
        return self.ips[self.rank]

    def at(self, number: int) -> str:
        """Where rank 0 serves on a port."""
        return f"{self.ips[0]}:{self.ports[number]}"

    def program(self, name: str, package: str) -> str:
        """The path of a program that a package brings.

        Raises:
            Lacking: if there is none.
        """
        found = shutil.which(name, path=self.path)
        if found is None:
            raise Lacking(f"engine {self.engine!r}: there is no {name} on this machine: {cure(self.engine, package)}")
        return found

    def dump(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Service:
    """A process of the engine's own, beside the command.

    Attributes:
        lasting: Whether the cluster ends with it; any other is started again when it ends.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    lasting: bool = False


class Engine:
    """Runs the command once on each machine; what the others do is said by what they change.

    Attributes:
        spread: Whether every rank runs the command; else rank 0 does, and the others serve it.
    """

    spread = True

    def __init__(self, node: Node) -> None:
        self.node = node

    def variables(self) -> Mapping[str, str]:
        """What the command finds in its environment."""
        return {}

    def services(self) -> Sequence[Service]:
        """What runs on this machine beside the command."""
        return ()

    def dashboard(self) -> str:
        """Where rank 0 shows people what goes on; "" where it does not."""
        return ""

    def ready(self) -> Sequence[str]:
        """A command of rank 0 that returns 0 once all machines have joined; it may take until then."""
        return ()

    def command(self, command: Sequence[str]) -> list[str]:
        """What to run on this machine in place of the task's command."""
        return list(command)

    @property
    def python(self) -> str:
        """The Python of the job's commands."""
        return self.node.program("python3", "Python")

    def processes(self, otherwise: int) -> int:
        """Of the command, on each machine."""
        return int(self.node.options.get("processes") or self.node.gpus or otherwise)


def cpus() -> int:
    """CPUs that this machine lets us use."""
    return len(os.sched_getaffinity(0))
