"""What a task could run on, as columns: filtered, priced, timed and rated without an object per row.

A task that asks for ``cpus="4+"`` has a hundred thousand offerings. Few of them can matter: in one location and for
one kind of machine only the cheapest zone and market, and of the kinds only those that no other beats. The rest
goes before the optimizer sees it, and a :class:`~sky_core.planner.plan.Placement` is made of what is chosen alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sky_core.catalog import Catalog
from sky_core.catalog.usual import at_home
from sky_core.errors import NoFeasibleOffering, UnknownAccelerator
from sky_core.estimate import Estimate, estimate_hours
from sky_core.facts import facts_of
from sky_core.facts.base import BOOT_HOURS
from sky_core.facts.managed import is_of
from sky_core.planner.alternatives import in_each_market, queue_column
from sky_core.planner.nodes import Pool, enough, networked
from sky_core.planner.plan import Block, Placement
from sky_core.spec import Resources, Task
from sky_core.store import Run
from sky_core.tracker import Tracker, checkpoint_interval, expected_overhead

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Location = tuple[str, str]  # cloud, region

CHECKPOINT_HOURS = 0.5 / 60  # to take one: what BERT's 1.5 GB took (dissertation, section 4.2.1.3), until measured


KIND = ("cloud", "instance_type", "accelerator", "accelerator_count", "use_spot")


@dataclass(frozen=True)
class Sold:
    """The N offerings that fit what a task asks for, likeliest to be had first, then cheapest by the hour.

    It hangs on nothing but :class:`~sky_core.spec.Resources` and the number of machines: tasks that ask for the same
    share it.

    Attributes:
        frame: N rows of the catalog, with ``use_spot``, ``rate`` (USD per hour and machine in that market) and
            ``boot_hours`` from the launch call to the first line of set-up, ``queue_hours`` that it may wait before.
        preemptions: (N,) expected preemptions per hour; 0 on demand.
        at: (N,) index into ``locations``.
        locations: (cloud, region) pairs.
        kind: (N,) a number for each kind of machine: cloud, type, accelerator and market.
        pool: (N,) index into ``pools`` where there are but so many of them, else -1.
    """

    frame: pl.DataFrame
    preemptions: Floats
    at: Ints
    locations: tuple[Location, ...]
    kind: Ints
    pool: Ints
    pools: tuple[Pool, ...] = ()

    def __len__(self) -> int:
        return len(self.kind)

    @cached_property
    def boot(self) -> Floats:
        """(N,) hours from the launch call to the first line of set-up."""
        return self.frame["boot_hours"].to_numpy()

    def take(self, rows: Bools | Ints) -> Sold:
        """Those rows, given as a mask (N,) or as their numbers."""
        kept = np.flatnonzero(rows) if rows.dtype == bool else rows
        columns = {name: getattr(self, name)[kept] for name in ("preemptions", "at", "kind", "pool")}
        return replace(self, frame=self.frame[kept], **columns)

    def cheapest(self) -> Sold:
        """Of each kind in each location the cheapest zone: a task takes the same time in all that last as long."""
        lasting = np.unique(self.preemptions, return_inverse=True)[1].reshape(-1)
        groups = np.ravel_multi_index(
            (self.at, self.kind, lasting, self.pool + 1),  # one of a pool may be taken: it stands for no other
            (len(self.locations), int(self.kind.max()) + 1, int(lasting.max()) + 1, len(self.pools) + 1),
        )
        order = np.lexsort((np.arange(len(self)), self.frame["rate"].to_numpy(), groups))
        starts = np.concatenate([[True], np.diff(groups[order]) != 0])
        return self.take(np.sort(order[starts]))

    def made_at(self, run: Run) -> Bools:
        """(N,) whether it is the machine and place of that run."""
        names = ("cloud", "region", "instance_type", "accelerator", "use_spot")
        there: Bools = np.logical_and.reduce([_equals(self.frame, name, getattr(run, name)) for name in names])
        return there

    def blocked(self, blocks: Sequence[Block]) -> Bools:
        """(N,) whether any of the blocks covers it."""
        covered = np.zeros(len(self), dtype=bool)
        for block in blocks:
            scope = {name: None if value == "" else value for name, value in block.scope.items()}
            here = np.logical_and.reduce([_is(self.frame, name, value) for name, value in scope.items()])
            covered |= here if block.waited is None else here & (self.frame["queue_hours"].to_numpy() <= block.waited)
        return covered


@dataclass(frozen=True)
class Offers:
    """What is sold, with what one task takes there: N offerings on which it can run.

    Attributes:
        hours: (N,) run time without boot, transfer and preemptions.
        at_most: (N,) hours that all but one in twenty runs stay below.
        worst: (N,) run time at worst, as far as it hangs on what the task takes there.
        overhead: (N,) expected extra hours for each hour on spot.
        source: Where the run times come from.
        num_nodes: Machines that the task takes all the time.
        changing: Machines at most that come and go beside them, on spot where that has a price.
    """

    sold: Sold
    hours: Floats
    at_most: Floats
    worst: Floats
    overhead: Floats
    source: str
    num_nodes: int
    changing: int = 0

    def __len__(self) -> int:
        return len(self.hours)

    @cached_property
    def rate(self) -> Floats:
        """(N,) USD per hour of all the task's machines."""
        stay: Floats = self.sold.frame["rate"].to_numpy() * self.num_nodes
        return stay + self.changing_price * self.changing if self.changing else stay

    @cached_property
    def changing_price(self) -> Floats:
        """(N,) USD per hour of each of the machines that come and go."""
        return self.sold.frame["spot_price"].fill_null(self.sold.frame["rate"]).to_numpy()

    @cached_property
    def expected_hours(self) -> Floats:
        """(N,) hours that the machines are expected to be needed."""
        return self.hours * (1 + self.overhead) + self.sold.boot

    @cached_property
    def usd(self) -> Floats:
        """(N,) what running there is expected to cost, egress not counted."""
        return self.expected_hours * self.rate

    @cached_property
    def usd_at_worst(self) -> Floats:
        """(N,) the same if the task takes as long as it may at worst."""
        return self.usd + self.rate * (1 + self.overhead) * (self.worst - self.hours)

    def take(self, rows: Bools | Ints) -> Offers:
        """Those rows, given as a mask (N,) or as their numbers."""
        kept = np.flatnonzero(rows) if rows.dtype == bool else rows
        columns = {name: getattr(self, name)[kept] for name in ("hours", "at_most", "worst", "overhead")}
        return replace(self, sold=self.sold.take(kept), **columns)

    def like(self, placement: Placement) -> Bools:
        """(N,) whether the task takes as long there, on the same accelerators or else the same type of machine."""
        frame = self.sold.frame
        alike = np.abs(self.hours - placement.hours) < 1e-6
        if placement.accelerator is None:
            return alike & _equals(frame, "instance_type", placement.instance_type)
        count = frame["accelerator_count"].fill_null(0).to_numpy() == placement.accelerator_count
        alike &= count & _equals(frame, "accelerator", placement.accelerator)
        return alike

    def placement(self, row: int, task: str) -> Placement:
        """That row as the place where the task of that name runs."""
        values = self.sold.frame.row(row, named=True)
        return Placement(
            task=task,
            cloud=values["cloud"],
            region=values["region"],
            zone=values["zone"],
            instance_type=values["instance_type"],
            accelerator=values["accelerator"],
            accelerator_count=values["accelerator_count"] or 0,
            arch=values["arch"] or "x86_64",
            use_spot=values["use_spot"],
            num_nodes=self.num_nodes,
            price=float(values["rate"]),
            hours=float(self.hours[row]),
            hours_at_most=float(self.at_most[row]),
            hours_source=self.source,
            boot_hours=float(values["boot_hours"]),
            overhead=float(self.overhead[row]),
            compute_usd=float(self.usd[row]),
            changing=self.changing,
            changing_price=float(self.changing_price[row]) if self.changing else 0.0,
            reservation=values["reservation"],
            until=values["until"],
        )


