"""From what a task asks for to the offerings it could run on, as arrays the optimizer takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sky_core.catalog import Catalog
from sky_core.errors import NoFeasibleOffering
from sky_core.estimate import estimate_hours
from sky_core.planner.plan import Block, Placement
from sky_core.spec import Task
from sky_core.store import Run
from sky_core.tracker import Tracker, checkpoint_interval, expected_overhead, offering_of

if TYPE_CHECKING:
    import polars as pl

# Hours from the launch call to the first line of set-up, charged to every placement: a coarse figure for the three
# clouds' current images (1 to 4 minutes); the changeover of recovery policies is measured instead.
BOOT_HOURS = 0.05
CHECKPOINT_HOURS = 0.5 / 60  # to take one: what BERT's 1.5 GB took (dissertation, section 4.2.1.3), until measured

Location = tuple[str, str]  # cloud, region


@dataclass(frozen=True)
class Candidates:
    """The C offerings one task may run on.

    Attributes:
        placements: C placements with their own cost and time, egress not yet counted.
        cost: (C,) USD of running there.
        hours: (C,) boot and run time.
        worst: (C,) ``cost`` at worst, as far as it hangs on how long the task takes there.
        first: (C,) whether it is where the task's first run was made.
        locations: C (cloud, region) pairs.
    """

    placements: tuple[Placement, ...]
    cost: np.ndarray
    hours: np.ndarray
    worst: np.ndarray
    first: np.ndarray

    @property
    def locations(self) -> list[Location]:
        return [placement.location for placement in self.placements]

    def only(self, keep: np.ndarray) -> Candidates:
        """Those where ``keep`` (C,) is true."""
        return Candidates(
            tuple(placement for placement, kept in zip(self.placements, keep, strict=True) if kept),
            self.cost[keep],
            self.hours[keep],
            self.worst[keep],
            self.first[keep],
        )


def pinned(placement: Placement, hours: float | None = None) -> Candidates:
    """The one candidate of a task that already runs, or ran, there, and still needs ``hours`` (None: all of its time).

    Its inputs have arrived: no egress is left.
    """
    left = placement.expected_hours if hours is None else hours
    cost = np.array([placement.compute_usd])
    return Candidates((placement,), cost, np.array([left]), worst=cost, first=np.array([True]))


def candidates_of(
    task: Task,
    catalog: Catalog,
    clouds: Sequence[str],
    *,
    blocked: Sequence[Block] = (),
    history: Mapping[str, Sequence[Run]] | None = None,
    tracker: Tracker | None = None,
) -> Candidates:
    """All offerings of ``clouds`` that satisfy the task and are not blocked.

    Spot machines cost and take more by what preemptions are expected to add, as far as ``tracker`` knows them. The
    likeliest to be had come first: the optimizer breaks ties by that order, and zones of a region often cost the same.

    A task that may use spot may also run on demand: where no spot machine is to be had, or none has a known
    price, the on-demand one is what keeps the pipeline going.

    Raises:
        UnknownAccelerator, NoFeasibleOffering: from the catalog; the latter also if all is blocked.
    """
    frame = _offerings(task, catalog, clouds)
    runs = (history or {}).get(task.name, ())
    estimate = estimate_hours(task, frame, runs)
    known = tracker or Tracker((), now=0.0)
    rated: list[tuple[float, Placement, float]] = []
    times = zip(estimate.hours.tolist(), estimate.worst.tolist(), estimate.at_most.tolist(), strict=True)
    for row, (hours, worst, at_most) in zip(frame.iter_rows(named=True), times, strict=True):
        if not np.isfinite(hours):
            continue  # the task cannot run there
        offering = offering_of(row, use_spot=row["use_spot"])
        overhead = _overhead(task, hours, known.preemptions_per_hour(offering))
        if math.isfinite(overhead):
            placement = _placement(task, row, (hours, at_most), overhead, estimate.source)
            extra = placement.price * placement.num_nodes * (1 + overhead) * (worst - hours)
            rated.append((known.chance(offering), placement, placement.compute_usd + extra))
    rated.sort(key=lambda entry: -entry[0])
    free = [entry for entry in rated if not is_blocked(entry[1], blocked)]
    if not free:
        reasons = sorted({block.reason for block in blocked if block.reason})
        raise NoFeasibleOffering(
            task.name,
            "capacity",
            [placement.machine for _, placement, _ in rated[:3]],
            f"Task.{task.name}: none of its {len(rated)} offerings is to be had now: {'; '.join(reasons)}",
            cure="allow more regions, clouds or accelerators, or try again later",
        )
    placements = tuple(placement for _, placement, _ in free)
    return Candidates(
        placements,
        cost=np.array([placement.compute_usd for placement in placements]),
        hours=np.array([placement.expected_hours for placement in placements]),
        worst=np.array([worst for _, _, worst in free]),
        first=np.array([bool(runs) and _made_there(runs[0], placement) for placement in placements]),
    )


def _made_there(run: Run, placement: Placement) -> bool:
    fields = ("cloud", "region", "instance_type", "accelerator", "use_spot")
    return all(getattr(run, field) == getattr(placement, field) for field in fields)


def _offerings(task: Task, catalog: Catalog, clouds: Sequence[str]) -> pl.DataFrame:
    """The catalog's answer with columns ``use_spot`` and ``rate`` (USD per hour in that market)."""
    import polars as pl

    markets = {"spot_price": True, "price": False} if task.resources.use_spot else {"price": False}
    frames: list[pl.DataFrame] = []
    refusal: NoFeasibleOffering | None = None
    for column, use_spot in markets.items():
        resources = task.resources.model_copy(update={"use_spot": use_spot})
        try:
            found = catalog.query(resources, task=task.name, clouds=clouds)
        except NoFeasibleOffering as error:
            refusal = error  # some shapes are sold in one market only
            continue
        found = found.with_columns(use_spot=pl.lit(use_spot), rate=pl.col(column))
        frames.append(found.filter(pl.col("rate").is_not_null()))
    if not frames:
        assert refusal is not None
        raise refusal
    return pl.concat(frames)


