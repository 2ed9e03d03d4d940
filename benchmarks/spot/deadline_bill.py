"""Jobs with deadlines on replayed spot traces: real machines and bills of the sandbox beside the simulator's.

    python benchmarks/spot/deadline_bill.py [--traces FOLDER]

Three jobs of six hours with ten hours to go, each in a zone of its own whose capacity follows a trace at 360 times its
speed: no spot at all, and two stretches of recorded availability (:mod:`lab.reference`). The broker leads
them with the default policy. The simulator then runs the same policy on the same traces, with the changeover that was
measured. Exit code 1 if a job is late or a bill off by more than 5%.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.spot import replayed
from benchmarks.spot.replayed import GAP_S, Result, Stretch
from lab import reference
from lab.traces import Traces
from sky_core import Resources
from sky_core.broker import Broker
from sky_core.config import Settings
from sky_core.job.narrate import describe
from sky_sandbox import client

DATA = reference.REFERENCE / "spot-traces/availability/aws-2022-10-26"
HOURS_PER_SECOND = 0.1
WORK, DEADLINE = 6.0, 10.0  # hours
TYPE = "m5.large"
TICKS = round(DEADLINE * 3600 / GAP_S) + 30
# Stretches on which the simulator's own bill hardly hangs on whether a start takes 0.15 or 0.26 h: elsewhere a decision
# that falls a look earlier or later changes the bill by 10%, and the comparison would measure luck.
STRETCHES = {"us-east-1b": ("us-west-2a_k80_8", 2220), "us-east-1c": ("us-west-2a_v100_1", 2800)}
WITHIN = 0.05


def replay(
    broker: Broker,
    fate: client.Control,
    up: Mapping[str, Sequence[bool]],
    work: float = WORK,
    deadline: float = DEADLINE,
) -> dict[str, Result]:
    """Run one job in each zone while its capacity follows ``up``, values each GAP_S seconds; results by zone."""
    stretches = {zone: Stretch(in_zone(zone), {f"aws/{zone}": up[zone]}, work, deadline) for zone in up}
    return replayed.replay(broker, fate, stretches)


def in_zone(zone: str) -> Resources:
    """One zone, spot if possible."""
    return Resources(cloud="aws", zone=zone, instance_type=TYPE, use_spot=True)


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
