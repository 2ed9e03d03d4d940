"""Elastic gangs beside fixed ones with checkpoint and restart, on a recorded number of spot machines.

    python benchmarks/spot/elastic.py TRACE

TRACE is a file of github.com/skypilot-org/spot-traces with several machines, as
``preemption/aws-2023-08-03-4-node/us-east-2a_v100_1.json``. Jobs of 40 machine hours that start every six hours; a
start takes 0.2 h; machines at the prices of a V100. Each figure is a mean over the starts: USD, hours, and USD with the
hours priced.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lab.elastic import ON_DEMAND, SPOT, Choose, Ran, elastic, fixed, fixed_with_on_demand, run
from lab.traces import read_trace
from sky_core.recovery.elastic import Job, amdahl

PRICES = {SPOT: 0.9731, ON_DEMAND: 3.06}
WORK, START, LONGEST = 40.0, 0.2, 200.0  # hours


def main() -> None:
    """Print a table for every curve and price of an hour."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace", type=Path)
    gap_s, counts = read_trace(parser.parse_args().trace)
    step, most = gap_s / 3600, max(counts)
    policies: dict[str, Choose] = {
        "elastic": elastic(PRICES, most),
        f"fixed gang of {most} on spot, waits": fixed(most),
        f"fixed gang of {most}, else on-demand": fixed_with_on_demand(most),
        "one machine on spot, waits": fixed(1),
    }
    for serial in (0.05, 0.2):
        for hour_usd in (0.0, 0.5, 2.0, 10.0):
            job = Job(WORK, START, amdahl(serial), hour_usd, most)
            print(f"serial share {serial}, an hour is worth ${hour_usd}")
            for name, choose in policies.items():
                ran = _all(choose, counts, step, job)
                usd, hours, worth = np.mean([(one.usd, one.hours, one.worth(hour_usd)) for one in ran], axis=0)
                print(f"  {name:36} ${usd:7.2f} {hours:6.1f} h  together ${worth:7.2f}")


def _all(choose: Choose, counts: list[int], step: float, job: Job) -> list[Ran]:
    starts = range(0, len(counts) - round(LONGEST / step), round(6 / step))
    return [run(choose, counts[start:], step, job, PRICES) for start in starts]


if __name__ == "__main__":
    main()