def sold_for(task: Task, catalog: Catalog, clouds: Sequence[str], tracker: Tracker | None = None) -> Sold:
    """What ``clouds`` sell that fits the task, as far as ``tracker`` knows in the order of the chance to get it.

    A task that may use spot may also run on demand: where no spot machine is to be had, or none has a known price,
    that is what keeps the pipeline going.

    Raises:
        UnknownAccelerator, NoFeasibleOffering: from the catalog.
    """
    frame = _query(task, catalog, networked(task, clouds))
    chance, preemptions = (tracker or Tracker((), now=0.0)).rate(frame)
    # The optimizer breaks ties by this order, and zones of a region often cost the same.
    away = np.ones(frame.height) if catalog.usual is None else ~at_home(frame, catalog.usual)
    order = np.lexsort((away, -chance))
    frame = frame[order]
    places = frame.select("cloud", "region")
    locations = tuple((cloud, region) for cloud, region in places.unique(maintain_order=True).iter_rows())
    pool, pools = _pools(frame)
    return Sold(frame, preemptions[order], _codes(places), locations, _codes(frame.select(KIND)), pool, pools)


def offers_of(task: Task, sold: Sold, runs: Sequence[Run] = ()) -> Offers:
    """What the task takes on what is sold for it, by ``runs`` of it in the past where the task itself does not say.

    Spot machines take more by what preemptions are expected to add. Those that would never get through, and those that
    the task cannot run on, are left out.

    Raises:
        SpecError: if the user's estimate cannot be read.
    """
    estimate = estimate_hours(task, sold.frame, runs)
    overhead = _overhead(task, estimate, sold.preemptions)
    offers = Offers(
        sold, estimate.hours, estimate.at_most, estimate.worst, overhead, estimate.source, task.num_nodes,
        task.elastic.changing if task.elastic else 0,
    )  # fmt: skip
    possible = np.isfinite(estimate.hours) & np.isfinite(overhead)
    return offers if possible.all() else offers.take(possible)


