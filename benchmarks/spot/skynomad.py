"""Our cost beside SkyNomad's, cell by cell, on the traces that its authors published (NSDI'27).

    python benchmarks/spot/skynomad.py FOLDER [--policies skyloom uniform-progress] [--sight asked] [--windows]
    python benchmarks/spot/skynomad.py FOLDER --shift 25.9 [--sight asked told] [--moved over]
    python benchmarks/spot/skynomad.py FOLDER --picture FILE

FOLDER holds ``h100.json``, ``v100.json``, ``moving.json`` and ``reference.json``: availability and prices by zone, what
moving costs, and what the artifact's policies cost (github.com/andylizf/skynomad-artifact, Apache-2.0, copyright 2026
the SkyNomad authors; traces of Google Cloud and AWS collected by them).

The setting is theirs: one machine, every start takes 0.2 h, a start in another region longer by the transfer, and
egress from where the checkpoint was last. A launch is the probe: spot is taken to be in a zone unless it was refused or
taken there within ten minutes; with ``--sight told`` every zone's state is known. Refusals cost nothing and are
counted. Everything is run twice: in their simulator a checkpoint is in a zone once a start there has begun
(``--moved begun``), and so it is in what they published; really it is once that start is over (``--moved over``), so
that whoever cuts a move short makes it and pays for it again. ``--shift`` takes windows that begin so many hours later,
on to the end of the traces: nothing is published for them, so their optimum is worked out here. ``--picture`` draws the
second window of the cell with 200 GB, as ``skyloom spot explain`` draws real jobs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lab.hindsight import hindsight_cost
from lab.retell import retell
from lab.simulate import Move, Moved, Sight, SpotJob, simulate
from lab.traces import Traces
from sky_core.job.story import Story
from sky_core.job.story_picture import svg
from sky_core.recovery import make_policy

GROUPS = {"h100_deadlines": "h100", "h100_checkpoints": "h100", "v100_three_zones": "v100"}

DRAWN_GB = 200


@dataclass(frozen=True)
class Cloud:
    """The traces of one kind of machine, and what moving between its zones takes.

    Attributes:
        prices: Zone to USD per hour of spot, for each tick.
        usd_per_gb: (from, to) to the egress.
        hours_per_gb: (from, to) to the hours that a start takes longer.
    """

    traces: Traces
    prices: dict[str, np.ndarray]
    on_demand: dict[str, float]
    usd_per_gb: dict[tuple[str, str], float]
    hours_per_gb: dict[tuple[str, str], float]

    def job(self, cell: Mapping[str, Any], start_hour: float, moved: Moved = "begun") -> tuple[Traces, SpotJob]:
        """A job of a cell, from an hour on."""
        zones, gb, start = cell["zones"], cell["checkpoint_gb"], round(start_hour / self.traces.step)
        traces = Traces(self.traces.step, {zone: self.traces.up[zone][start:] for zone in zones})
        moves = {pair: Move(usd * gb, self.hours_per_gb[pair] * gb) for pair, usd in self.usd_per_gb.items()}
        prices = {zone: self.prices[zone][start:] for zone in zones}
        on_demand = {zone: self.on_demand[zone] for zone in zones}
        work, deadline = cell["work_hours"], cell["deadline_hours"]
        return traces, SpotJob(work, deadline, 0.2, prices, on_demand, moves=moves, moved=moved)


def load(folder: Path, kind: str) -> Cloud:
    """``kind`` is ``h100`` or ``v100``."""
    about = json.loads((folder / f"{kind}.json").read_text())
    moving = json.loads((folder / "moving.json").read_text())
    zones: dict[str, Any] = about["zones"]
    up = {zone: np.array([mark == "1" for mark in its["available"]]) for zone, its in zones.items()}
    runs = {
        zone: its.get("spot_price_runs") or [[its["spot_usd_per_hour"], len(up[zone])]] for zone, its in zones.items()
    }
    prices = {zone: np.repeat(*np.array(run).T[:1], np.array(run)[:, 1].astype(int)) for zone, run in runs.items()}
    on_demand = {
        zone: its.get("on_demand_usd_per_hour") or about["on_demand_usd_per_hour"] for zone, its in zones.items()
    }
    extra = moving["extra_hours_per_gb"]
    relation = {(a, b): kind for a, row in moving["relation"][kind].items() for b, kind in row.items()}
    return Cloud(
        Traces(about["tick_seconds"] / 3600, up), prices, on_demand,
        {(a, b): usd for a, row in moving["usd_per_gb"][kind].items() for b, usd in row.items()},
        {pair: extra[how] for pair, how in relation.items()},
    )  # fmt: skip


def _story(cloud: Cloud, cell: dict[str, Any]) -> Story:
    return retell(make_policy("skyloom"), *cloud.job(cell, cell["windows"][1]["start_hour"]))


def main() -> None:
    """Print every cell that the reference gives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--policies", nargs="+", default=["skyloom"])
    parser.add_argument("--sight", choices=("asked", "told"), nargs="+", default=["asked"])
    parser.add_argument("--moved", choices=("begun", "over"), nargs="+", default=["begun", "over"])
    parser.add_argument("--windows", action="store_true", help="each window of a cell as well")
    parser.add_argument("--shift", type=float, help="hours; windows between the published ones")
    parser.add_argument("--picture", type=Path, help="only draw one job, as SVG")
    options = parser.parse_args()
    reference = json.loads((options.folder / "reference.json").read_text())
    if options.picture:
        cell = next(cell for cell in reference["h100_checkpoints"] if cell["checkpoint_gb"] == DRAWN_GB)
        options.picture.write_text(svg(_story(load(options.folder, "h100"), cell)))
        return
    begun, cells = time.process_time(), list[Cell]()
    clouds = {kind: load(options.folder, kind) for kind in GROUPS.values()}
    for moved, (group, kind) in itertools.product(options.moved, GROUPS.items()):
        print(f"{group}, moved once {moved}: deadline over work, GB; USD per job, and over the optimum of hindsight")
        for cell in reference[group]:
            shown = cell if options.shift is None else _shifted(clouds[kind], cell, options.shift, moved)
            cells += _print_cell(clouds[kind], shown, moved, options)
    _sum_up(cells)
    print(f"{time.process_time() - begun:.0f} CPU seconds")


