"""What the optimizer chooses from for each task: the offers worth a look, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sky_core.catalog import Catalog
from sky_core.errors import NoFeasibleOffering, SkyloomError, SpecError, UnknownAccelerator
from sky_core.facts import facts_of
from sky_core.facts.managed import is_of
from sky_core.planner.nodes import Pool
from sky_core.planner.offers import (
    Bools,
    Floats,
    Ints,
    Location,
    Offers,
    Sold,
    offers_of,
    sold_for,
    worth_a_look,
    worth_a_look_at_any_hours,
)
from sky_core.planner.plan import Block, Placement
from sky_core.spec import Task
from sky_core.store import Run
from sky_core.tracker import Tracker

SHOWN = 3  # places that a refusal names


@dataclass(frozen=True)
class Candidates:
    """The C offerings one task may run on. Tasks with the same needs share them.

    Attributes:
        place: From a row of the offers and a task's name to the placement, egress not yet counted.
        row: (C,) the row of each candidate.
        cost: (C,) USD of running there.
        boot: (C,) hours until the task begins…
        hours: (C,) …and until it is done.
        at_most: (C,) the same for all but one in twenty runs, preemptions not counted.
        worst: (C,) ``cost`` at worst, as far as it hangs on how long the task takes there.
        first: (C,) whether it is where the task's first run was made.
        kind: (C,) a number for each kind of machine: cloud, type, accelerator and market.
        at: (C,) index into ``locations``.
        locations: (cloud, region) pairs.
        pool: (C,) index into ``pools`` where there are but so many machines, else -1.
        ends: (C,) when its machines are there no more, seconds since the epoch; infinite where they stay.
    """

    place: Callable[[int, str], Placement]
    row: Ints
    cost: Floats
    boot: Floats
    hours: Floats
    at_most: Floats
    worst: Floats
    first: Bools
    kind: Ints
    at: Ints
    locations: tuple[Location, ...]
    pool: Ints
    pools: tuple[Pool, ...]
    ends: Floats

    def __len__(self) -> int:
        return len(self.row)

    def placement(self, number: int, task: str) -> Placement:
        """The candidate of that number as the place where the task of that name runs."""
        return self.place(int(self.row[number]), task)

    def only(self, keep: Bools) -> Candidates:
        """Those where ``keep`` (C,) is true."""
        columns = ("row", "cost", "boot", "hours", "at_most", "worst", "first", "kind", "at", "pool", "ends")
        return replace(self, **{name: getattr(self, name)[keep] for name in columns})

    def rest(self, done: float) -> Candidates:
        """The same for a task of which that share is done: it takes less, and costs less."""
        hours = self.boot + (self.hours - self.boot) * (1 - done)
        less = hours / self.hours
        return replace(
            self,
            place=lambda row, task: rest_of(self.place(row, task), done),
            cost=self.cost * less,
            hours=hours,
            at_most=self.boot + (self.at_most - self.boot) * (1 - done),
            worst=self.worst * less,
        )

    def of(self, pool: Pool) -> Bools:
        """(C,) whether it is a machine of that pool."""
        mask: Bools = self.pool == (self.pools.index(pool) if pool in self.pools else len(self.pools))
        return mask

    def in_cloud(self, cloud: str) -> Candidates:
        """Those in that cloud."""
        return self.only(np.array([name == cloud for name, _ in self.locations], dtype=bool)[self.at])


def rest_of(whole: Placement, done: float) -> Placement:
    """A placement of a task of which that share is done."""
    rest = whole.model_copy(update={"done": done})
    return rest.model_copy(update={"compute_usd": whole.compute_usd * rest.expected_hours / whole.expected_hours})


def pinned(placement: Placement, hours: float | None = None) -> Candidates:
    """The one candidate of a task that already runs, or ran, there, and still needs ``hours`` (None: all of its time).

    Its inputs have arrived: no egress is left.
    """
    left = np.array([placement.expected_hours if hours is None else hours])
    cost, none = np.array([placement.compute_usd]), np.zeros(1, dtype=np.int64)
    pool = Pool.of(vars(placement))
    taken = none if left[0] > 0 and not placement.use_spot else none - 1
    return Candidates(
        lambda _, __: placement,
        none,
        cost,
        np.array([placement.boot_hours]),
        left,
        left,
        cost,
        np.array([True]),
        none,
        none,
        (placement.location,),
        taken,
        (pool,),
        np.array([np.inf]),
    )


class Shelf:
    """What there is to choose from for the tasks of one pipeline; those that ask for the same look at the same rows.

    Attributes:
        blocked: What is not to be had for now.
        history: Past runs of each task, by name.
    """

    def __init__(
        self,
        catalog: Catalog,
        clouds: Sequence[str],
        *,
        blocked: Sequence[Block] = (),
        history: Mapping[str, Sequence[Run]] | None = None,
        tracker: Tracker | None = None,
    ) -> None:
        self.catalog, self.clouds, self.tracker = catalog, clouds, tracker
        self.blocked, self.history = blocked, history or {}
        self._sold: dict[tuple[str, int, bool, bool], Sold] = {}
        self._candidates: dict[Hashable, Candidates] = {}
        self._fitting: dict[tuple[str, int, bool], Sold | None] = {}

    def candidates(self, task: Task) -> Candidates:
        """The offerings that satisfy the task, are not blocked, and may be part of a best plan.

        Raises:
            UnknownAccelerator, NoFeasibleOffering: from the catalog; the latter also if all is blocked.
            SpecError: if the user's estimate cannot be read.
        """
        wanted, runs = task.resources.model_dump_json(), self.history.get(task.name, ()) if task.hours is None else ()
        hours: Hashable = tuple(sorted(task.hours.items())) if isinstance(task.hours, Mapping) else task.hours
        needs = wanted, task.num_nodes, task.elastic, task.checkpoint, hours, task.name if runs else None
        if needs not in self._candidates:
            sold = self._cheapest(
                task, wanted, alike=not (runs or callable(task.hours) or isinstance(hours, tuple) or task.elastic)
            )
            try:
                offers = offers_of(task, sold, runs)
            except SpecError as error:
                raise SpecError(str(error), cure=self._ended(task)) from None
            self._candidates[needs] = _candidates(offers, runs)
        return self._candidates[needs]

    def sells(self, task: Task, block: Block) -> bool:
        """Whether a block covers anything that the task fits on."""
        key = (task.resources.model_dump_json(), task.num_nodes, task.elastic is not None)
        if key not in self._fitting:
            try:
                self._fitting[key] = sold_for(task, self.catalog, self.clouds)
            except (NoFeasibleOffering, UnknownAccelerator):  # of what it is ordered to take first
                self._fitting[key] = None
        sold = self._fitting[key]
        return sold is not None and bool(sold.blocked([block]).any())

    def _ended(self, task: Task) -> str:
        """Why hours may fit nothing that is left of what the task asks for, "" if no machine's end is to blame."""
        try:
            ended = self.catalog.ended(task.resources, self.clouds)
        except (NoFeasibleOffering, UnknownAccelerator):  # it is told of the task where that matters
            return ""
        machines = ", ".join(f"machines with {name} on {day}" for name, day in ended.items())
        return (
            f"left out because their cloud ends them: {machines}; name the instance_type to have one" if ended else ""
        )

    def _cheapest(self, task: Task, wanted: str, *, alike: bool) -> Sold:
        """What is left of what is sold, by what tells no task apart; ``alike``: that takes as long on all of it."""
        key = (wanted, task.num_nodes, alike, task.elastic is not None)
        if key not in self._sold:
            if alike:
                sold = self._cheapest(task, wanted, alike=False)
                self._sold[key] = sold.take(worth_a_look_at_any_hours(sold))
            else:
                self._sold[key] = self._first_to_be_had(task).cheapest()
        return self._sold[key]

    def _first_to_be_had(self, task: Task) -> Sold:
        """What is sold and not blocked of the first of a task's ``ordered`` needs of which anything is."""
        self.catalog.check_names(task.resources, task=task.name)
        refusals: list[SkyloomError] = []
        for choice in task.resources.ordered or (task.resources,):
            wanted = task.model_copy(update={"resources": choice})
            try:
                return free(wanted, sold_for(wanted, self.catalog, self.clouds, self.tracker), self.blocked)
            except (NoFeasibleOffering, UnknownAccelerator) as error:
                refusals.append(error)
        raise refusals[0]


