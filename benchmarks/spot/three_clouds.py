"""Jobs that move over three clouds on replayed spot traces: the sandbox's machines and bills beside the simulator's.

    python benchmarks/spot/three_clouds.py [--traces FOLDER] [--hours-per-second 0.05]

Three jobs of four hours with seven hours to go and a checkpoint of 2 GB (2 MB here), each with a zone of AWS, one of
Google's and a region of Azure that sell a V100, whose capacity follows three recorded traces (:mod:`lab.reference`); a
second counts as 0.05 hours, or less on a busy machine. A fourth, of five hours, begins where it is dear, as there is
no spot elsewhere, and finds spot at half the price later. The broker leads them with the default policy. The simulator
then runs the same policy on the same traces, with the starts that were measured. Exit code 1 if a job is late, goes
elsewhere than the simulator's, or has a bill off by more than 5%.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.spot.replayed import GAP_S, Result, Stretch, replay
from lab import reference
from lab.traces import read_trace
from sky_core import Pipeline, Resources, Task
from sky_core.broker import Broker
from sky_core.config import Settings
from sky_core.job.narrate import describe
from sky_sandbox import client

DATA = reference.REFERENCE / "spot-traces/availability/aws-2022-10-26"
HOURS_PER_SECOND = 0.05
SANDBOX = {"gb_per_mb": 1.0, "boot_s": 0.1, "aws_notice_s": 1, "gcp_notice_s": 1, "azure_notice_s": 1}
WORK, DEADLINE, GB = 4.0, 7.0, 2.0
LONG = 5.0  # so that the job that starts second-best costs the same within 5% whether starts take 0.03 or 0.12 h
TICKS = round(DEADLINE * 3600 / GAP_S) + 30
TRACES = ("us-west-2a_k80_1", "us-west-2a_v100_1", "us-west-2a_k80_8")  # for AWS, Google's and Azure
PLACES = (
    ("aws/us-east-2a", "gcp/us-central1-a", "azure/eastus"),
    ("aws/us-east-2b", "gcp/us-central1-b", "azure/eastus2"),
    ("aws/us-east-1c", "gcp/us-central1-c", "azure/westus3"),
)
# Where the traces begin. As for single zones they are stretches on which the simulated job goes the same way whether
# starts take 0.03 or 0.18 h, and whether it begins at once or 0.2 h later; none hangs on spot of a single tick.
BEGINS = (426, 1694, 959)
WITHIN = 0.05


def over(places: Sequence[str]) -> Resources:
    """A V100 in any of these places, spot if possible."""
    return Resources(accelerators="V100:1", use_spot=True, any_of=tuple(_place(place) for place in places))


def _place(place: str) -> Resources:
    cloud, _, name = place.partition("/")
    where = {"region": name} if cloud == "azure" else {"zone": name}
    return Resources(accelerators="V100:1", use_spot=True, cloud=cloud, **where)


def second_best(places: Sequence[str], work: float = LONG, deadline: float = DEADLINE) -> Stretch:
    """Only Google's zone, the dearest, has spot at first; AWS's has it from the third tick on."""
    aws, gcp, azure = places
    up = {aws: [False] * 2 + [True] * TICKS, gcp: [True] * TICKS, azure: [False] * TICKS}
    return Stretch(over(places), {place: values[:TICKS] for place, values in up.items()}, work, deadline, GB)


def warm(broker: Broker) -> None:
    """Have a driver up that has loaded every cloud's SDK: on a busy host that takes as long as hours here."""
    small = {"aws": ("eu-west-1", "t3.small"), "gcp": ("europe-west1", "e2-standard-2"),
             "azure": ("westeurope", "Standard_B2s")}  # fmt: skip
    jobs = []
    for cloud, (region, kind) in small.items():
        where = Resources(cloud=cloud, region=region, instance_type=kind)
        task = Task(name=cloud, run="true", hours=0.1, resources=where)
        broker.plan(f"warm-{cloud}", Pipeline(name=f"warm-{cloud}", tasks=(task,)))
        jobs.append(broker.submit(f"warm/{cloud}", task, f"warm-{cloud}"))
    with ThreadPoolExecutor() as pool:
        assert {job.state for job in pool.map(lambda job: broker.watch(job.id), jobs)} == {"succeeded"}


def main() -> None:
    """Run the jobs side by side and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=Path, default=DATA, help="folder of recorded traces")
    parser.add_argument("--hours-per-second", type=float, default=HOURS_PER_SECOND)
    options = parser.parse_args()
    recorded = [read_trace(options.traces / f"{name}.json")[1] for name in TRACES]
    stretches = {"second-best": second_best(("aws/us-east-1a", "gcp/us-east1-c", "azure/westus2"))}
    for number, (places, begin) in enumerate(zip(PLACES, BEGINS, strict=True), 1):
        up = {
            place: [count > 0 for count in counts[begin : begin + TICKS]]
            for place, counts in zip(places, recorded, strict=True)
        }
        stretches[f"stretch-{number}"] = Stretch(over(places), up, WORK, DEADLINE, GB)
    home = Path(tempfile.mkdtemp(prefix="skyloom-"))
    fate = client.up(home, attached=True, hours_per_second=options.hours_per_second, **SANDBOX)
    os.environ.update(SKYLOOM_HOME=str(home), SKYLOOM_PROFILE="sandbox")
    try:
        broker = Broker(Settings.load())
        warm(broker)
        begin_s = time.time()
        results = replay(broker, fate, stretches)
        for name, result in results.items():
            _tell(broker, name, stretches[name], result, begin_s)
    finally:
        client.down(home)
        shutil.rmtree(home, ignore_errors=True)
    late = [name for name, result in results.items() if result.finish > DEADLINE or result.job.state != "succeeded"]
    astray = [name for name, result in results.items() if result.stays != result.simulated_stays]
    off = max(abs(result.off) for result in results.values())
    print(f"\n{len(late)} of {len(results)} late; gone elsewhere than simulated: {', '.join(astray) or 'none'};"
          f" bills off by at most {off:.1%} (asked: {WITHIN:.0%})")  # fmt: skip
    sys.exit(1 if late or astray or off > WITHIN else 0)


def _tell(broker: Broker, name: str, stretch: Stretch, result: Result, begin_s: float) -> None:
    print(f"\n{name}")
    for zone, values in stretch.up.items():
        print(f"  {zone:22} {''.join('#' if value else '.' for value in values)}")
    for event in broker.store.events(result.job.id):
        print(f"  {broker.settings.scale.hours(event.at - begin_s):5.2f} h  {describe(event)[:110]}")
    for what, stays in (("stays", result.stays), ("simulated", result.simulated_stays)):
        print(f"  {what}: {', '.join(f'{state} {zone}' for state, zone in stays)}")
    print(f"  {result.job.state} after {result.finish:.2f} of {DEADLINE} h; ${result.usd:.4f}, simulated"
          f" ${result.simulated_usd:.4f} ({result.off:+.1%}); starts {result.changeovers}")  # fmt: skip


if __name__ == "__main__":
    main()
