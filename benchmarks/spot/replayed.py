"""Jobs with deadlines led by the broker on replayed spot traces, and the simulator's word on each.

The machines are the sandbox's, whose capacity follows the traces. The simulator runs the same policy on the same
traces, from the moment in which the broker began to lead the job. Its starts take what was measured; of that it knows
what the broker knows: a guess before the first start, then the longest so far.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab.simulate import Leg, Move, SpotJob, Truth, simulate
from lab.traces import Traces
from sky_core import Pipeline, Resources, Task
from sky_core.broker import Broker
from sky_core.catalog import Catalog
from sky_core.driver.lead.berths import zone_key
from sky_core.driver.lead.promise import CHANGEOVER_HOURS
from sky_core.events import Launched, Phase
from sky_core.planner.market import load_catalog
from sky_core.recovery import make_policy
from sky_core.recovery.situation import State
from sky_core.store import Job
from sky_sandbox.client import Control

GAP_S = 600  # trace seconds between two values
FINER = 5  # ticks of the simulator in one of the trace: the broker decides more often than traces tell
CHECKPOINT = 0.05  # hours
Stay = tuple[State, str | None]
"""A market, and a zone of it."""

COMMAND = """
python3 - <<'PROGRAM'
import os, time
folder = os.environ["SKY_CHECKPOINT_DIR"]
if not os.path.exists(folder + "/weights"):
    with open(folder + "/weights", "wb") as file:
        file.write(os.urandom(WEIGHT))
path = folder + "/seconds"
before = float(open(path).read()) if os.path.exists(path) else 0.0
print("from", before, flush=True)
begin = time.monotonic()
while True:
    done = before + time.monotonic() - begin
    with open(path + ".tmp", "w") as file:
        file.write(str(done))
    os.replace(path + ".tmp", path)
    if done >= SECONDS:
        break
    time.sleep(0.1)
