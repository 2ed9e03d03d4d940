"""What a job pays for being looked after: processor time, time spent on checkpoints, and its folder sent once more.

    python benchmarks/machines/agent_cost.py [--seconds 60] [--pairs 3] [--megabytes 100] [--files 5000]

On a machine of the sandbox, over SSH, asked every five seconds as a driver does:

1. A command that computes, by itself and under the agent, by turns. Whatever else runs on the machine meanwhile (agent,
   looks, SSH server) is told as a share of the core that the command has; what begins and ends a job is told apart,
   since it is the same for an hour.
2. The same with checkpoints by ``sky_core.checkpoint``: the share of the time that saving takes.
3. A working folder that has not changed since the last job: packed, found to be there, not sent. A relay counts bytes.

The exit code is 1 unless the first is below 1%, the second at most 1%, the third at most 1 s and 100 KB.
"""

from __future__ import annotations

import argparse
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from benchmarks.machines.transfers import options, served
from sky_core.remote.agent.data import stores
from sky_core.remote.executor import JobRequest
from sky_core.remote.workdir import Archive, packed
from sky_core.ssh.link import Link
from sky_core.ssh.machine import Machine
from sky_sandbox.machines.processes import family
from sky_sandbox.server import reserve_port
from tests.sandbox.park import Park

LOOKS_S = 5.0  # between two looks of a driver
LONGEST_S = 3600.0
MOST_SHARE, MOST_S, MOST_BYTES = 0.01, 1.0, 100_000
COMPUTE = """
import hashlib, time
began, state, saving, saves = time.monotonic(), b"", 0.0, 0
{before}
for _ in range({rounds}):
    for _ in range(100_000):
        state = hashlib.sha256(state).digest()
    {each}
print("cpu", time.process_time(), "wall", time.monotonic() - began, "saving", saving, "saves", saves)
"""
KEEP = {
    "before": "import os; from sky_core.checkpoint import Checkpoints; kept = Checkpoints(); "
    "value = os.urandom({megabytes} << 20)",
    "each": "if kept.due(): at = time.monotonic(); kept.save((state, value)); "
    "saving += time.monotonic() - at; saves += 1",
}


@dataclass(frozen=True)
class Cost:
    """Of one run under the agent.

    Attributes:
        command_s: The command's own processor time.
        share: What all else on the machine used of one core while it ran.
        around_s: Processor time of what came before and after.
        wall_s: What the command took by the clock…
        saving_s, saves: …and what of that went into checkpoints, and how many.
    """

    command_s: float
    share: float
    around_s: float
    wall_s: float
    saving_s: float
    saves: int


class Bench:
    """A machine, and what runs there."""

    def __init__(self, park: Park, url: str) -> None:
        self.park, self.url = park, url
        self.machine = park.boot()
        self.jobs = 0

    def used_s(self) -> tuple[float, float]:
        """Processor time of all that has run on the machine, and that of the command that runs now."""
        pid, total, command = self.park.hypervisor._running[self.park.machines[self.machine].id].pid, 0.0, 0.0
        for process in family(pid):
            with suppress(psutil.Error):  # it has ended: whoever waited for it has its time
                times, line = process.cpu_times(), process.cmdline()
                total += times.user + times.system + times.children_user + times.children_system
                command += times.user + times.system if line[1:2] == ["-c"] and "sha256(state)" in line[2] else 0.0
        return total, command

    def alone(self, script: str) -> float:
        """Processor time of the command by itself, over SSH."""
        return numbers(Link(self.machine, self.park.keys).run(script, timeout_s=LONGEST_S))["cpu"]

    def looked_after(self, script: str) -> Cost:
        """The same under the agent."""
        self.jobs += 1
        name = f"job-{self.jobs}"
        job = JobRequest(
            name, 1, "aws", run=script, storage_options=options(self.url), checkpoint_url=f"s3://data/{name}",
            verdict_url=f"s3://data/{name}.verdict",
        )  # fmt: skip
        begin, looks, log = self.used_s()[0], list[tuple[float, float, float]](), b""
        self.park.executor.start([self.machine], job)
        while True:
            state = self.park.executor.poll([self.machine], name, 1, [len(log)])
            log += state.log
            if state.over and state.log_is_whole:
                break
            looks += [(*self.used_s(), time.monotonic())] if state.phase == "running" else []
            time.sleep(LOOKS_S)
        assert state.exit_code == 0, log
        found, all_s = numbers(log), self.used_s()[0] - begin
        running, command, window_s = (last - first for first, last in zip(looks[0], looks[-1], strict=True))
        share = (running - command) / window_s
        around_s = all_s - found["cpu"] - share * found["wall"]
        return Cost(found["cpu"], share, around_s, found["wall"], found["saving"], int(found["saves"]))


