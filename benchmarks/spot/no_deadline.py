"""Jobs without a deadline: our policy against a restart in the next best place, on recorded availability.

    python benchmarks/spot/no_deadline.py [--starts 12]

Jobs of 12 hours with checkpoints, from ticks on which nothing was tuned; price ratio 3.14, a changeover of 0.2 h. An
hour until the end is worth a share of the spot price. The next best place is what a job without a policy takes: spot
where there is some, the cheapest first, else on-demand, and there it stays until that is taken from it. Nobody is told
the zones' states: both see what their launches show.

The exit code is 1 unless ours costs less, the weight of time included, in each row.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab import reference
from lab.simulate import SpotJob, simulate
from lab.traces import Traces
from sky_core.recovery import Decision, Situation, make_policy
from sky_core.recovery.patience import time_to_end
from sky_core.recovery.reference import on_demand, on_spot

DATA = reference.REFERENCE / "spot-traces" / "availability"
UNTUNED_FROM = {"aws-2022-10-26": 1781, "aws-2023-02-15": 5000}
WORK, CHANGEOVER, RATIO, EGRESS = 12.0, 0.2, 3.06 / 0.9731, 0.5
LONGEST_H = 6 * WORK
WEIGHTS = (0.1, 0.5, 1.0, 3.0)  # an hour, in hours of spot


class NextBest:
    """Spot where it is cheapest, else on-demand; it leaves neither by itself."""

    def decide(self, situation: Situation) -> Decision:
        """Where the job is, if it is anywhere."""
        spot = None if situation.state == "on_demand" else on_spot(situation)
        return spot or on_demand(situation)


@dataclass(frozen=True)
class Case:
    """A job that begins at a tick of some zones' traces, and what its time is worth."""

    traces: Traces
    start: int
    hour_usd: float


def run(case: Case) -> tuple[float, ...]:
    """USD and hours of ours and of the next best place."""
    zones = case.traces.up
    job = SpotJob(
        WORK, time_to_end(WORK), CHANGEOVER, dict.fromkeys(zones, 1.0), dict.fromkeys(zones, RATIO),
        migration=EGRESS, hour_usd=case.hour_usd,
    )  # fmt: skip
    found: list[float] = []
    for policy in (make_policy(), NextBest()):
        ended = simulate(policy, case.traces, job, case.start, sight="asked")
        found += [ended.cost, ended.finish]
    return tuple(found)


def sets() -> dict[str, list[Traces]]:
    """Name to zones that a job may choose from."""
    found = {}
    for folder, cut in UNTUNED_FROM.items():
        files = {path.stem: path for path in sorted((DATA / folder).glob("*.json"))}
        alone = [Traces.load({zone: path}) for zone, path in files.items()]
        found[f"{folder}, each zone alone"] = [traces.between(cut, traces.ticks) for traces in alone]
    together = Traces.load(files)
    found["aws-2023-02-15, five zones"] = [together.between(cut, together.ticks)]
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a restart in the next best place is better anywhere."""
    parser = argparse.ArgumentParser(description="Jobs without a deadline.")
    parser.add_argument("--starts", type=int, default=12, help="of each set of zones")
    asked = parser.parse_args(words)
    better = True
    with multiprocessing.get_context("spawn").Pool() as pool:
        for name, group in sets().items():
            for weight in WEIGHTS:
                cases = [Case(traces, start, weight) for traces in group for start in starts(traces, asked.starts)]
                usd, hours, next_usd, next_hours = np.array(pool.map(run, cases, chunksize=2)).mean(axis=0)
                ratio = (usd + weight * hours) / (next_usd + weight * next_hours)
                better = better and ratio < 1
                print(
                    f"{name}, an hour is worth {weight:g}: ours {usd:.2f} in {hours:.1f} h, next best place"
                    f" {next_usd:.2f} in {next_hours:.1f} h: {ratio:.3f} x, time included",
                    flush=True,
                )
    print("better in each row" if better else "NOT better in each row")
    return 0 if better else 1


def starts(traces: Traces, count: int) -> list[int]:
    """Ticks that leave a job time to end, spread evenly."""
    return np.linspace(0, traces.ticks - round(LONGEST_H / traces.step) - 1, count).astype(int).tolist()


if __name__ == "__main__":
    sys.exit(main())
