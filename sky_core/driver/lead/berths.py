"""What a job that a policy leads chooses from: the zones that sell its kind of machine, and what going there costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sky_core.catalog import Catalog
from sky_core.events import Weighed
from sky_core.job.memory import Saved
from sky_core.planner.model import source_location
from sky_core.planner.offers import offers_of, sold_for
from sky_core.planner.plan import Placement
from sky_core.planner.planning import Market
from sky_core.recovery import Decision, Policy
from sky_core.spec import Task
from sky_core.store import Cluster
from sky_core.tracker import Offering

Place = tuple[str, str, str | None]
"""Cloud, region and zone."""
MOST_ZONES = 12  # the cheapest; each is one more market to believe in


@dataclass(frozen=True)
class Berth:
    """One zone.

    Attributes:
        place: Where it is: cloud, region, zone.
        spot, on_demand: The machine in either market; None where the zone does not sell it.
        input_usd: Egress of the task's given inputs to here.
        output_usd: Egress of its outputs from here to where the plan has them read.
    """

    place: Place
    spot: Placement | None
    on_demand: Placement | None
    input_usd: float
    output_usd: float = 0.0

    @property
    def least_usd(self) -> float:
        """The cheapest way to run all of the task here."""
        return (
            self.input_usd
            + self.output_usd
            + min(place.compute_usd for place in (self.spot, self.on_demand) if place is not None)
        )

    def moving(self, catalog: Catalog, checkpoint: Saved | None, from_: Berth | None = None) -> tuple[float, float]:
        """USD of egress for the inputs and the newest checkpoint to here, and the checkpoint's hours on the way.

        What the outputs cost more from here than ``from_`` where the job is counts as well, once for every move here.
        """
        fixed_usd = self.input_usd + max(0.0, self.output_usd - (from_.output_usd if from_ else 0.0))
        if checkpoint is None:
            return fixed_usd, 0.0
        cloud, _, region = checkpoint.location.partition("/")
        usd, hours = catalog.egress([(cloud, region, None), self.place], checkpoint.gb)
        return fixed_usd + float(usd[0, 1]), float(hours[0, 1])


def ways_out(
    berths: Mapping[str, Berth], sold: Collection[str], catalog: Catalog, checkpoint: Saved | None
) -> dict[str, float]:
    """Hours on the way from each zone to the nearest of those that sell on-demand, for the newest checkpoint."""
    if not sold:
        return {}
    names = list(berths)
    _, hours = catalog.egress([berths[name].place for name in names], checkpoint.gb if checkpoint else 0.0)
    apart = np.where(np.eye(len(names), dtype=bool), 0.0, hours)
    nearest = apart[:, [name in sold for name in names]].min(axis=1)
    return dict(zip(names, nearest.tolist(), strict=True))


@dataclass
class Pilot:
    """One job's policy, and the zones that it chooses from, by :func:`zone_key`; at least one has spot.

    Attributes:
        policy: Remembers what launches, refusals and preemptions have shown.
        looked: Until when they have been taken in, seconds since the epoch.
        thought: What the last decision was weighed against, as an event tells it; None where nothing was.
    """

    berths: Mapping[str, Berth]
    policy: Policy
    catalog: Catalog
    looked: float
    thought: Weighed | None = None

    def placement(self, decision: Decision) -> Placement | None:
        """The machine of a decision, None to wait or where no zone has one."""
        if decision.zone is None:
            return None
        berth = self.berths[decision.zone]
        place = berth.spot if decision.state == "spot" else berth.on_demand
        return place and place.model_copy(update={"egress_usd": berth.input_usd})


def berths_of(
    task: Task, market: Market, kind: Placement, readers: Sequence[tuple[Place, float]] = ()
) -> dict[str, Berth]:
    """The cheapest zones, by :func:`zone_key`, whose machines take as long for the task as ``kind`` does.

    Args:
        readers: Where the task's outputs are read, and how many GB.

    Raises:
        NoFeasibleOffering: if nothing is for sale at all.
    """
    found: dict[str, dict[bool, Placement]] = defaultdict(dict)
    runs = market.history.get(task.name, ())
    offers = offers_of(task, sold_for(task, market.catalog, market.clouds, market.tracker), runs)
    alike = np.flatnonzero(offers.like(kind))
    for row in alike[np.argsort(-offers.rate[alike], kind="stable")]:  # the cheapest comes last and stays
        place = offers.placement(int(row), task.name)
        if place.reservation is not None:  # the plan's to give out: a zone's market says nothing of it
            continue
        found[zone_key(place)][place.use_spot] = place
    berths = {zone: _berth(task, market.catalog, markets, readers) for zone, markets in found.items()}
    cheapest = sorted(berths, key=lambda zone: (berths[zone].least_usd, zone))[:MOST_ZONES]
    return {zone: berths[zone] for zone in cheapest}


def zone_key(place: Placement | Cluster) -> str:
    """``"cloud/zone"``, or ``"cloud/region"`` where the cloud chooses the zone."""
    return f"{place.cloud}/{place.zone or place.region}"


def sold_at(place: Placement | Cluster) -> Offering:
    """The machine as the tracker speaks of it."""
    return Offering(
        place.cloud, place.region, place.zone, place.instance_type, "spot" if place.use_spot else "on-demand",
        place.accelerator,
    )  # fmt: skip


def _berth(
    task: Task,
    catalog: Catalog,
    markets: Mapping[bool, Placement],
    readers: Sequence[tuple[Place, float]],
) -> Berth:
    some = next(iter(markets.values()))
    here = (some.cloud, some.region, some.zone)
    input_usd = sum(
        _egress_usd(catalog, (*location, None), here, source.size_gb or 0.0)
        for source in task.given.values()
        if (location := source_location(source)) is not None
    )
    bucket = (some.cloud, some.region, None)  # where they are written, and read from
    output_usd = sum(_egress_usd(catalog, bucket, there, gb) for there, gb in readers)
    return Berth(here, markets.get(True), markets.get(False), input_usd, output_usd)


def _egress_usd(catalog: Catalog, origin: Place, to: Place, gb: float) -> float:
    return float(catalog.egress([origin, to], gb)[0][0, 1])
