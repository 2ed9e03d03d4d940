"""How many machines an elastic gang is to have just now: the policy of :mod:`sky_core.recovery.elastic` at work.

Beside the reliable machines, which are paid for all the time, it may have others of the same kind in the same zone, on
spot or on demand: what makes a unit of work cheapest, by the prices of the catalog, by what the tracker knows of
preemptions, and by how the work has grown with the number of machines so far.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from sky_core.driver.step import Step
from sky_core.errors import NoFeasibleOffering, UnknownAccelerator
from sky_core.facts.base import BOOT_HOURS
from sky_core.job.memory import Changes, Headway
from sky_core.planner.alternatives import alternative
from sky_core.planner.offers import sold_for
from sky_core.planner.plan import Placement
from sky_core.recovery.elastic import Curve, Job, Offer, beside, best_fleet
from sky_core.recovery.scalability import Scaling, learnt
from sky_core.remote.answers import JobState
from sky_core.store import Cluster
from sky_core.store.records import Market

REFUSED_HOURS = 0.1  # for which a market that had no machine is not asked again


@dataclass(frozen=True)
class Wish:
    """What is to change: places for new machines, all on one market, and machines that are to go."""

    joins: Sequence[Placement] = ()
    leaves: Sequence[Cluster] = ()


def noted(step: Step, state: JobState) -> Changes:
    """What is learnt from the progress that the command has reported since the last look."""
    before, count = step.memory.headway, len([name for name in step.memory.members if name])
    if step.task.elastic is None or state.done_at is None:
        return {}
    count = count or step.task.num_nodes
    same = before is not None and before.count == count
    since = before.since if before is not None and same else state.done_at
    now = Headway(done=state.done, of=state.done_of, at=state.done_at, count=count, since=since)
    if before is None or not same or now == before:
        return {} if now == before else {"headway": now}
    scale, paces = step.driving.settings.scale, dict(step.memory.paces)
    settled = scale.hours(before.at - since) >= BOOT_HOURS  # those that have just joined do nothing yet
    if settled and now.at > before.at and now.done >= before.done:
        hours, units = paces.get(count, (0.0, 0.0))
        paces[count] = (hours + scale.hours(now.at - before.at), units + now.done - before.done)
    return {"headway": now, "paces": paces}


def wish(step: Step, cluster: Cluster) -> Wish:
    """What the gang should have more or less of, for the least expected cost of its work."""
    elastic, placement = step.task.elastic, step.memory.placement
    assert elastic is not None
    assert placement is not None
    rest = _rest(step, placement)
    if rest.work <= 0:
        return Wish()
    here = [mend for mend in step.mends if mend.token not in step.memory.parting]
    present = Counter[str](mend.market for mend in here)
    places = _places(step, cluster, placement)
    offers = [_offer(step, market, place, rate, present[market]) for market, (place, rate) in places.items()]
    job = beside(rest, elastic.reliable, cluster.price * elastic.reliable)
    best = best_fleet(offers, job, present)
    more = {market: best.get(market, 0) - present[market] for market in get_args(Market)}
    leaves = [mend for market, number in more.items() if number < 0 for mend in _last(step, here, market, -number)]
    joins = next(([place] * more[market] for market, (place, _) in places.items() if more[market] > 0), [])
    return Wish(joins[:1] if joins and _scarce(step, joins[0]) else joins, leaves)


def _places(step: Step, cluster: Cluster, placement: Placement) -> Mapping[Market, tuple[Placement, float]]:
    """Where one more machine would be, by market, with its preemptions per hour."""
    _, pipeline, _ = step.planned()
    market = step.market(pipeline.name)
    here = {"cloud": (cluster.cloud,), "region": (cluster.region,), "instance_type": (cluster.instance_type,)}
    zone = (cluster.zone,) if cluster.zone else ()
    wanted = alternative(step.task.resources, placement).model_copy(update={**here, "zone": zone, "use_spot": True})
    task = step.task.model_copy(update={"resources": wanted})
    try:
        sold = sold_for(task, market.catalog, (cluster.cloud,), market.tracker)
    except (NoFeasibleOffering, UnknownAccelerator):
        return {}
    found: dict[Market, tuple[Placement, float]] = {}
    for row, rate in zip(sold.frame.iter_rows(named=True), sold.preemptions.tolist(), strict=True):
        if row["accelerator"] == cluster.accelerator and row["reservation"] is None:
            about = {"num_nodes": 1, "changing": 0, "use_spot": row["use_spot"], "price": float(row["rate"]),
                     "reservation": None}  # fmt: skip
            found["spot" if row["use_spot"] else "on-demand"] = (placement.model_copy(update=about), rate)
    return found


def _offer(step: Step, market: Market, place: Placement, rate: float, present: int) -> Offer:
    """A market as the policy sees it: one that had no machine lately has those of it that there are."""
    elastic = step.task.elastic
    assert elastic is not None
    most = present if refused_lately(step, market) else elastic.changing
    return Offer(market, place.price, most, rate)


def refused_lately(step: Step, market: Market) -> bool:
    """Whether that market had no machine for the gang just now."""
    ago_s = time.time() - step.memory.refused.get(market, 0.0)
    return step.driving.settings.scale.hours(ago_s) < REFUSED_HOURS


def _scarce(step: Step, place: Placement) -> bool:
    """Whether its market has refused the last one: then one alone is asked for."""
    return ("spot" if place.use_spot else "on-demand") in step.memory.refused


def _rest(step: Step, placement: Placement) -> Job:
    """The work that is left, as far as the command has said, in hours of one machine."""
    elastic, headway = step.task.elastic, step.memory.headway
    assert elastic is not None
    scaling = learnt(step.memory.paces)
    work = placement.hours * (1 - placement.done) * scaling(elastic.max)
    if headway is not None and headway.of:
        left = max(0.0, headway.of - headway.done)
        work = left / scaling.pace if scaling.pace > 0 else work * left / headway.of
    return Job(work, BOOT_HOURS, _curve(scaling, elastic.min), most=elastic.max)


def _curve(scaling: Scaling, least: int) -> Curve:
    """Fewer machines than the command can work with make nothing."""
    return lambda count: scaling(count) if count >= least else 0.0


def _last(step: Step, here: Sequence[Cluster], market: str, number: int) -> list[Cluster]:
    """Those of a market that have joined last, or are still to join."""
    ids = step.memory.members
    rank = {name: place for place, name in enumerate(ids) if name}
    of_it = [mend for mend in here if mend.market == market and mend.state != "intended"]
    return sorted(of_it, key=lambda mend: max((rank.get(name, len(ids)) for name in mend.instance_ids), default=0))[
        -number:
    ]
