"""An elastic gang on replayed eviction traces, beside gangs of a fixed size: on spot from checkpoints, and on demand.

    python benchmarks/spot/elastic_gangs.py [--traces FOLDER] [--hours-per-second 0.02]

A training of 24 hours on one machine (example_flows/elastic/train_dask.py, with Dask) on V100s of AWS, in three zones
whose spot capacity follows three recorded traces of evictions (:mod:`lab.reference`): one of four machines, two of one
machine that stand for four which come and go together. A second counts as 0.02 hours. Each begins where, of all
stretches of its trace on which a spot gang loses a machine in its first five hours, the share of time with spot is the
median. Run are:

- ``Elastic(max=5)``: one machine on demand, up to four on spot;
- four machines on spot, all ended and launched anew from the last checkpoint when one is lost, as the broker does it;
- four machines on demand.

Prices are the catalog's, hours those of the sandbox's ledger. Exit code 1 if the elastic gang costs more than 0.6 of on
demand or 0.9 of checkpoint and restart on any trace, or one comes to other weights than the gang on demand. For
comparison the simulator's word on gangs that the broker does not have: they wait for spot, or go back to it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import elastic as simulator
from lab import reference
from lab.traces import read_trace
from sky_core import Elastic, Pipeline, Resources, Task
from sky_core.broker import Broker
from sky_core.config import Settings
from sky_core.job.narrate import describe
from sky_core.planner.market import load_catalog
from sky_core.recovery.elastic import Job
from sky_core.store import Job as Submitted
from sky_sandbox import client
from sky_sandbox.client import Control

DATA = reference.REFERENCE / "spot-traces/preemption"
TRACES = {
    "us-east-1a": "aws-2023-08-03-4-node/us-east-2a_v100_1.json",
    "us-east-1c": "aws-2023-04-22/us-west-2c_v100_1.json",
    "us-east-1d": "aws-2023-04-19/us-east-1b_intel_64.json",
}
MACHINE, SPOT = "p3.2xlarge", 4
HOURS_PER_SECOND = 0.02
SANDBOX = {"gb_per_mb": 1.0, "boot_s": 2.0, "aws_notice_s": 2}
GAP_S, EARLY_H, LONGEST_H = 300, 5.0, 40.0
START_H = 0.15  # of a gang in the simulator
DEAR = "on demand"
WORK_H, SHARDS, SHARD_S = 24.0, 20, 0.3  # of one machine; of a step; real seconds
LESS_THAN_ON_DEMAND, LESS_THAN_RESTARTS = 0.6, 0.9
EXAMPLES = Path(__file__).parents[2] / "example_flows/elastic"
# A gang without an engine that Skyloom would mend: Dask's own commands, which end with the training.
FIXED = """
export DASK_SCHEDULER_ADDRESS=tcp://$MASTER_ADDR:$MASTER_PORT WAIT_FOR=$SKY_NUM_NODES
here=$(echo "$SKY_NODE_IPS" | sed -n "$((SKY_NODE_RANK + 1))p")
worker="dask worker $DASK_SCHEDULER_ADDRESS --host $here --nthreads 1 --no-dashboard --death-timeout 60"
if test "$SKY_NODE_RANK" != 0; then $worker || true; exit 0; fi
dask scheduler --host $here --port $MASTER_PORT --no-dashboard &
$worker &
exec python3 train_dask.py
"""


@dataclass(frozen=True)
class Ran:
    """What became of one gang.

    Attributes:
        usd, billed: By the ledger, and by the bill.
        hours: From submission to the end.
        price: USD per hour, by market.
    """

    job: Submitted
    usd: float
    billed: float
    hours: float
    weights: str
    price: Mapping[str, float]


def coarse(path: Path) -> list[int]:
    """Machines that are there, for each ``GAP_S`` seconds; one machine stands for all."""
    gap_s, counts = read_trace(path)
    each = max(1, round(GAP_S / gap_s))
    least = [min(counts[at : at + each]) for at in range(0, len(counts) - each + 1, each)]
    return least if max(counts) > 1 else [SPOT * count for count in least]


def begin(counts: Sequence[int]) -> int:
    """The median stretch: see the module."""
    early, longest = (round(hours * 3600 / GAP_S) for hours in (EARLY_H, LONGEST_H))
    starts = [
        at
        for at in range(len(counts) - longest)
        if counts[at] >= SPOT and any(count < SPOT for count in counts[at : at + early])
    ]
    starts.sort(key=lambda at: (sum(counts[at : at + longest // 4]), at))
    return starts[len(starts) // 2]


def tasks(zone: str, scale_s: float) -> dict[str, Task]:
    """The three ways to run the training in a zone; ``scale_s`` are the real seconds of an hour."""
    path = os.pathsep.join([os.path.dirname(sys.executable), "/usr/bin", "/bin"])
    steps = round(WORK_H * scale_s / (SHARDS * SHARD_S))
    where = Resources(cloud="aws", zone=zone, instance_type=MACHINE)
    common = {
        "workdir": str(EXAMPLES),
        "checkpoint": 0.05,
        "envs": {"PATH": path, "STEPS": steps, "SHARDS": SHARDS, "SECONDS": SHARD_S},
    }
    return {
        "elastic": Task(
            name="train", run="exec python3 train_dask.py", engine={"name": "dask", "threads": 1},
            elastic=Elastic(max=SPOT + 1), hours=WORK_H / (SPOT + 1), resources=where, **common,
        ),
        "restarts": Task(
            name="train", run=FIXED, num_nodes=SPOT, hours=WORK_H / SPOT, **common,
            resources=where.model_copy(update={"use_spot": True}),
        ),
        DEAR: Task(name="train", run=FIXED, num_nodes=SPOT, hours=WORK_H / SPOT, resources=where, **common),
    }  # fmt: skip


def run(broker: Broker, fate: Control, ways: Mapping[str, Task], counts: Mapping[str, Sequence[int]]) -> dict[str, Ran]:
    """Run a task in each of the zones, whose capacity begins to follow its trace now; by zone."""
    scale = broker.settings.scale
    folder = Path(tempfile.mkdtemp(prefix="traces-", dir=broker.settings.home))
    tracks = []
    for zone, values in counts.items():
        file = folder / f"{zone}.json"
        file.write_text(json.dumps({"metadata": {"gap_seconds": GAP_S}, "data": list(values)}))
        tracks.append({"path": str(file), "zone": zone, "type": MACHINE})
    keys = {zone: f"{zone}-{folder.name}" for zone in ways}
    for zone, task in ways.items():
        broker.plan(keys[zone], Pipeline(name=keys[zone], tasks=(task,)))
    if tracks:
        fate.replay(tracks, speed=3600 * scale.hours_per_second)
    jobs = [broker.submit(f"{keys[zone]}/train", task, keys[zone]) for zone, task in ways.items()]
    with ThreadPoolExecutor(len(jobs)) as pool:
        done = list(pool.map(lambda job: broker.watch(job.id), jobs))
    return {zone: _ran(broker, fate, job) for zone, job in zip(ways, done, strict=True)}


def _ran(broker: Broker, fate: Control, job: Submitted) -> Ran:
    tags, scale = {"skyloom-job": job.id}, broker.settings.scale
    row = load_catalog(broker.settings.home).with_defaults(broker.settings.defaults).query(
        Resources(cloud="aws", region="us-east-1", instance_type=MACHINE, use_spot=True)
    ).row(0, named=True)  # fmt: skip
    price = {"spot": row["spot_price"], "on-demand": row["price"]}
    market = {machine["id"]: machine["market"] for machine in fate.machines(tags=tags)}
    lines = [line for line in fate.ledger(tags=tags) if line["kind"] == "machine"]
    usd = sum(line["billed_s"] / 3600 * price[market[line["id"]]] for line in lines)
    log = broker.store.log(job.id).decode(errors="replace")
    weights = re.findall(r"weights ([0-9a-f]+)", log)
    hours = scale.hours(job.updated_at - job.created_at)
    return Ran(job, usd, broker.bill(job.plan_key).usd, hours, weights[-1] if weights else "none", price)


def main() -> None:
    """Run, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=Path, default=DATA, help="folder of recorded traces")
    parser.add_argument("--hours-per-second", type=float, default=HOURS_PER_SECOND)
    parser.add_argument("--events", action="store_true", help="print what happened, too")
    options = parser.parse_args()
    counts = {}
    for zone, name in TRACES.items():
        whole = coarse(options.traces / name)
        at = begin(whole)
        counts[zone] = whole[at : at + round(LONGEST_H * 3600 / GAP_S)]
        print(f"{name} from {at * GAP_S / 3600:.1f} h: {''.join(map(str, counts[zone][:180]))}", flush=True)
    found = {}
    for way in ("elastic", "restarts"):
        found[way] = _in_a_world_of_its_own(way, counts, options)
    _judge(found, counts)


