"""How much longer a gang takes to be up than one machine, and whether its log is whole.

    python benchmarks/machines/gangs.py [--nodes 16] [--boot 10] [--clouds aws,gcp,azure] [--rounds 3]

One machine and a gang by turns, launched in the sandbox by the steps of a driver in this process, with the clouds' own
libraries. A gang is up when the command has begun on its last machine, by the clock that all share here; counted from
the launch being intended. Each rank then says many lines at once, of which each has to come.

The exit code is 1 unless a gang is up at most 3 s after one machine would be (the medians), and all lines have come.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sky_core import Resources, Task
from sky_sandbox import client
from tests.conftest import Sandbox, start_sandbox
from tests.sandbox.driving import Home, home_of

TYPES = {"aws": "t3.small", "gcp": "n2-standard-2", "azure": "Standard_D2s_v5"}
MOST_S = 3.0
LINES = 2000
BEGUN = re.compile(rb"begun (\d+\.\d+)")
RUN = f"echo begun $(date +%s.%N); seq -f 'line %g' {LINES}"


def up(home: Home, cloud: str, nodes: int, key: str) -> tuple[float, bool]:
    """Seconds from the intent to the command on the last machine, and whether the log is whole."""
    wanted = Resources(cloud=cloud, instance_type=TYPES[cloud])
    job = home.submit(Task(name="gang", run=RUN, num_nodes=nodes, hours=0.1, resources=wanted), key)
    (job,) = home.drive(job)
    log = home.store.log(job.id)
    begun = [float(found) for found in BEGUN.findall(log)]
    cluster = home.store.clusters(job_id=job.id)[-1]
    whole = job.state == "succeeded" and len(begun) == nodes and all(told(log, rank, nodes) for rank in range(nodes))
    return max(begun, default=float("inf")) - cluster.intended_at, whole


def told(log: bytes, rank: int, nodes: int) -> bool:
    """Whether all lines of a rank are there, in their order."""
    before = b"(rank %d) " % rank if nodes > 1 else b""
    mine = [line for line in log.splitlines() if line.startswith(before + b"line ")]
    return mine == [b"%sline %d" % (before, number) for number in range(1, LINES + 1)]


def measured(world: Sandbox, folder: Path, cloud: str, nodes: int, rounds: int) -> bool:
    """One machine and a gang by turns on one cloud; whether the promise is kept."""
    with home_of(world, folder) as home:
        up(home, cloud, 1, "first")  # SDKs are imported, networks and buckets made
        found: dict[int, list[float]] = {1: [], nodes: []}
        whole = True
        for number in range(rounds):
            for size, times in found.items():
                seconds, is_whole = up(home, cloud, size, f"{number}-{size}")
                times.append(seconds)
                whole = whole and is_whole
    one, gang = (statistics.median(times) for times in found.values())
    logs = "logs whole" if whole else "LOGS NOT WHOLE"
    print(f"{cloud}: one machine {one:.2f} s, {nodes} machines {gang:.2f} s: {gang - one:+.2f} s; {logs}", flush=True)
    return whole and gang - one <= MOST_S


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if the promise is broken."""
    parser = argparse.ArgumentParser(description="How long a gang takes to be up.")
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--boot", type=float, default=5.0, help="seconds that a machine of the sandbox boots")
    parser.add_argument("--clouds", default=",".join(TYPES))
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(words)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="skyloom-gangs-") as name:
        folder = Path(name)
        world = start_sandbox(folder / "world", boot_s=asked.boot, hours_per_second=1 / 3600)
        try:
            kept = [
                measured(world, folder / cloud, cloud, asked.nodes, asked.rounds) for cloud in asked.clouds.split(",")
            ]
        finally:
            client.down(world.home)
    print(f"{'kept' if all(kept) else 'not kept'}, in {time.monotonic() - began:.0f} s")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
