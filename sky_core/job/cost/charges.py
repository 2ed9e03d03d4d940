"""The bill in its smallest pieces: each launch and each transfer, with all that it can be sorted by."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from sky_core.job.bill import charged_hours, existed
from sky_core.measures.scale import Scale
from sky_core.store import Listings
from sky_core.store.reading.listing import Paid, Sent

DAY_S = 24 * 3600.0
EPOCH = date(1970, 1, 1).toordinal()
NOT_KNOWN = "?"
NO_LABELS: Mapping[str, str] = {}


class Charge(NamedTuple):
    """What one launch cost on one day, busy or idle, or one transfer. A tuple, since there are tens of thousands.

    Attributes:
        pipeline: The pipeline's name; ``?`` if its plan is not in this store.
        run: The key of its plan.
        person: Who submitted the job; ``?`` if that is not known.
        labels: What the task puts on its machines: ``Resources.tags``, ``labels`` in a task file.
        cloud: Whom it is owed to. Egress is charged by the cloud that the data left.
        market: ``spot``, ``on-demand``, ``reserved`` or ``egress``.
        day: In UTC, as ``2026-11-26``. A launch over midnight is charged to both days, by the time it had of each.
        hours: Machine hours.
        running: Whether its machines may still exist, so that it grows.
        idle: Whether they did nothing, kept for whatever job might come.
    """

    pipeline: str
    run: str
    task: str
    job: str
    person: str
    labels: Mapping[str, str]
    cloud: str
    region: str
    market: str
    day: str
    compute_usd: float = 0.0
    egress_usd: float = 0.0
    hours: float = 0.0
    running: bool = False
    idle: bool = False

    @property
    def usd(self) -> float:
        """Compute and egress."""
        return self.compute_usd + self.egress_usd


def charges(
    store: Listings, scale: Scale, now: float | None = None, *, first: str | None = None, whose: bool = False
) -> list[Charge]:
    """All that the jobs of a store have cost, or what they have since the ``first`` day, which is in UTC.

    A few questions to the store, however many jobs there are.

    Args:
        whose: Whether persons and labels are wanted: they stand in what each job took along and in its task.
    """
    since = (date.fromisoformat(first).toordinal() - EPOCH) * DAY_S if first is not None else None
    moment = time.time() if now is None else now
    launches, transfers = store.paid(since), store.sent(since)
    pipelines = store.pipeline_names()
    said = {job: (person or NOT_KNOWN, _labels(labels)) for job, person, labels in store.job_owners()} if whose else {}
    owed = {
        job: Owed(pipelines.get(run, NOT_KNOWN), run, task, job, *said.get(job, (NOT_KNOWN, NO_LABELS)))
        for job, run, task in store.job_names()
    }
    found = [charge for one in launches for charge in _of_launch(owed[one.job], one, scale, moment)]
    found += [_of_transfer(owed[one.job], one) for one in transfers]
    return found if first is None else [charge for charge in found if charge.day >= first]


class Owed(NamedTuple):
    """For what a charge is: its first columns."""

    pipeline: str
    run: str
    task: str
    job: str
    person: str
    labels: Mapping[str, str]


def _labels(text: str | None) -> Mapping[str, str]:
    return json.loads(text) if text and text != "{}" else NO_LABELS


def _of_launch(owed: Owed, one: Paid, scale: Scale, now: float) -> list[Charge]:
    if one.ended is None and one.gone_by is not None and one.gone_by <= now:  # by themselves, and nobody has seen it
        one = one._replace(ended=one.gone_by, open=False)
    existed_h = existed(one.began, one.ended, scale, now)
    hours = charged_hours(one.cloud, one.instance_type, one.num_nodes, existed_h, taken=one.taken)
    if not hours and not one.open:
        return []  # a launch that was refused
    began, ended = one.began or one.intended_at, one.ended or now
    if one.idle_since is None:
        return _at_its_price(owed, one, hours, began, ended, scale)
    idle = min(hours, existed(one.idle_since, one.ended, scale, now) * one.num_nodes)
    busy = _at_its_price(owed, one, hours - idle, began, one.idle_since, scale)
    kept = _at_its_price(owed, one, idle, one.idle_since, ended, scale)
    return [charge._replace(running=False) for charge in busy] + [charge._replace(idle=True) for charge in kept]


def _at_its_price(owed: Owed, one: Paid, hours: float, began: float, ended: float, scale: Scale) -> list[Charge]:
    """Those hours by day, what came after the end of a reservation as bought on demand."""
    until = one.reserved_until
    if until is None or one.price_after is None or ended <= until:
        return _by_day(owed, one, hours, began, ended)
    after = one._replace(price=one.price_after, reserved=False)
    if began >= until:
        return _by_day(owed, after, hours, began, ended)
    late = min(hours, existed(until, ended, scale, ended) * one.num_nodes)
    return [
        *_by_day(owed, one._replace(open=False), hours - late, began, until),
        *_by_day(owed, after, late, until, ended),
    ]


def _by_day(owed: Owed, one: Paid, hours: float, began: float, ended: float) -> list[Charge]:
    where = (one.cloud, one.region, "spot" if one.use_spot else "reserved" if one.reserved else "on-demand")
    return [
        Charge(*owed, *where, day, hours * share * one.price, 0.0, hours * share, bool(one.open))
        for day, share in days(began, ended)
    ]


def _of_transfer(owed: Owed, one: Sent) -> Charge:
    cloud, _, region = one.source.partition("/") if one.source else (NOT_KNOWN, "", NOT_KNOWN)
    return Charge(*owed, cloud, region, "egress", _day(one.at), egress_usd=one.usd)


def days(began: float, ended: float) -> list[tuple[str, float]]:
    """The days (UTC) from one time to another, seconds since the epoch, with the share that each has of it."""
    if ended <= began or began // DAY_S == ended // DAY_S:
        return [(_day(began), 1.0)]
    shares, at = [], began
    while at < ended:
        midnight = min(ended, (at // DAY_S + 1) * DAY_S)
        shares.append((_day(at), (midnight - at) / (ended - began)))
        at = midnight
    return shares


def _day(at: float) -> str:
    # Not by way of datetime, which rounds the last half microsecond of a day up into the next.
    return _written(EPOCH + int(at // DAY_S))


@lru_cache(4096)
def _written(ordinal: int) -> str:
    return date.fromordinal(ordinal).isoformat()
