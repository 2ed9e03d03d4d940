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
import resource
import subprocess
import sys
import time
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


def solved(file: Path) -> None:
    """One line: cost and makespan, CPU seconds and gap of each."""
    dag = json.loads(file.read_text())
    problem, words = problem_of(dag), []
    for minimize in ("cost", "time"):
        begun = time.process_time()
        try:
            found = solve(problem, minimize=minimize)  # type: ignore[arg-type]
            value = found.cost if minimize == "cost" else found.hours
            outcome = (
                "optimal" if found.optimal else f"gap {value / found.bound - 1:.3%}" if found.bound else "no bound"
            )
            outcome = f"{value:10.4f} {outcome:11s} {found.method}"
        except Infeasible as error:
            outcome = f"INFEASIBLE: {error}"
        words.append(f"{minimize} {time.process_time() - begun:6.2f} s {outcome:32s}")
    print(f"{len(dag['seconds']):5d} {len(dag['edges']):5d} {'  '.join(words)} {dag['name']}", flush=True)


def planned(file: Path) -> None:
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    words = f"{time.process_time():6.2f} CPU s {peak:5.0f} MB ${made.cost_usd:9.4f}"
    print(f"{len(tasks):5d} plan {words} {'optimal' if made.optimal else 'not proven'} {dag['name']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--plans", action="store_true", help="plan over the catalog, each in a process of its own")
    parser.add_argument("--most", type=int, default=10_000, help="leave out DAGs of more tasks")
    asked = parser.parse_args()
    if asked.folder.is_file():
        planned(asked.folder) if asked.plans else solved(asked.folder)
        return
    files = sorted(asked.folder.glob("*.json"), key=lambda file: len(json.loads(file.read_text())["seconds"]))
    for file in files:
        if len(json.loads(file.read_text())["seconds"]) > asked.most:
            continue
        if asked.plans:
            subprocess.run([sys.executable, __file__, str(file), "--plans"], check=True)
        else:
            solved(file)


if __name__ == "__main__":
    main()
