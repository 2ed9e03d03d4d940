"""How a driver with 200 jobs fares when 40 of their machines fall silent.

    python benchmarks/machines/driver_load.py [--jobs 200] [--hung 40] [--seconds 60]

The driver, its store (SQLite) and its SSH are the real ones. Machines are SSH servers on loopback, each under an
address of its own, that answer an agent's poll at once; those that hang are stopped (SIGSTOP) halfway: the kernel goes
on accepting connections for them, and nothing ever answers. Their cloud calls all of them running. Measured are the
gaps between two polls of the same healthy machine, seen from the machine, before and while the others hang; and the CPU
time and memory of the driver's process alone.

Exits with 1 unless, while they hang, the median gap is at most 1.5 times that of before, the CPU below 60% of a core
and the memory below 400 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import re
import resource
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sky_core.clouds.base import Found, Instance
from sky_core.config import Settings
from sky_core.driver.process import Driver
from sky_core.job.memory import Memory
from sky_core.spec import Task
from sky_core.store import Cluster

MOST_TIMES, MOST_CPU, MOST_MB = 1.5, 0.6, 400
CALL = re.compile(r" poll (\S+) \d+ -?\d+")
MOST_OPEN_S = 10.0  # a gap that is longer than two polls' worth is no accident of where the time ends
STATE = json.dumps({"phase": "running", "log_size": 0}).encode() + b"\n"


def address(number: int) -> str:
    """The loopback address of a machine, apart from those of other runs."""
    return f"127.{91 + os.getppid() % 100}.{number >> 8}.{number & 255}"


def serve(ips: Sequence[str], port: int, pipe: Connection) -> None:
    """Be the machines, at that port or one of our own choice (0); tell it, our key, and in the end all polls by job."""
    import asyncssh

    polls: dict[str, list[float]] = defaultdict(list)
    key = asyncssh.generate_private_key("ssh-ed25519")

    class Server(asyncssh.SSHServer):
        def public_key_auth_supported(self) -> bool:
            return True

        def validate_public_key(self, username: str, key: Any) -> bool:
            return True

    def answer(process: Any) -> None:
        found = CALL.search(process.command or "")
        if found:
            polls[found[1]].append(time.monotonic())
            process.stdout.write(STATE)
        process.exit(0)

    async def listen() -> None:
        nonlocal port
        for ip in ips:
            server = await asyncssh.listen(
                ip, port, server_host_keys=[key], server_factory=Server, process_factory=answer, encoding=None
            )
            port = port or server.get_port()
        pipe.send((port, key.export_public_key().decode().strip()))
        while not pipe.poll():
            await asyncio.sleep(0.1)
        pipe.send(dict(polls))

    asyncio.run(listen())


class Calm:
    """A cloud that calls every machine running."""

    settle_s = 0.0

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        return [Instance(id=name, cloud="aws", region="us-east-1", zone="us-east-1a", instance_type="m5.large",
                         use_spot=False, state="running", ip=None, private_ip=None, launched_at=None, tags={})
                for name in ids]  # fmt: skip

    def find(self, tags: Mapping[str, str], *, regions: Iterable[str] | None = None) -> Found:
        return Found(())  # nothing for the driver's sweep to end


def running_job(driver: Driver, number: int, ip: str, host_key: str) -> str:
    """A job in the store whose agent was started on that machine."""
    store, holder = driver.driving.store, driver.driving.holder
    task = Task(name=f"t{number}", run="sleep 1000000")
    spec = task.model_dump_json(exclude={"hours"})
    job = store.submit(f"load/{number}", plan_key="load", task=task.name, spec=spec, owner=None)
    store.lease_due(holder, 60.0, 1000)
    cluster = Cluster(
        token=f"sky-{job.id.removeprefix('job-')}-1", job_id=job.id, attempt=1, state="launched", cloud="aws",
        region="us-east-1", zone="us-east-1a", instance_type="m5.large", use_spot=False, num_nodes=1, price=0.1,
        host_key=host_key, intended_at=time.time(), launched_at=time.time(), instance_ids=(f"us-east-1/i-{number}",),
    )  # fmt: skip
    memory = Memory(started=True, addresses=(ip,), phase="running", accounted=True, running_since=time.time())
    store.save_job(store.job(job.id), holder, state="running", attempt=1, memory=memory.model_dump(mode="json"),
                   clusters=(cluster,), after_s=number % 50 / 10)  # fmt: skip
    return job.id


def gaps(polls: dict[str, list[float]], begin: float, end: float) -> list[float]:
    """Seconds between two polls of the same machine that begin in a time; one that is still open at its end counts."""
    found = []
    for times in polls.values():
        within = [at for at in times if begin <= at < end]
        found += [late - early for early, late in pairwise(within)]
        still_open = end - max(within, default=begin)
        found += [still_open] if still_open > MOST_OPEN_S else []
    return found


def main() -> int:
    """Run it; the exit status."""
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--hung", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each of the two measurements")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="driver-load-") as folder:
        return measure(Path(folder), chosen.jobs, chosen.hung, chosen.seconds)


def measure(home: Path, jobs: int, hung: int, seconds: float) -> int:
    """Both measurements in one run, printed; the exit status."""
    well = Part(range(jobs - hung), 0)
    silent = Part(range(jobs - hung, jobs), well.port)
    os.environ["SKYLOOM_HOME"] = str(home)
    (home / "config.toml").write_text(f"[clouds.aws]\nenabled = true\nssh_port = {well.port}\n")
    driver = Driver(Settings.load())
    driver.driving.clouds._clouds["aws"] = Calm()  # type: ignore[assignment]
    for part in (well, silent):
        for number in part.numbers:
            running_job(driver, number, address(number), part.host_key)
    thread = threading.Thread(target=driver.run)
    thread.start()
    time.sleep(seconds / 2)  # all connections are made
    before = Span(seconds)
    os.kill(silent.pid, signal.SIGSTOP)
    during = Span(seconds)
    polls = well.end()
    os.kill(silent.pid, signal.SIGKILL)
    driver.stop()
    thread.join()
    return report(jobs, hung, gaps(polls, before.begin, before.end), gaps(polls, during.begin, during.end), during)


class Part:
    """Machines that share their fate, in a process of their own."""

    def __init__(self, numbers: range, port: int) -> None:
        self.numbers = numbers
        spawn = get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=serve, args=([address(n) for n in numbers], port, theirs), daemon=True)
        self._process.start()
        self.pid = self._process.pid or 0
        self.port, self.host_key = self._pipe.recv()

    def end(self) -> dict[str, list[float]]:
        """The times of all polls, by job."""
        self._pipe.send("end")
        polls: dict[str, list[float]] = self._pipe.recv()
        self._process.join()
        return polls


class Span:
    """A stretch of time that this process has let pass, and its share of a core meanwhile."""

    def __init__(self, seconds: float) -> None:
        self.begin, used = time.monotonic(), time.process_time()
        time.sleep(seconds)
        self.end = time.monotonic()
        self.cpu = (time.process_time() - used) / (self.end - self.begin)


def report(jobs: int, hung: int, before: list[float], during: list[float], span: Span) -> int:
    """Print what was measured; 1 if it is not as it should be."""
    usual, median = statistics.median(before), statistics.median(during)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{jobs} jobs, none hung: gap between polls {usual:.2f} s median, {max(before):.2f} s at most")
    print(
        f"{jobs} jobs, {hung} hung: gap between polls of the others {median:.2f} s median, {max(during):.2f} s at most"
    )
    print(f"driver load: {median / usual:.2f} times the gap, {span.cpu:.0%} of a core, {memory:.0f} MB")
    return int(median > MOST_TIMES * usual or span.cpu > MOST_CPU or memory > MOST_MB)


if __name__ == "__main__":
    sys.exit(main())