def _in_a_world_of_its_own(
    way: str, counts: Mapping[str, Sequence[int]], options: argparse.Namespace
) -> dict[str, Ran]:
    """What becomes of the gangs of one kind: what the broker has learnt of spot is forgotten between two kinds.

    Beside those that restart there is the one on demand, which takes nothing from them.
    """
    home = Path(tempfile.mkdtemp(prefix="skyloom-"))
    fate = client.up(home, attached=True, hours_per_second=options.hours_per_second, **SANDBOX)
    os.environ.update(SKYLOOM_HOME=str(home), SKYLOOM_PROFILE="sandbox")
    try:
        broker = Broker(Settings.load())
        scale_s = broker.settings.scale.seconds(1)
        ways = {zone: tasks(zone, scale_s)[way] for zone in counts}
        if way == "restarts":
            ways[DEAR] = tasks(next(iter(counts)), scale_s)[DEAR]
        found = run(broker, fate, ways, counts)
        for zone, ran in found.items():
            _tell(broker, f"{way} {zone}", ran, events=options.events)
        return found
    finally:
        client.down(home)
        shutil.rmtree(home, ignore_errors=True)


def _tell(broker: Broker, name: str, ran: Ran, *, events: bool) -> None:
    print(f"{name}: {ran.job.state}, ${ran.usd:.2f}, {ran.hours:.1f} h", flush=True)
    for event in broker.store.events(ran.job.id) if events else ():
        print(f"  {broker.settings.scale.hours(event.at - ran.job.created_at):5.2f} h  {describe(event)[:110]}")