def worth_a_look(offers: Offers, first: Bools) -> Ints:
    """The rows, in their order, that can be part of a best plan, or of the best one without some kind of machine.

    Those go that a machine of the same location beats or equals in cost, in hours and at worst, and one of yet another
    kind besides; ``first`` (N,) stays whatever it costs.
    """
    columns = (offers.usd, offers.expected_hours, offers.usd_at_worst)
    return np.flatnonzero((_beaten(offers.sold, columns) < 2) | first)


def worth_a_look_at_any_hours(sold: Sold) -> Ints:
    """The same for all tasks that take equally long on whatever they run, however long that is."""
    return np.flatnonzero(_beaten(sold, (sold.frame["rate"].to_numpy(), sold.preemptions, sold.boot)) < 2)


def _beaten(sold: Sold, columns: Sequence[Floats]) -> Ints:
    """(N,) 0, 1, or 2 where two machines of different kinds in the same location are as good in every column."""
    here, kind = sold.at, sold.kind
    beaten = np.zeros(len(sold), dtype=np.int64)
    rest = sold.pool < 0  # one of a pool may be taken: it beats nobody
    for _ in range(2):
        shadowed = np.zeros(len(sold), dtype=bool)
        champions = [_champion(values, here, rest, len(sold.locations)) for values in columns]
        for champion in champions:
            rival = champion[here]
            worse = np.logical_and.reduce([values >= values[rival] for values in columns])
            shadowed |= worse & (rival >= 0) & (rival != np.arange(len(sold)))
        beaten += shadowed
        for champion in champions:
            rest &= (champion[here] < 0) | (kind != kind[champion[here]])
    return beaten


def _champion(values: Floats, at: Ints, rest: Bools, locations: int) -> Ints:
    """(L,) the row with the least value of each location, the first of equals; -1 where it has none left."""
    champion = np.full(locations, -1, dtype=np.int64)
    left = np.flatnonzero(rest)
    order = left[np.lexsort((left, values[left], at[left]))]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(at[order]) != 0])) if len(order) else order
    champion[at[order[starts]]] = order[starts]
    return champion


