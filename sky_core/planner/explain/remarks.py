"""What whoever reads a plan should know before paying for it: machines that end, old prices, estimates of nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime

import numpy as np
import polars as pl

from sky_core.catalog import Catalog
from sky_core.catalog.facts import labels_of
from sky_core.catalog.names import squeeze
from sky_core.catalog.usual import OLD, retires, spot_day
from sky_core.planner.alternatives import alternative, queue_hours
from sky_core.planner.candidates import Candidates, Shelf
from sky_core.planner.capacity import ending
from sky_core.planner.plan import Placement, Span
from sky_core.spec import Pipeline, Task


def remarks(pipeline: Pipeline, placements: Mapping[str, Placement], catalog: Catalog) -> tuple[str, ...]:
    """One sentence each, without a full stop."""
    today = datetime.now(UTC).date()
    return (
        *_estimates(pipeline),
        *_elastic(placements.values()),
        *_queues(pipeline, placements),
        *_ends(placements.values(), today),
        *_old_prices(placements.values(), catalog, today),
    )


def too_short(
    wanted: Mapping[str, Candidates], placements: Mapping[str, Placement], schedule: Mapping[str, Span], now: float
) -> Iterator[str]:
    """Reservations that a task would fit in, but for their end."""
    for name, candidates in wanted.items():
        starts = now + 3600 * schedule[name].start
        for row in np.flatnonzero(starts + 3600 * candidates.at_most > candidates.ends).tolist():
            place = candidates.placement(row, name)
            if place.reservation != placements[name].reservation:
                yield f"{name}: {ending(place)}, before it would be done: {candidates.at_most[row]:.3g} h at most"


def left_alone(pipeline: Pipeline, shelf: Shelf, placements: Mapping[str, Placement]) -> Iterator[str]:
    """Reservations that a task would fit in, but for what they have refused lately."""
    for block in shelf.blocked:
        if not block.reservation:
            continue
        fits = (task for task in pipeline.tasks if placements[task.name].reservation != block.reservation)
        names = [task.name for task in fits if block.num_nodes <= task.num_nodes and shelf.sells(task, block)]
        if names:
            until = datetime.fromtimestamp(block.until, UTC)
            yield f"{some(names)}: {block.reservation} is left alone until {until:%Y-%m-%d %H:%M} UTC: {block.reason}"


def _estimates(pipeline: Pipeline) -> Iterable[str]:
    """Tables of hours that do not fit what is asked for: a slip of the pen, most of the time."""
    for task in pipeline.tasks:
        asked = [name for name, _ in task.resources.accelerators]
        if not (isinstance(task.hours, Mapping) and asked) or any(key.startswith("cloud:") for key in task.hours):
            continue
        told = {squeeze(key.partition(":")[0]) for key in task.hours}
        unused = [key for key in task.hours if not _asked_for(key, task)]
        missing = [name for name in asked if squeeze(name) not in told]
        if unused and missing:  # hours may also be told by machine type: then nothing is amiss
            yield f"{task.name}: hours has {', '.join(unused)}, which accelerators does not ask for"
        if missing:
            yield f"{task.name}: hours says nothing of {', '.join(missing)}, which is left out for that"


def _elastic(placements: Iterable[Placement]) -> Iterable[str]:
    """What may become of an elastic gang: the plan counts with all machines, all the time."""
    for place in placements:
        if place.changing:
            yield (
                f"{place.task}: {place.num_nodes} on demand and up to {place.changing} on spot, as it pays: "
                f"${place.compute_usd:.2f} and {place.hours:.2f} h with all of them, up to ${place.usd_at_most:.2f} "
                f"and {place.hours * (1 + place.changing / place.num_nodes):.2f} h if spot is never to be had"
            )


def _queues(pipeline: Pipeline, placements: Mapping[str, Placement]) -> Iterable[str]:
    """Waits that are longer than what the cloud's queue takes."""
    for task in pipeline.tasks:
        place = placements[task.name]
        wanted, longest = alternative(task.resources, place).queue, queue_hours(task.resources, place)
        if wanted is not None and 0 < longest < wanted:
            kind = f"{place.cloud} {place.instance_type}"
            yield f"{task.name}: queue is {wanted:g} h, and {kind} is waited for {longest:g} h at most"


def _asked_for(key: str, task: Task) -> bool:
    return squeeze(key.partition(":")[0]) in {squeeze(name) for name, _ in task.resources.accelerators}


def _ends(placements: Iterable[Placement], today: date) -> Iterable[str]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for place in placements:
        day = retires(labels_of(place.cloud, place.instance_type, place.accelerator))
        if day is not None:
            found[f"{place.cloud} {place.instance_type}", day].append(place.task)
    for (machine, day), tasks in found.items():
        ended = day <= today.isoformat()
        yield f"{some(tasks)}: {machine} {'was retired' if ended else 'retires'} on {day} by what its cloud announced"


def _old_prices(placements: Iterable[Placement], catalog: Catalog, today: date) -> Iterable[str]:
    kinds = {(place.cloud, place.region, place.instance_type) for place in placements if place.use_spot}
    oldest: dict[str, date] = {}
    for cloud, region, instance_type in sorted(kinds):
        here = (pl.col("cloud") == cloud) & (pl.col("region") == region) & (pl.col("instance_type") == instance_type)
        day = catalog.table.filter(here)["as_of"].max()
        if not isinstance(day, date):
            continue
        told = spot_day(cloud, day)
        if today - told > OLD:
            oldest[cloud] = min(told, oldest.get(cloud, told))
    for cloud, day in oldest.items():
        floor = f"; none is taken to be below {catalog.usual.spot_floor:.0%} of on demand" if catalog.usual else ""
        yield f"spot prices of {cloud} are of {day}, {(today - day).days} days old{floor}"


def some(tasks: list[str]) -> str:
    """The first three of them by name, and how many more there are."""
    return ", ".join(tasks[:3]) + (f" and {len(tasks) - 3} more" if len(tasks) > 3 else "")
