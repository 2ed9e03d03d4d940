"""Public workflow DAGs: what the least cost and the least makespan take, and whether they are proven.

    python benchmarks/wfinstances.py FOLDER            # placement problems: cost and makespan
    python benchmarks/wfinstances.py FOLDER --plans    # as pipelines of cpus="2+" tasks over the embedded catalog

``FOLDER`` holds DAGs as JSON: ``name``, ``seconds`` (run time of each task) and ``edges`` (from, to, GB), made from
the instances of WfCommons (github.com/wfcommons/WfInstances). As a placement problem a DAG gets 60 machines in 12
places (seed 0): speeds 0.4 to 4, prices that grow more slowly than speed, egress of 0 to 0.12 USD/GB and 5 Gbit/s. CPU
seconds are those of the process.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sky_core.errors import Infeasible
from sky_core.optimizer import Edge, Problem, solve

MACHINES, PLACES = 60, 12


def problem_of(dag: dict[str, Any]) -> Problem:
    """The DAG on made-up machines; what it costs grows with the hours, and faster machines are the better bargain."""
    rng = np.random.default_rng(0)
    speed = np.exp(rng.uniform(np.log(0.4), np.log(4.0), MACHINES))
    price = 0.2 * speed**0.8 * rng.uniform(0.8, 1.25, MACHINES)
    at = rng.integers(0, PLACES, MACHINES)
    usd_per_gb = rng.uniform(0.0, 0.12, (PLACES, PLACES)) * (1 - np.eye(PLACES))
    hours_per_gb = 8 / 5 / 3600 * (1 - np.eye(PLACES))
    names = [f"t{number}" for number in range(len(dag["seconds"]))]
    hours = {name: max(seconds, 1e-3) / 3600 / speed for name, seconds in zip(names, dag["seconds"], strict=True)}
    volume: dict[tuple[int, int], float] = {}
    for one, other, gb in dag["edges"]:
        volume[one, other] = volume.get((one, other), 0.0) + gb
    edges = [Edge(names[one], names[other], usd_per_gb * gb, hours_per_gb * gb) for (one, other), gb in volume.items()]
    return Problem(names, {name: hours[name] * price for name in names}, hours, dict.fromkeys(names, at), edges)


@dataclass(frozen=True)
class Took:
    """What an answer took: CPU seconds of the process, its peak memory in MB, and the gap left (inf: no plan)."""

    seconds: float
    megabytes: float
    gap: float


def solved(file: Path) -> list[Took]:
    """One line: cost and makespan, CPU seconds and gap of each."""
    dag = json.loads(file.read_text())
    problem, words, took = problem_of(dag), [], []
    for minimize in ("cost", "time"):
        begun, gap = time.process_time(), math.inf
        try:
            found = solve(problem, minimize=minimize)  # type: ignore[arg-type]
            value = found.cost if minimize == "cost" else found.hours
            gap = 0.0 if found.optimal else value / found.bound - 1 if found.bound else math.inf
            outcome = f"{value:10.4f} {_proof(gap):11s} {found.method}"
        except Infeasible as error:
            outcome = f"INFEASIBLE: {error}"
        took.append(Took(time.process_time() - begun, _peak(), gap))
        words.append(f"{minimize} {took[-1].seconds:6.2f} s {outcome:32s}")
    print(f"{len(dag['seconds']):5d} {len(dag['edges']):5d} {'  '.join(words)} {dag['name']}", flush=True)
    return took


def _proof(gap: float) -> str:
    return "optimal" if gap == 0 else f"gap {gap:.3%}"


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def planned(file: Path) -> list[Took]:
    """One line: a plan of the whole pipeline over the embedded catalog."""
    from sky_core import Artifact, Pipeline, Resources, Task
    from sky_core.catalog import Catalog
    from sky_core.planner.planning import Market, make_plan
    from sky_core.spec import OutputRef

    dag = json.loads(file.read_text())
    into: dict[int, dict[str, OutputRef]] = {}
    out: dict[int, float] = {}
    for one, other, gb in dag["edges"]:
        into.setdefault(other, {})[f"from_t{one}"] = OutputRef(task=f"t{one}", output="out")
        out[one] = max(out.get(one, 0.0), gb)
    tasks = [
        Task(
            name=f"t{number}",
            run="true",
            resources=Resources(cpus="2+"),
            hours=max(seconds, 1e-3) / 3600,
            inputs=into.get(number, {}),
            outputs={"out": Artifact(size_gb=out.get(number, 0.0))},
        )
        for number, seconds in enumerate(dag["seconds"])
    ]
    made = make_plan(Pipeline(name="p", tasks=tuple(tasks)), Market(Catalog.embedded(), ("aws", "azure", "gcp")))
    took = Took(time.process_time(), _peak(), 0.0 if made.optimal else made.cost_usd / made.bound - 1)
    words = f"{took.seconds:6.2f} CPU s {took.megabytes:5.0f} MB ${made.cost_usd:9.4f} {_proof(took.gap)}"
    print(f"{len(tasks):5d} plan {words} {dag['name']}", flush=True)
    return [took]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--plans", action="store_true", help="plan over the catalog, each in a process of its own")
    parser.add_argument("--most", type=int, default=10_000, help="leave out DAGs of more tasks")
    asked = parser.parse_args()
    sizes = {file: len(json.loads(file.read_text())["seconds"]) for file in asked.folder.glob("*.json")}
    files = sorted((file for file in sizes if sizes[file] <= asked.most), key=lambda file: sizes[file])
    if asked.plans:
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            all_took = pool.map(planned, files, chunksize=1)
    else:
        all_took = [solved(file) for file in files]
    print(f"{len(files)} DAGs of {sizes[files[0]]} to {sizes[files[-1]]} tasks:")
    for what, took in zip(("plan",) if asked.plans else ("cost", "time"), zip(*all_took, strict=True), strict=True):
        slowest, widest = max(one.seconds for one in took), max(one.gap for one in took)
        proven, peak = sum(one.gap == 0 for one in took), max(one.megabytes for one in took)
        print(
            f"  {what}: {proven} optimal, widest gap {widest:.2%}, slowest {slowest:.2f} CPU s, at most {peak:.0f} MB"
        )


if __name__ == "__main__":
    main()