def _judge(found: Mapping[str, Mapping[str, Ran]], counts: Mapping[str, Sequence[int]]) -> None:
    """Print the table; the exit code."""
    dear = found["restarts"][DEAR]
    heads = ("elastic", "restarts", "on demand")
    print("\n" + " " * 12 + "".join(f"{head:>18}" for head in heads) + "  of on demand  of restarts  weights")
    fine = dear.job.state == "succeeded" and dear.weights != "none"
    for zone in counts:
        elastic, restarts = found["elastic"][zone], found["restarts"][zone]
        least, less = elastic.usd / dear.usd, elastic.usd / restarts.usd
        same = {ran.weights for ran in (elastic, restarts)} == {dear.weights}
        cells = "".join(f"{f'${ran.usd:.2f} {ran.hours:.1f} h':>18}" for ran in (elastic, restarts, dear))
        print(f"{zone:12}{cells}{least:14.2f}{less:13.2f}  {'the same' if same else 'other'}")
        states = {ran.job.state for ran in (elastic, restarts)}
        fine &= same and states == {"succeeded"} and least <= LESS_THAN_ON_DEMAND and less <= LESS_THAN_RESTARTS
    print(f"asked: {LESS_THAN_ON_DEMAND} of on demand, {LESS_THAN_RESTARTS} of restarts, the same weights")
    off = [ran.billed / ran.usd - 1 for zones in found.values() for ran in zones.values()]
    print(f"bills off the ledger by {min(off):+.1%} to {max(off):+.1%}")
    print("\nsimulated, by what the broker does not do with gangs:")
    for zone, values in counts.items():
        told = (f"{name} ${ran.usd:.2f} {ran.hours:.1f} h" for name, ran in _simulated(values, dear).items())
        print(f"{zone:12}{'; '.join(told)}")
    sys.exit(0 if fine else 1)


def _simulated(counts: Sequence[int], dear: Ran) -> dict[str, simulator.Ran]:
    """Fixed gangs that wait for spot, or are on demand while it is away, on the same stretch at the same prices."""
    price = {simulator.SPOT: dear.price["spot"], simulator.ON_DEMAND: dear.price["on-demand"]}
    job = Job(WORK_H, START_H, float, most=SPOT)
    whole = [*counts, *[SPOT] * len(counts)]
    choices = {"waits for spot": simulator.fixed(SPOT), "on demand meanwhile": simulator.fixed_with_on_demand(SPOT)}
    return {name: simulator.run(choose, whole, GAP_S / 3600, job, price) for name, choose in choices.items()}


if __name__ == "__main__":
    main()
