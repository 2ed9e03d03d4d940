"""The command of a machine whose task names an engine: what serves beside it, the wait until all have joined, its end.

It runs in the place of the task's command, so that it is signalled, frozen, logged and ended as that is.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from ..job import Job, Place
from ..variables import port
from .base import DASHBOARD, Engine, Lacking, Node, Service
from .dask import Dask
from .jax import Jax
from .mpi import Mpi
from .ray import Ray
from .spark import Spark
from .torchrun import Torchrun

ENGINES: Mapping[str, type[Engine]] = {
    "torchrun": Torchrun, "jax": Jax, "mpi": Mpi, "ray": Ray, "dask": Dask, "spark": Spark,
}  # fmt: skip
ABOUT = "SKY_ENGINE"  # the variable that holds the node and the command
UNMADE = "unmade"  # the file in the attempt's folder, see Place
PORTS = 4
TICK_S = 0.1
END_S = 5.0  # for a service to end by itself
AGAIN_S = 1.0  # before a service that has ended is started again; twice as long each time that it ends at once
LONGEST_S = 30.0
STEADY_S = 60.0  # what has run this long has not ended at once
TRIES = 8  # in a row that ended at once: over a minute and a half, in which rank 0 may still have been on its way


def serves(job: Job) -> bool:
    """Whether this rank has no command of its own."""
    return job.rank > 0 and not ENGINES[job.engine["name"]].spread


def in_engine(
    job: Job, place: Place, program: str, command: list[str], env: Mapping[str, str]
) -> tuple[list[str], Mapping[str, str]]:
    """What to run so that ``command`` is run in the job's engine, and with what environment: see :func:`main`."""
    options = {name: value for name, value in job.engine.items() if name != "name"}
    node = Node(
        engine=job.engine["name"], options=options, rank=job.rank, ips=list(job.node_ips), gpus=job.gpus_per_node,
        ports=[port(job, number) for number in range(PORTS)], own=port(job, PORTS + job.rank),
        folder=str(place.folder), work=str(place.work), path=env.get("PATH", os.defpath),
    )  # fmt: skip
    python = "python3" if job.container else sys.executable
    return [python, "-S", program, "engine"], {**env, ABOUT: json.dumps({"node": node.dump(), "command": command})}


def main() -> int:
    """Run this machine's part of the cluster; return the command's exit code."""
    about = json.loads(os.environ.pop(ABOUT))
    node = Node(**about["node"])
    engine = ENGINES[node.engine](node)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: _note(stop, number, frame))
    services: list[Running] = []
    try:
        env = {**os.environ, **engine.variables()}
        command = engine.command(about["command"])
        services += [Running(service, env, node.work) for service in engine.services()]
        if node.rank > 0 and not engine.spread:
            while not stop.is_set():
                _keep(services)
                time.sleep(TICK_S)
            return 0
        if node.rank == 0 and (shown := engine.dashboard()):
            (Path(node.folder) / DASHBOARD).write_text(shown)
        return _joined(engine, services, stop) or _run(command, env, services)
    except (Lacking, Ended) as error:
        (Path(node.folder) / UNMADE).write_text(str(error))
        return 1
    finally:
        for service in services:
            service.end()


class Ended(Exception):
    """A service that the cluster cannot do without has ended, or the cluster has never come about."""


class Running:
    """A service, started again as often as it ends, in a session of its own: it is not told to end with the command."""

    def __init__(self, service: Service, env: Mapping[str, str], work: str) -> None:
        self._service = service
        modules = os.pathsep.join(path for path in (work, env.get("PYTHONPATH")) if path)
        self._env = {**env, "PYTHONPATH": modules, **service.env}
        self._again_at = 0.0
        self._began = 0.0
        self._in_vain = 0
        self.ends = ""
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self._began = time.monotonic()
        return subprocess.Popen(
            list(self._service.command), env=self._env, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def keep(self) -> None:
        """Start it again if it has ended.

        Raises:
            Ended: if that is of no use.
        """
        code = self._process.poll()
        if code is None:
            return
        if self._service.lasting:
            ended = f"{self._service.name} has ended with exit code {code}, and the cluster with it"
            raise Ended(f"{ended}: what it said of it is in the log")
        now = time.monotonic()
        if not self._again_at:
            self._in_vain = self._in_vain + 1 if now - self._began < STEADY_S else 1
            self.ends = f"{self._service.name} has ended {self._in_vain} times in a row, with exit code {code}"
            if self._in_vain == TRIES:
                raise Ended(f"{self.ends}: what it said of it is in the log")
            _say(f"{self._service.name} has ended with exit code {code}: it is started again")
            self._again_at = now + min(AGAIN_S * 2 ** (self._in_vain - 1), LONGEST_S)
        elif now >= self._again_at:
            self._again_at, self._process = 0.0, self._start()

    def end(self) -> None:
        """End it, gently at first; what it leaves behind ends with the job."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _keep(services: Sequence[Running]) -> None:
    for service in services:
        service.keep()


def _joined(engine: Engine, services: Sequence[Running], stop: threading.Event) -> int:
    """Wait until all machines have joined; 0, or the exit code of a cluster that has not come about."""
    command, limit_s = engine.ready(), float(engine.node.options["ready_s"])
    if not command:
        return 0
    began = time.monotonic()
    asking = subprocess.Popen(list(command), stdin=subprocess.DEVNULL)
    try:
        while (code := asking.poll()) is None and not stop.is_set() and time.monotonic() - began < limit_s:
            _keep(services)
            time.sleep(TICK_S)
    finally:
        asking.kill()
        asking.wait()
    if code == 0:
        _say(f"{engine.node.engine}: {len(engine.node.ips)} machines have joined in {time.monotonic() - began:.1f} s")
        return 0
    if stop.is_set():
        return 1
    late = f"{engine.node.engine}: not all {len(engine.node.ips)} machines have joined (ready_s is {limit_s:g})"
    raise Ended("; ".join([late, *(service.ends for service in services if service.ends)]))


def _run(command: Sequence[str], env: Mapping[str, str], services: Sequence[Running]) -> int:
    """Run the command; one that is told to end has been told so itself, being of this session."""
    process = subprocess.Popen(list(command), env=dict(env), stdin=subprocess.DEVNULL)
    try:
        while (code := process.poll()) is None:
            _keep(services)
            time.sleep(TICK_S)
    except Ended:
        process.kill()
        raise
    return code if code >= 0 else 128 - code


def _note(stop: threading.Event, number: int, frame: FrameType | None) -> None:
    stop.set()


def _say(text: str) -> None:
    print(f"[skyloom] {text}", flush=True)
