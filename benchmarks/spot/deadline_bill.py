"""Jobs with deadlines on replayed spot traces: real machines and bills of the sandbox beside the simulator's.

    python benchmarks/spot/deadline_bill.py [--traces FOLDER]

Three jobs of six hours with ten hours to go, each in a zone of its own whose capacity follows a trace at 360 times its
speed: no spot at all, and two stretches of recorded availability (:mod:`lab.reference`). The broker leads
them with the default policy. The simulator then runs the same policy on the same traces, with the changeover that was
measured. Exit code 1 if a job is late or a bill off by more than 5%.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab import reference
from lab.simulate import SpotJob, simulate
from lab.traces import Traces
from sky_core import Pipeline, Resources, Task
from sky_core.broker import Broker
from sky_core.config import Settings
from sky_core.events import Launched, Phase
from sky_core.job.narrate import describe
from sky_core.planner.market import load_catalog
from sky_core.recovery import make_policy
from sky_core.store import Job
from sky_sandbox import client

DATA = reference.REFERENCE / "spot-traces/availability/aws-2022-10-26"
HOURS_PER_SECOND = 0.1
WORK, DEADLINE, CHECKPOINT = 6.0, 10.0, 0.05  # hours
GAP_S = 600
FINER = 5  # ticks of the simulator in one of the trace: the broker decides more often than traces tell
TYPE = "m5.large"
TICKS = round(DEADLINE * 3600 / GAP_S) + 30
# Stretches on which the simulator's own bill hardly hangs on whether a start takes 0.15 or 0.26 h: elsewhere a decision
# that falls a look earlier or later changes the bill by 10%, and the comparison would measure luck.
STRETCHES = {"us-east-1b": ("us-west-2a_k80_8", 2220), "us-east-1c": ("us-west-2a_v100_1", 2800)}
WITHIN = 0.05

COMMAND = """
python3 - <<'PROGRAM'
import os, time
path = os.environ["SKY_CHECKPOINT_DIR"] + "/seconds"
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
class Result:
    """What became of one job, and what the simulator says of it.

    Attributes:
        finish: Hours from submission to the end.
        usd, simulated_usd: The bill, and the simulator's.
        changeovers: Hours from each accepted launch to the running command.
    """

    job: Job
    finish: float
    usd: float
    simulated_usd: float
    changeovers: tuple[float, ...]

    @property
    def off(self) -> float:
        """The bill's distance from the simulator's, relative."""
        return self.usd / self.simulated_usd - 1


def task(zone: str, work: float, deadline: float) -> Task:
    """So many hours of work in one zone, spot if possible."""
    where = Resources(cloud="aws", zone=zone, instance_type=TYPE, use_spot=True)
    run = COMMAND.replace("SECONDS", str(work / HOURS_PER_SECOND))
    return Task(name="work", run=run, hours=work, checkpoint=CHECKPOINT, deadline=deadline, resources=where)


def replay(
    broker: Broker,
    fate: client.Control,
    up: Mapping[str, Sequence[bool]],
    work: float = WORK,
    deadline: float = DEADLINE,
) -> dict[str, Result]:
    """Run one job in each zone while its capacity follows ``up``, values each GAP_S seconds; results by zone."""
    tasks = {zone: task(zone, work, deadline) for zone in up}
    folder = Path(tempfile.mkdtemp(prefix="traces-", dir=broker.settings.home))
    for zone, values in up.items():
        about = {"metadata": {"gap_seconds": GAP_S}, "data": [int(value) for value in values]}
        (folder / f"{zone}.json").write_text(json.dumps(about))
        broker.plan(zone, Pipeline(name=zone, tasks=(tasks[zone],)))
    tracks = [{"path": str(folder / f"{zone}.json"), "zone": zone, "type": TYPE} for zone in up]
    begun = time.time()
    fate.replay(tracks, speed=3600 * HOURS_PER_SECOND)
    jobs = {zone: broker.submit(f"{zone}/work", tasks[zone], zone) for zone in up}
    return {zone: _result(broker, broker.watch(job.id), tasks[zone], up[zone], begun) for zone, job in jobs.items()}


def _result(broker: Broker, job: Job, asked: Task, up: Sequence[bool], begun: float) -> Result:
    (zone,) = asked.resources.zone
    launched: dict[int, float] = {}
    changeovers = []
    for event in broker.store.events(job.id):
        what = event.what
        if isinstance(what, Launched):
            launched[what.attempt] = event.at
        elif isinstance(what, Phase) and what.phase == "running":
            changeovers.append(HOURS_PER_SECOND * (event.at - launched[what.attempt]))
    found = load_catalog(broker.settings.home).query(Resources(cloud="aws", zone=zone, instance_type=TYPE))
    row = found.row(0, named=True)
    # The simulated job starts where the broker began to lead the real one: seconds here are hours there.
    led, step = job.memory["promise"]["since"], GAP_S / 3600 / FINER
    missed = round(HOURS_PER_SECOND * (led - begun) / step)
    traces = Traces(step, {zone: np.repeat(np.asarray(up, dtype=bool), FINER)[missed:]})
    assert isinstance(asked.deadline, float)
    assert isinstance(asked.hours, float)
    due = (
        asked.deadline - 2 * CHECKPOINT - HOURS_PER_SECOND * (led - job.created_at + 2 * broker.settings.poll_s)
    )  # what the broker tells its policy
    delay = statistics.mean(changeovers)
    simulated = SpotJob(asked.hours, due, delay, {zone: row["spot_price"]}, {zone: row["price"]})
    expected = simulate(make_policy(broker.settings.spot_policy), traces, simulated)
    finish = HOURS_PER_SECOND * (job.updated_at - job.created_at)
    return Result(job, finish, broker.bill(zone).usd, expected.cost, tuple(changeovers))


def main() -> None:
    """Run the three jobs side by side and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=Path, default=DATA, help="folder of recorded traces")
    folder = parser.parse_args().traces
    up: dict[str, Sequence[bool]] = {"us-east-1a": [False] * TICKS}
    for zone, (name, start) in STRETCHES.items():
        up[zone] = Traces.load({zone: folder / f"{name}.json"}).up[zone][start : start + TICKS].tolist()
    home = Path(tempfile.mkdtemp(prefix="skyloom-"))
    fate = client.up(home, attached=True, boot_s=0.1, hours_per_second=HOURS_PER_SECOND, aws_notice_s=1)
    os.environ.update(SKYLOOM_HOME=str(home), SKYLOOM_PROFILE="sandbox")
    try:
        broker = Broker(Settings.load())
        begin = time.time()
        results = replay(broker, fate, up)
        for zone, result in results.items():
            print(f"\n{zone}: spot {''.join('#' if value else '.' for value in up[zone])}")
            for event in broker.store.events(result.job.id):
                print(f"  {HOURS_PER_SECOND * (event.at - begin):5.2f} h  {describe(event)[:110]}")
            print(f"  {result.job.state} after {result.finish:.2f} of {DEADLINE} h; ${result.usd:.4f}, simulated"
                  f" ${result.simulated_usd:.4f} ({result.off:+.1%})")  # fmt: skip
    finally:
        client.down(home)
        shutil.rmtree(home, ignore_errors=True)
    late = [zone for zone, result in results.items() if result.finish > DEADLINE or result.job.state != "succeeded"]
    off = max(abs(result.off) for result in results.values())
    print(f"\n{len(late)} of {len(results)} late; bills off by at most {off:.1%} (asked: {WITHIN:.0%})")
    sys.exit(1 if late or off > WITHIN else 0)


if __name__ == "__main__":
    main()