def _candidates(offers: Offers, runs: Sequence[Run]) -> Candidates:
    first = offers.sold.made_at(runs[0]) if runs else np.zeros(len(offers), dtype=bool)
    rows = worth_a_look(offers, first)
    chosen = offers.take(rows)
    return Candidates(
        place=chosen.placement,
        row=np.arange(len(rows)),
        cost=chosen.usd,
        boot=chosen.sold.boot,
        hours=chosen.expected_hours,
        at_most=chosen.at_most + chosen.sold.boot,
        worst=chosen.usd_at_worst,
        first=first[rows],
        kind=chosen.sold.kind,
        at=chosen.sold.at,
        locations=chosen.sold.locations,
        pool=chosen.sold.pool,
        pools=chosen.sold.pools,
        ends=chosen.sold.frame["until"].fill_null(np.inf).to_numpy(),
    )


def free(task: Task, sold: Sold, blocked: Sequence[Block]) -> Sold:
    """What no block covers; if that is nothing, what no block covers that is more than a guess.

    Raises:
        NoFeasibleOffering: if that is nothing, either.
    """
    blocked = [block for block in blocked if block.num_nodes <= task.num_nodes]
    left = sold.take(~sold.blocked(blocked)) if blocked else sold
    if len(left) == 0 and any(block.guessed for block in blocked):
        return free(task, sold, [block for block in blocked if not block.guessed])
    if len(left) == 0:
        stand = [block for block in blocked if block.reason and sold.blocked([block]).any()]
        reasons = sorted({block.reason for block in stand})
        nearest = offers_of(task, sold.take(np.arange(min(3, len(sold)))))
        raise NoFeasibleOffering(
            task.name,
            "capacity",
            [nearest.placement(row, task.name).machine for row in range(len(nearest))],
            f"Task.{task.name}: none of its {len(sold)} offerings is to be had now: {'; '.join(_summed(reasons))}",
            cure=_cure(stand),
        )
    return left