def _query(task: Task, catalog: Catalog, clouds: Sequence[str]) -> pl.DataFrame:
    """The catalog's answer with columns ``use_spot`` and ``rate`` (USD per hour in that market), each row once."""
    import polars as pl

    frames: list[pl.DataFrame] = []
    refusals: list[NoFeasibleOffering | UnknownAccelerator] = []
    for wanted, column, use_spot in in_each_market(task.resources):
        resources = wanted.model_copy(update={"use_spot": use_spot})
        try:
            found = catalog.query(resources, task=task.name, clouds=clouds)
            found = enough(found, task, resources)
        except (NoFeasibleOffering, UnknownAccelerator) as error:
            refusals.append(error)  # some shapes are sold in one market only
            continue
        found = found.with_columns(
            use_spot=pl.lit(use_spot), rate=pl.col(column), boot_hours=_boot_hours(found, wanted),
            queue_hours=queue_column(found, wanted, use_spot),
        )  # fmt: skip
        frames.append(found.filter(pl.col("rate").is_not_null()))
    if not frames:
        raise refusals[len(refusals) - 1 if len(task.resources.alternatives) == 1 else 0]
    found = pl.concat(frames)
    several = len(task.resources.alternatives) > 1
    return (
        found.unique([*KIND, "region", "zone", "reservation"], keep="first", maintain_order=True) if several else found
    )


def _boot_hours(found: pl.DataFrame, wanted: Resources) -> pl.Expr | pl.Series:
    """Machines take equally long everywhere, as far as is known; each service has a time of its own."""
    import polars as pl

    if wanted.managed is None:
        return pl.lit(BOOT_HOURS)
    kinds = found.select(pl.col("cloud", "instance_type").cast(pl.String)).iter_rows()
    return pl.Series([facts_of(cloud).start_hours(instance_type) for cloud, instance_type in kinds], dtype=pl.Float64)


def _overhead(task: Task, estimate: Estimate, preemptions: Floats) -> Floats:
    """(N,) expected extra hours per hour of work; infinite where it would never finish."""
    if task.checkpoint is None:
        return expected_overhead(estimate.hours, preemptions, changeover_hours=BOOT_HOURS, checkpoint_hours=None)
    # Checkpoints are synced while the task goes on and cost no time; the work since the last one is what is lost.
    return expected_overhead(
        estimate.hours,
        preemptions,
        changeover_hours=BOOT_HOURS,
        checkpoint_hours=0.0,
        interval_hours=task.checkpoint.interval or checkpoint_interval(CHECKPOINT_HOURS, preemptions),
    )


def _pools(frame: pl.DataFrame) -> tuple[Ints, tuple[Pool, ...]]:
    """(N,) which pool each row belongs to, -1 for none, and the pools; spot machines belong to none."""
    pool = np.full(len(frame), -1, dtype=np.int64)
    rows = np.flatnonzero((frame["capacity"].is_not_null() & ~frame["use_spot"]).to_numpy())
    numbers: dict[Pool, int] = {}
    for row in rows.tolist():
        values = frame.row(row, named=True)
        key = Pool.of(values)
        pool[row] = numbers.setdefault(key, len(numbers))
    return pool, tuple(numbers)


def _is(frame: pl.DataFrame, column: str, value: Any) -> Bools:
    """As :func:`_equals`; a release of a service is all that is sold of it."""
    if column == "instance_type" and value is not None:
        names = [name for name in frame[column].unique().to_list() if is_of(value, name)]
        if names:
            held: Bools = np.logical_or.reduce([_equals(frame, column, name) for name in names])
            return held
    return _equals(frame, column, value)


def _equals(frame: pl.DataFrame, column: str, value: Any) -> Bools:
    found = frame[column]
    if value is None:
        mask = found.is_null()
    elif value in found.unique().to_list():
        mask = (found == value).fill_null(False)
    else:  # a name that the table's columns do not know cannot be compared with
        mask = found.is_null() & ~found.is_null()
    held: Bools = mask.to_numpy()
    return held


def _codes(frame: pl.DataFrame) -> Ints:
    """(N,) the number of each row among the distinct rows, counted as they come."""
    distinct = frame.unique(maintain_order=True).with_row_index("code")
    joined = frame.join(distinct, on=frame.columns, how="left", nulls_equal=True, maintain_order="left")
    return joined["code"].to_numpy().astype(np.int64)