def numbers(log: bytes) -> dict[str, float]:
    """What the command has printed, by name."""
    words = log.decode().splitlines()[-1].split()
    return {name: float(number) for name, number in zip(words[::2], words[1::2], strict=True)}


def script(rounds: int, before: str = "", each: str = "pass") -> str:
    """The command."""
    return f"exec python3 -c '{COMPUTE.format(rounds=rounds, before=before, each=each)}'"


def computing(bench: Bench, rounds: int, pairs: int) -> bool:
    """Part 1."""
    shares, ratios, around = [], [], []
    for number in range(pairs):
        first = bench.alone(script(rounds)) if number % 2 else None
        cost = bench.looked_after(script(rounds))
        alone_s = first or bench.alone(script(rounds))
        shares.append(cost.share)
        ratios.append(cost.command_s / alone_s - 1)
        around.append(cost.around_s)
        both = f"alone {alone_s:.2f} CPU s, under the agent {cost.command_s:.2f} ({ratios[-1]:+.1%})"
        print(f"pair {number + 1}: {both}; all else {cost.share:.2%} while it ran, {cost.around_s:.2f} CPU s once")
    share, once_s = statistics.median(shares), statistics.median(around)
    hour = share + once_s / 3600
    print(f"overhead: {share:.2%} of a core and {once_s:.2f} CPU s once, {hour:.2%} of an hour's job; "
          f"the command itself {statistics.median(ratios):+.1%}, the host's noise included")  # fmt: skip
    return hour < MOST_SHARE


def keeping(bench: Bench, rounds: int, megabytes: int) -> bool:
    """Part 2."""
    keep = {name: text.replace("{megabytes}", str(megabytes)) for name, text in KEEP.items()}
    cost = bench.looked_after(script(rounds, **keep))
    stall = cost.saving_s / cost.wall_s
    print(f"checkpoints of {megabytes} MiB: {cost.saves} in {cost.wall_s:.0f} s, {stall:.2%} of the time; "
          f"all else, sending them included, {cost.share:.2%} of a core")  # fmt: skip
    return cost.saves > 0 and stall <= MOST_SHARE


def sending(bench: Bench, folder: Path, files: int) -> bool:
    """Part 3."""
    chance = random.Random(1)
    for number in range(files):
        path = folder / f"package-{number % 50}" / f"module_{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(1000).hex().encode())
    with relay(bench.machine) as (machine, moved):
        taken = []
        for when in ("first", "again"):
            bench.jobs += 1
            before, began = moved[0], time.monotonic()
            with packed(str(folder)) as (digest, file):
                archive = Archive(digest, lambda file=file: iter([file.read()]))
                job = JobRequest(f"job-{bench.jobs}", 1, "aws", run="ls | wc -l", workdir=archive)
                bench.park.executor.start([machine], job)
            taken.append((time.monotonic() - began, moved[0] - before))
            print(f"{files:,} files, {when}: {taken[-1][0]:.2f} s, {taken[-1][1]:,} bytes on the wire, both ways")
            bench.park.follow(machine, job)
    return taken[1][0] <= MOST_S and taken[1][1] <= MOST_BYTES


@contextmanager
def relay(machine: Machine) -> Iterator[tuple[Machine, list[int]]]:
    """The machine at another address, and a counter of the bytes that go there and come from there."""
    moved, server = [0], socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                moved[0] += len(data)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                here, there = server.accept()[0], socket.create_connection((machine.ip, machine.port))
                there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    with server:
        yield replace(machine, ip="127.0.0.1", port=server.getsockname()[1]), moved


def main() -> int:
    """Measure and print; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description="What being looked after costs a job.")
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long the command computes")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=100, help="of a checkpoint")
    parser.add_argument("--files", type=int, default=5000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="skyloom-cost-") as name, served(Path(name) / "objects") as (url, _):
        stores.make_bucket("s3://data", options(url))
        with reserve_port() as ssh, reserve_port() as metadata:
            park = Park(Path(name) / "park", ssh.getsockname()[1], metadata.getsockname()[1])
        try:
            bench = Bench(park, url)
            rounds = int(asked.seconds * 10 / bench.alone(script(10)))
            kept = [
                sending(bench, Path(name) / "folder", asked.files),
                computing(bench, rounds, asked.pairs),
                keeping(bench, 2 * rounds, asked.megabytes),
            ]
        finally:
            park.close()
    print("kept" if all(kept) else f"sending, computing, keeping: {kept}")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