def _cure(stand: Sequence[Block]) -> str:
    """What helps where these stand in the way: what a login was refused, a new one is not; more quota is asked for."""
    login = "skyloom check --deep tells what a login lacks, and after a new one it is tried at once"
    said = [login] if any(block.reason.startswith("auth in ") for block in stand) else []
    short = sorted({block.cloud for block in stand if block.reason.startswith("quota in ")})
    asked = [f"ask {cloud} for quota: {page}" for cloud in short if (page := facts_of(cloud).quotas)]
    return "; ".join([*said, *asked, "allow more regions, clouds or accelerators, or try again later"])


def _summed(reasons: Sequence[str]) -> list[str]:
    """Each reason with the first of the places it holds for: "quota in eu-north-1, eu-west-1, us-east-1 and 9 more"."""
    places: dict[str, list[str]] = {}
    for reason in reasons:
        why, _, place = reason.partition(" in ")
        places.setdefault(why, []).extend([place] if place else [])
    return [f"{why} in {_listed(found)}" if found else why for why, found in places.items()]


def _listed(names: Sequence[str]) -> str:
    shown, more = names[:SHOWN], len(names) - SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def is_blocked(placement: Placement, blocked: Sequence[Block], waits: float = 0.0) -> bool:
    """Whether any of the blocks covers the placement, for a launch that ``waits`` so many hours in a queue."""
    place = {name: "" if value is None else value for name, value in vars(placement).items()}
    return any(
        all(place[name] == value or is_of(str(value), str(place[name])) for name, value in block.scope.items())
        for block in blocked
        if block.num_nodes <= placement.num_nodes and (block.waited is None or waits <= block.waited)
    )


def freeze_hours(task: Task, catalog: Catalog, clouds: Sequence[str]) -> Task:
    """The task with an estimate that can be stored: a function of the candidate becomes a table of its values.

    The table goes by accelerator where there is one, else by instance type, the median where they differ.
    """
    if not callable(task.hours):
        return task
    offers = offers_of(task, sold_for(task, catalog, clouds))
    values: dict[str, list[float]] = {}
    columns = offers.sold.frame.select("instance_type", "accelerator", "accelerator_count").iter_rows()
    for (instance_type, accelerator, count), hours in zip(columns, offers.hours.tolist(), strict=True):
        values.setdefault(f"{accelerator}:{count:g}" if accelerator else instance_type, []).append(hours)
    return task.model_copy(update={"hours": {key: float(np.median(found)) for key, found in values.items()}})