def _overhead(task: Task, hours: float, rate: float) -> float:
    """Expected extra hours per hour of work at ``rate`` preemptions per hour; infinite if it would never finish."""
    if rate == 0:
        return 0.0
    if task.checkpoint is None:
        return expected_overhead(hours, rate, changeover_hours=BOOT_HOURS, checkpoint_hours=None)
    interval = task.checkpoint.interval or checkpoint_interval(CHECKPOINT_HOURS, rate)
    # Checkpoints are synced while the task goes on and cost no time; the work since the last one is what is lost.
    return expected_overhead(hours, rate, changeover_hours=BOOT_HOURS, checkpoint_hours=0.0, interval_hours=interval)


def _placement(
    task: Task, row: Mapping[str, Any], times: tuple[float, float], overhead: float, source: str
) -> Placement:
    rate, (hours, at_most) = float(row["rate"]), times
    return Placement(
        task=task.name,
        cloud=row["cloud"],
        region=row["region"],
        zone=row["zone"],
        instance_type=row["instance_type"],
        accelerator=row["accelerator"],
        accelerator_count=row["accelerator_count"] or 0,
        arch=row["arch"] or "x86_64",
        use_spot=row["use_spot"],
        num_nodes=task.num_nodes,
        price=rate,
        hours=hours,
        hours_at_most=at_most,
        hours_source=source,
        boot_hours=BOOT_HOURS,
        overhead=overhead,
        compute_usd=(hours * (1 + overhead) + BOOT_HOURS) * rate * task.num_nodes,
    )


def is_blocked(placement: Placement, blocked: Sequence[Block]) -> bool:
    """Whether any of the blocks covers the placement."""
    wanted = (block.model_dump(exclude={"reason", "until"}, exclude_none=True) for block in blocked)
    return any(all(getattr(placement, field) == value for field, value in fields.items()) for fields in wanted)


def freeze_hours(task: Task, catalog: Catalog, clouds: Sequence[str]) -> Task:
    """The task with an estimate that can be stored: a function of the candidate becomes a table of its values.

    The table goes by accelerator where there is one, else by instance type, the median where they differ.
    """
    if not callable(task.hours):
        return task
    frame = _offerings(task, catalog, clouds)
    estimate = estimate_hours(task, frame, ())
    values: dict[str, list[float]] = {}
    for row, hours in zip(frame.iter_rows(named=True), estimate.hours, strict=True):
        accelerator = row["accelerator"]
        key = f"{accelerator}:{row['accelerator_count']:g}" if accelerator else row["instance_type"]
        values.setdefault(key, []).append(float(hours))
    return task.model_copy(update={"hours": {key: float(np.median(found)) for key, found in values.items()}})
