"""What looking at a store with many jobs costs: CPU seconds and memory of each listing, from start to end.

    python benchmarks/listings.py [JOBS]

The store is filled as drivers leave it: 10 jobs to a run, 1,000 runs of 40 pipelines over 90 days, two launches, two
transfers and 14 events to a job, one job in a hundred alive. Each listing runs in a process of its own; of
its seconds, those in brackets are what the same command takes on an empty store.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from sky_core.config import Settings
from sky_core.job.memory import Memory
from sky_core.planner.plan import Placement, Plan, Span
from sky_core.spec import Objective
from sky_core.store import Store
from sky_core.store import tables as t
from sky_core.ui.pages import PAGES
from sky_core.ui.server import Server

JOBS, TASKS, PIPELINES, DAYS = 10_000, 10, 40, 90
NOW = time.time()
PLACES = (("aws", "us-east-1", "us-east-1a"), ("gcp", "us-central1", "us-central1-a"), ("azure", "eastus", "eastus-1"))
KINDS = ("submitted", "launching", "launched", "started", "phase", "phase", "phase", "terminated", "launching",
         "launched", "started", "phase", "succeeded")  # fmt: skip
COMMANDS = {
    "jobs": ["jobs"],
    "jobs, all of them": ["jobs", "--limit", "0", "--csv"],
    "jobs by state, name and day": ["jobs", "--state", "failed", "--name", "task-3", "--since", "30d"],
    "top, once": ["top"],
    "cost": ["cost"],
    "cost by day and cloud": ["cost", "--by", "day,cloud", "--json"],
}


def fill(url: str, jobs: int) -> None:
    """Make the store at ``url``, with so many jobs."""
    Store(url).close()
    engine = sa.create_engine(url)
    rows: dict[sa.Table, list[dict[str, Any]]] = {}
    for table, row in _rows(jobs):
        rows.setdefault(table, []).append(row)
    with engine.begin() as db:
        for table, of_it in rows.items():
            db.execute(sa.insert(table), of_it)
    engine.dispose()


def _rows(jobs: int) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    runs = max(1, jobs // TASKS)
    for number in range(runs):
        began = NOW - DAYS * 86400 * (1 - number / runs)
        name = f"pipeline-{number % PIPELINES}"
        run = f"{name}/run-{number:05}"
        tasks = [{"name": f"task-{task}", "run": "python train.py --epochs 10", "resources": {"cpus": "4+"}}
                 for task in range(TASKS)]  # fmt: skip
        yield t.PLANS, {"key": run, "version": 1, "created_at": began, "plan": _plan(name, began),
                        "pipeline": json.dumps({"name": name, "tasks": tasks})}  # fmt: skip
        for task in range(TASKS):
            yield from _job(run, number * TASKS + task, task, began + 60 * task, alive=number >= runs - runs // 100)


def _placement(task: int, number: int) -> Placement:
    cloud, region, zone = PLACES[number % len(PLACES)]
    return Placement(
        task=f"task-{task}", cloud=cloud, region=region, zone=zone, instance_type="m6i.xlarge", accelerator=None,
        accelerator_count=0, arch="x86_64", use_spot=True, num_nodes=1, price=0.07, hours=1, hours_at_most=1.2,
        hours_source="history (7 runs)", boot_hours=0.02, compute_usd=0.07,
    )  # fmt: skip


def _plan(name: str, began: float) -> str:
    return Plan(
        pipeline=name, objective=Objective(), cost_usd=0.7, hours=2.0, bound=0.7, optimal=True, method="highs",
        placements={f"task-{task}": _placement(task, task) for task in range(TASKS)},
        schedule={f"task-{task}": Span(start=task / 10, end=1 + task / 10, slack=1 - task / 10)
                  for task in range(TASKS)},
        catalog_version="2026-11", dag_hash="0" * 16, created_at=began,
    ).model_dump_json()  # fmt: skip


def _job(run: str, number: int, task: int, began: float, *, alive: bool) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    job = f"job-{number:016x}"
    cloud, region, zone = PLACES[number % len(PLACES)]
    state = "running" if alive else "failed" if number % 20 == 0 else "succeeded"
    yield t.JOBS, {
        "id": job, "key": f"{run}/task-{task}", "plan_key": run, "task": f"task-{task}", "spec": "x" * 2000,
        "state": state, "attempt": 2, "created_at": began, "updated_at": began + 7200, "wake_at": began, "result": "{}",
        "memory": Memory(placement=_placement(task, number)).model_dump_json(), "lease_until": 0.0, "needs": "{}",
    }  # fmt: skip
    for attempt in (1, 2):
        at = began + 3600 * (attempt - 1)
        yield t.CLUSTERS, {
            "token": f"{job}-{attempt}", "job_id": job, "attempt": attempt, "cloud": cloud, "region": region,
            "state": "launched" if alive and attempt == 2 else "ended", "zone": zone, "instance_type": "m6i.xlarge",
            "use_spot": True, "num_nodes": 1, "price": 0.07, "host_key": "k" * 80, "intended_at": at,
            "launched_at": at + 5, "ended_at": None if alive and attempt == 2 else at + 3600,
            "instance_ids": '["i-0123456789abcdef0"]', "outcome": "preempted" if attempt == 1 else state,
        }  # fmt: skip
    for place, kind in enumerate(KINDS):
        yield t.EVENTS, {"job_id": job, "at": began + place, "kind": kind, "data": '{"attempt": 1, "phase": "running"}'}
    moved = {"input": "x", "bytes": 10**9, "gb": 1.0, "usd": 0.09, "from": "aws/us-east-1", "to": f"{cloud}/{region}"}
    yield t.EVENTS, {"job_id": job, "at": began + 20, "kind": "moved", "data": json.dumps(moved)}
    for kind, spot in (("launched", True), ("preempted", True), ("launched", True), ("released", True)):
        yield t.OBSERVATIONS, {"at": began, "cloud": cloud, "region": region, "zone": zone, "kind": kind,
                               "instance_type": "m6i.xlarge", "market": "spot" if spot else "on-demand",
                               "scope": "zone", "hours": 1.0}  # fmt: skip


def used(home: Path, words: list[str]) -> tuple[float, float]:
    """CPU seconds and MB at most of one command."""
    # Through a process between: the most that any of this one's children had is told, not what each had.
    body = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "it = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(it.ru_utime + it.ru_stime, it.ru_maxrss)"
    )
    command = [sys.executable, "-c", "from sky_core.cli import main; main()", *words]
    said = subprocess.run([sys.executable, "-c", body, *command], check=True, capture_output=True, text=True,
                          env={**os.environ, "SKYLOOM_HOME": str(home), "COLUMNS": "120"}).stdout.split()  # fmt: skip
    return float(said[0]), float(said[1]) * (1024 if sys.platform == "linux" else 1) / 1e6


def pages(home: Path) -> Iterator[tuple[str, float, float]]:
    """Each page's path, and what it takes at first and the second time, CPU seconds of this process."""
    server = Server(Settings.load({"SKYLOOM_HOME": str(home)}), 0, "token")
    for path in [*PAGES, "/metrics"]:
        run = server.store.run_lines(limit=1)[0].key
        query = {"key": run, "id": server.store.job_lines(limit=1)[0].id}
        took = []
        for _ in range(2):
            began = time.process_time()
            server.answer(path, query)
            took.append(time.process_time() - began)
        yield path, took[0], took[1]
    server.server_close()


def main() -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # who uses this keeps what was compiled
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    with tempfile.TemporaryDirectory() as folder:
        empty, full = Path(folder) / "empty", Path(folder) / "full"
        for home, count in ((empty, 0), (full, jobs)):
            home.mkdir()
            with ProcessPoolExecutor(1, get_context("spawn")) as apart:  # what this process holds is for the pages
                apart.submit(fill, Settings.load({"SKYLOOM_HOME": str(home)}).store_url, count).result()
        print(f"{jobs:,} jobs in the store")
        for name, words in COMMANDS.items():
            without, _ = used(empty, words)
            cpu, megabytes = used(full, words)
            print(f"skyloom {name:28} {cpu:5.2f} CPU s ({without:.2f} with no jobs), {megabytes:4.0f} MB")
        for path, first, again in pages(full):
            print(f"page {path:31} {again:5.2f} CPU s ({first:.2f} at first)")
        print(f"{'pages, all in one process':36} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:4.0f} MB")


if __name__ == "__main__":
    main()