@dataclass(frozen=True)
class Cell:
    """What a policy costs in a cell, USD a job; ``published`` is SkyNomad's there, None between its windows. Its
    ``decisions`` took so many CPU seconds, the tables and the simulator included.
    """

    name: str
    policy: str
    usd: Mapping[Sight, float]
    late: int
    published: float | None
    decisions: int
    seconds: float


def _sum_up(cells: Sequence[Cell]) -> None:
    """Say in which cells a policy is dearer than SkyNomad, and dearer told every zone's state than asking."""
    for policy in dict.fromkeys(cell.policy for cell in cells):
        its = [cell for cell in cells if cell.policy == policy]
        dearer = [cell.name for cell in its if cell.published and cell.usd.get("asked", 0.0) > cell.published]
        worse = [cell.name for cell in its if len(cell.usd) > 1 and cell.usd["told"] > cell.usd["asked"]]
        each = sum(cell.seconds for cell in its) / sum(cell.decisions for cell in its)
        print(f"{policy}: {sum(cell.late for cell in its)} jobs late, {each * 1e3:.2f} CPU ms a decision")
        print(f"  dearer than SkyNomad, asking: {', '.join(dearer) or 'nowhere'}")
        if any(len(cell.usd) > 1 for cell in its):
            print(f"  dearer told than asking: {', '.join(worse) or 'nowhere'}")


def _shifted(cloud: Cloud, cell: dict[str, Any], shift: float, moved: Moved) -> dict[str, Any]:
    """The cell with windows end to end from ``shift`` on, and their optimum by our own dynamic program."""
    length, ends = cell["deadline_hours"], cloud.traces.ticks * cloud.traces.step
    starts = np.arange(shift, ends - length, length).tolist()
    tick = round(cloud.traces.step * 3600)
    unit_s = max(unit for unit in range(1, 121) if tick % unit == 0)
    best = [hindsight_cost(*cloud.job(cell, start, moved), unit_s=unit_s) for start in starts]
    return {
        **cell,
        "windows": [{"start_hour": start, "optimal": usd} for start, usd in zip(starts, best, strict=True)],
    }


def _print_cell(cloud: Cloud, cell: dict[str, Any], moved: Moved, options: argparse.Namespace) -> list[Cell]:
    ends = cloud.traces.ticks * cloud.traces.step
    windows = [w for w in cell["windows"] if w["start_hour"] + cell["deadline_hours"] <= ends + 1e-6]
    best = float(np.mean([window["optimal"] for window in windows]))
    theirs = None if options.shift is not None else float(np.mean([window["skynomad"] for window in windows]))
    print(f"  {cell['deadline_over_work']:4} {cell['checkpoint_gb']:5.0f} GB, {len(windows)} windows", end="")
    print("" if theirs is None else f" | skynomad {theirs:8.2f} {theirs / best:.3f}", end="")
    cells = []
    for name in options.policies:
        usd: dict[Sight, float] = {}
        tardy, decisions, begun = 0, 0, time.process_time()
        for sight in options.sight:
            jobs = [
                simulate(make_policy(name), *cloud.job(cell, window["start_hour"], moved), sight=sight)
                for window in windows
            ]
            late = sum(job.finish > cell["deadline_hours"] + 1e-6 for job in jobs)
            cost = usd[sight] = float(np.mean([job.cost for job in jobs]))
            tardy += late
            decisions += sum(round(job.finish / cloud.traces.step) + job.refusals for job in jobs)
            beside = "" if theirs is None else f" (x {cost / theirs:.3f})"
            refused, starts = (np.mean([getattr(job, what) for job in jobs]) for what in ("refusals", "changeovers"))
            print(f" | {name} {sight} {cost:8.2f} {cost / best:.3f}{beside} late {late}", end="")
            print(f" refused {refused:.0f} starts {starts:.1f}", end="", flush=True)
            if options.windows and options.shift is None:
                for window, job in zip(windows, jobs, strict=True):
                    published = " ".join(f"{who} {window[who]:.2f}" for who in ("optimal", "skynomad"))
                    print(f"\n      {window['start_hour']:6.1f} h: {published} ours {job.cost:.2f}"
                          f" egress {job.egress:.2f}", end="")  # fmt: skip
        title = f"{cell['deadline_over_work']} {cell['checkpoint_gb']:.0f} GB moved once {moved}"
        cells.append(Cell(title, name, usd, tardy, theirs, decisions, time.process_time() - begun))
    print()
    return cells


if __name__ == "__main__":
    main()