PROGRAM
"""


@dataclass(frozen=True)
class Stretch:
    """One job, and the spot markets that are there for it.

    Attributes:
        where: The machines that it may use.
        up: By zone as policies call it (``aws/us-east-1a``; ``azure/eastus`` where the cloud chooses the zone)
            whether spot is there, a value for each ``GAP_S`` trace seconds.
        work, deadline: Hours.
        gb: The checkpoint's size, at the sandbox's scale.
    """

    where: Resources
    up: Mapping[str, Sequence[bool]]
    work: float
    deadline: float
    gb: float = 0.0

    def task(self, broker: Broker) -> Task:
        """The job as its user would ask for it."""
        scale = broker.settings.scale
        run = COMMAND.replace("SECONDS", str(scale.seconds(self.work)))
        run = run.replace("WEIGHT", str(round(self.gb / scale.gb(1))))
        return Task(
            name="work", run=run, hours=self.work, checkpoint=CHECKPOINT, deadline=self.deadline, resources=self.where
        )


@dataclass(frozen=True)
class Result:
    """What became of one job, and what the simulator says of it.

    Attributes:
        finish: Hours from submission to the end.
        waited: Of them, until the broker began to lead it.
        usd, simulated_usd: The bill, and the simulator's.
        changeovers: Hours from each accepted launch to the running command.
        stays, simulated_stays: Where it was started, in turn.
    """

    job: Job
    finish: float
    waited: float
    usd: float
    simulated_usd: float
    changeovers: tuple[float, ...]
    stays: tuple[Stay, ...]
    simulated_stays: tuple[Stay, ...]

    @property
    def off(self) -> float:
        """The bill's distance from the simulator's, relative."""
        return self.usd / self.simulated_usd - 1


def replay(broker: Broker, fate: Control, stretches: Mapping[str, Stretch]) -> dict[str, Result]:
    """Run jobs side by side, each while its zones' capacity follows its stretch; results by the stretches' names."""
    scale, tracks = broker.settings.scale, []
    folder = Path(tempfile.mkdtemp(prefix="traces-", dir=broker.settings.home))
    tasks = {name: stretch.task(broker) for name, stretch in stretches.items()}
    for name, stretch in stretches.items():
        broker.plan(name, Pipeline(name=name, tasks=(tasks[name],)))
        for zone, values in stretch.up.items():
            file = folder / f"{zone.replace('/', '-')}.json"
            about = {"metadata": {"gap_seconds": GAP_S}, "data": [int(value) for value in values]}
            file.write_text(json.dumps(about))
            tracks.append({"path": str(file), "zone": zone.partition("/")[2], "type": "*"})
    begun = time.time()
    fate.replay(tracks, speed=3600 * scale.hours_per_second)
    jobs = {name: broker.submit(f"{name}/work", task, name) for name, task in tasks.items()}
    return {name: _result(broker, broker.watch(job.id), stretches[name], begun) for name, job in jobs.items()}


def _result(broker: Broker, job: Job, stretch: Stretch, begun: float) -> Result:
    scale = broker.settings.scale
    launched: dict[int, float] = {}
    changeovers = []
    for event in broker.store.events(job.id):
        what = event.what
        if isinstance(what, Launched):
            launched[what.attempt] = event.at
        elif isinstance(what, Phase) and what.phase == "running":
            changeovers.append(scale.hours(event.at - launched[what.attempt]))
    stays: list[Stay] = [
        ("spot" if cluster.use_spot else "on_demand", zone_key(cluster))
        for cluster in broker.store.clusters(job_id=job.id)
        if cluster.launched_at
    ]
    # The simulated job starts where the broker began to lead the real one: seconds here are hours there.
    promise = job.memory["promise"]
    assert isinstance(promise, Mapping)
    led, step = promise["since"], GAP_S / 3600 / FINER
    missed = round(scale.hours(led - begun) / step)
    up = {zone: np.repeat(np.asarray(values, dtype=bool), FINER)[missed:] for zone, values in stretch.up.items()}
    # What the broker tells its policy of the deadline.
    due = stretch.deadline - 2 * CHECKPOINT - scale.hours(led - job.created_at + 2 * broker.settings.poll_s)
    catalog = load_catalog(broker.settings.home).with_defaults(broker.settings.defaults)
    simulated, truth = simulated_job(catalog, stretch, due), starts(stretch, statistics.mean(changeovers))
    sight = "told" if len(up) == 1 else "asked"
    expected = simulate(make_policy(broker.settings.spot_policy), Traces(step, up), simulated, truth=truth, sight=sight)
    went = tuple(_stay(leg) for leg in expected.timeline if leg.zone is not None)
    finish, waited = scale.hours(job.updated_at - job.created_at), scale.hours(led - job.created_at)
    usd = broker.bill(job.plan_key).usd
    return Result(job, finish, waited, usd, expected.cost, tuple(changeovers), tuple(stays), went)


def _stay(leg: Leg) -> Stay:
    return leg.state, leg.zone


def starts(stretch: Stretch, hours: float) -> Truth:
    """That each start takes as long, which only the first one tells."""
    return Truth(stretch.work, [hours], measured=True)


def simulated_job(catalog: Catalog, stretch: Stretch, due: float) -> SpotJob:
    """The job at the catalog's prices, as plans believe them, its moves at the catalog's egress."""
    rows = {}
    for wanted in stretch.where.alternatives:
        row = catalog.query(wanted).sort("spot_price").row(0, named=True)
        rows[f"{row['cloud']}/{row['zone'] or row['region']}"] = row
    usd, hours = catalog.egress([(row["cloud"], row["region"], row["zone"]) for row in rows.values()], stretch.gb)
    moves = {
        (origin, to): Move(float(usd[i, j]), float(hours[i, j]))
        for i, origin in enumerate(rows)
        for j, to in enumerate(rows)
        if i != j
    }
    spot, on_demand = ({zone: row[market] for zone, row in rows.items()} for market in ("spot_price", "price"))
    return SpotJob(stretch.work, due, CHANGEOVER_HOURS, spot, on_demand, moves=moves)
