"""What a wide map costs the process of a Prefect flow: CPU seconds and memory, beside Prefect's own thread pool.

    python benchmarks/prefect_wide.py                 # 500 tasks: run here, and planned for the clouds
    python benchmarks/prefect_wide.py --in-sandbox    # and run in the sandbox, eight machines at a time

Measured in one process, on a Prefect server of its own: the CPU time (user and system) of this process while it runs a
flow that maps a task that does nothing, in Prefect's thread pool and with SkyTaskRunner by turns, the better of two;
the CPU time of planning as many cloud tasks with the same needs over the whole embedded catalog, with the plan's table
and page; and with ``--in-sandbox`` a run of those tasks, with its peak of memory.

Exits with 1 if a task costs more than 20 ms of CPU over the thread pool, planning more than 3 s, or memory 500 MB.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A server on SQLite refuses what it is too busy for.
PATIENT = {"PREFECT_CLIENT_MAX_RETRIES": "60", "PREFECT_SERVER_DATABASE_TIMEOUT": "120",
           "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "120"}  # fmt: skip
MOST_MS, MOST_PLANNING_S, MOST_MB = 20.0, 3.0, 500
CONFIG = """
[clouds.aws]
enabled = true
[clouds.gcp]
enabled = true
account = "p"
[clouds.azure]
enabled = true
account = "00000000-0000-0000-0000-000000000000"
"""


def cpu_of(function: Callable[[], Any]) -> float:
    """CPU seconds of this process while it calls a function."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def run_here(count: int) -> float:
    """CPU milliseconds a task costs with SkyTaskRunner over the thread pool, without any cloud."""
    from prefect import flow, task
    from prefect.task_runners import ThreadPoolTaskRunner

    from sky_prefect import SkyTaskRunner

    @task
    def nothing(number: int) -> int:
        return number

    def wide() -> int:
        return sum(nothing.map(range(count)).result())

    kinds: dict[str, type] = {"thread pool": ThreadPoolTaskRunner, "sky": SkyTaskRunner}
    flows = {name: flow(wide, name=name.replace(" ", "-"), task_runner=kind()) for name, kind in kinds.items()}
    seconds_of = [(name, cpu_of(flows[name])) for name in [*flows, *flows]]  # by turns
    best = {name: min(seconds for of, seconds in seconds_of if of == name) for name in flows}
    for name, seconds in best.items():
        print(f"{count} tasks here, {name}: {seconds:.1f} CPU s")
    return 1000 * (best["sky"] - best["thread pool"]) / count


def plan(count: int) -> float:
    """CPU seconds of planning as many cloud tasks with the same needs, the catalog's loading included."""
    from sky_core import Pipeline
    from sky_core.broker import Broker
    from sky_core.planner.view.page import plan_page
    from sky_core.planner.view.table import plan_text
    from sky_prefect.needs import build_task

    broker = Broker.open()

    def whole() -> None:
        tasks = tuple(build_task(f"square[{number}]", {"cpus": "2+"}) for number in range(count))
        made = broker.plan("wide", Pipeline(name="wide", tasks=tasks))
        print(f"planned ${made.cost_usd:.3f}, {len(plan_text(made)):,} letters, {len(plan_page(made)):,} of the page")

    return cpu_of(whole)


def run_in_sandbox(count: int, machines: int) -> None:
    """Run them in a sandbox of its own, that many machines at a time."""
    from prefect import flow, task

    from sky_core.broker import Broker
    from sky_prefect import SkyTaskRunner, resources
    from sky_sandbox import client

    home = Path(tempfile.mkdtemp(prefix="wide-"))
    client.up(home, attached=True, boot_s=0.2)
    os.environ |= {"SKYLOOM_HOME": str(home), "SKYLOOM_PROFILE": "sandbox"}

    @task
    @resources(cpus="2+", hours=0.01)
    def square(number: int) -> int:
        return number * number

    @flow(task_runner=SkyTaskRunner(max_machines=machines))
    def wide() -> int:
        return sum(square.map(range(count)).result())

    seconds = cpu_of(lambda: print("sum of squares", wide()))
    jobs = Broker.open().store.jobs()
    print(f"{count} tasks in the sandbox: {len(jobs)} jobs, {seconds:.1f} CPU s of the flow's process")
    client.down(home)


def main() -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--machines", type=int, default=8)
    parser.add_argument("--in-sandbox", action="store_true")
    asked = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="wide-"))
    (home / "config.toml").write_text(CONFIG)
    os.environ |= {"SKYLOOM_HOME": str(home), **PATIENT}
    from prefect.testing.utilities import prefect_test_harness

    planning_s = plan(asked.tasks)
    print(f"{asked.tasks} cloud tasks planned in {planning_s:.1f} CPU s")
    with prefect_test_harness(server_startup_timeout=300):
        over_ms = run_here(asked.tasks)
        if asked.in_sandbox:
            run_in_sandbox(asked.tasks, asked.machines)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"a task here costs {over_ms:+.1f} ms of CPU over the thread pool; {megabytes:.0f} MB at most")
    return int(over_ms > MOST_MS or planning_s > MOST_PLANNING_S or megabytes > MOST_MB)


if __name__ == "__main__":
    sys.exit(main())
