"""A spot policy leads a job with a deadline, or with checkpoints: what it sees of the market, and what it wishes.

The policies are those of :mod:`sky_core.recovery`, the very objects that the simulator runs. What a broker sees of the
market is what its own launches, refusals and preemptions tell: spot is assumed to be available in a zone unless it was
refused or taken there within ``ASK_AGAIN``. A launch is the probe: no cloud has another signal that is honest, a
refusal costs nothing, and it is made only where the policy would take what it may get.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sky_core.driver.lead.berths import Pilot, berths_of, sold_at, ways_out, zone_key
from sky_core.driver.lead.promise import changeover, hours_left, remaining_work, unsaved
from sky_core.driver.stages.fitting import own_task
from sky_core.driver.step import Step
from sky_core.driver.urls import location_of
from sky_core.events import Happening, Weighed
from sky_core.job.memory import Promise, Saved
from sky_core.planner.alternatives import queue_hours
from sky_core.planner.candidates import free, is_blocked
from sky_core.planner.market import tracker_of
from sky_core.planner.offers import offers_of, sold_for
from sky_core.planner.plan import Placement
from sky_core.recovery import Decision, Situation, make_policy
from sky_core.recovery.patience import without_deadline, work_ahead
from sky_core.recovery.reference import on_demand
from sky_core.recovery.situation import ASK_AGAIN
from sky_core.recovery.start_over import StartOver
from sky_core.recovery.weighing import Weighing, called, weighing_of
from sky_core.store import Cluster
from sky_core.tracker import availability
from sky_core.tracker.availability import signs

OURS = "skyloom"
HISTORY_HOURS, HISTORY_STEP = 7 * 24.0, 1 / 6


def decide(step: Step, pilot: Pilot, promise: Promise, here: Cluster | None) -> Decision:
    """What the job's policy says now; ``here`` is where the job runs, None between two attempts.

    The policies take for granted that work is kept. On spot, a job that has checkpoints but has not written one for so
    long that the work could not be done again in time goes on-demand; without a deadline it stays where it is.
    """
    situation = _situation(step, pilot, promise, here)
    late = situation.time_to_deadline - situation.remaining_work < situation.changeover
    pilot.thought = None
    if not promise.firm and here is not None and step.task.checkpoint and unsaved(step, promise):
        return Decision("spot" if here.use_spot else "on_demand", zone_key(here))
    if late and situation.state == "spot" and step.task.checkpoint and unsaved(step, promise):
        return on_demand(situation)
    decision = pilot.policy.decide(replace(situation, seen=_news(step, pilot)))
    pilot.thought = _thought(situation, decision, weighing_of(pilot.policy))
    return decision


def thoughts(pilot: Pilot) -> list[Happening]:
    """The event that says why the job goes where it goes, if its policy weighs anything."""
    return [pilot.thought] if pilot.thought else []


def _thought(situation: Situation, decision: Decision, weighing: Weighing | None) -> Weighed | None:
    if weighing is None:
        return None
    return Weighed(
        chosen=called(decision),
        left=situation.remaining_work,
        slack=situation.time_to_deadline - situation.remaining_work,
        usd={called(option): usd for option, usd in weighing.usd.items()},
        up=dict(weighing.up),
        price={
            **{called(Decision("spot", zone)): usd for zone, usd in situation.spot_price.items()},
            **{called(Decision("on_demand", zone)): usd for zone, usd in situation.on_demand_price.items()},
        },
    )


def _news(step: Step, pilot: Pilot) -> dict[str, bool]:
    """What launches have shown of each zone's spot since the last look."""
    now, news = time.time(), step.driving.store.observations(since=pilot.looked)
    shown = {zone: signs(news, sold_at(berth.spot)) for zone, berth in pilot.berths.items() if berth.spot}
    pilot.looked = now
    return {zone: found[-1][1] for zone, found in shown.items() if found}


def pilot_of(step: Step, promise: Promise) -> Pilot | None:
    """The job's pilot, made when its driver first needs it; None if no zone has spot machines of its kind."""
    pilots = step.driving.pilots
    if step.job.id not in pilots:
        pilots[step.job.id] = _new_pilot(step, promise)
    return pilots[step.job.id]


def _new_pilot(step: Step, promise: Promise) -> Pilot | None:
    """A pilot whose policy begins with what past launches have shown of its zones."""
    settings, store, now = step.settings, step.driving.store, time.time()
    _, pipeline, plan = step.planned()
    task, market = own_task(step, pipeline), step.market(pipeline.name)
    readers = [
        ((place.cloud, place.region, None), gb)
        for (source, reader), gb in pipeline.data_edges().items()
        if source == task.name and (place := plan.placements.get(reader))
    ]
    berths = berths_of(task, market, promise.kind, readers)
    spot = {zone: berth.spot for zone, berth in berths.items() if berth.spot}
    if not spot:
        return None
    if task.checkpoint is None:
        return Pilot(berths, StartOver(), market.catalog, now)
    seen = store.observations(since=now - settings.scale.seconds(HISTORY_HOURS))
    step_s = settings.scale.seconds(HISTORY_STEP)
    past = {zone: availability(seen, sold_at(place), now, step_s) for zone, place in spot.items()}
    history = {zone: values for zone, values in past.items() if values}
    options = settings.spot_policy_options
    policy = make_policy(settings.spot_policy, history=history or None, history_step=HISTORY_STEP, **options)
    return Pilot(berths, policy, market.catalog, now)


def elsewhere(step: Step, promise: Promise) -> Promise:
    """The promise with another kind of machine, where none of its kind is to be had: the cheapest that is in time.

    Raises:
        NoFeasibleOffering: if nothing at all is to be had.
    """
    _, pipeline, _ = step.planned()
    market, task = step.market(pipeline.name), own_task(step, pipeline)
    sold = free(task, sold_for(task, market.catalog, market.clouds), market.blocked)
    certain = sold.take(~sold.frame["use_spot"].to_numpy())
    offers = offers_of(task, certain if len(certain) else sold, market.history.get(task.name, ()))
    share = work_ahead(remaining_work(step, promise, None), promise.work) / promise.work
    usd = offers.usd + (promise.hour_usd or 0.0) * offers.hours
    in_time = share * offers.at_most + changeover(promise) <= hours_left(step, promise)
    if not promise.firm:
        best_row = np.argmin(usd)
    else:
        best_row = np.argmin(np.where(in_time, usd, np.inf)) if in_time.any() else np.argmin(offers.at_most)
    return of_kind(step, promise, offers.placement(int(best_row), task.name))


def of_kind(step: Step, promise: Promise, kind: Placement) -> Promise:
    """The promise with another kind of machine."""
    step.driving.pilots.pop(step.job.id, None)
    return promise.model_copy(update={"kind": kind, "saved": promise.saved * kind.hours_at_most / promise.work})


def _situation(step: Step, pilot: Pilot, promise: Promise, here: Cluster | None) -> Situation:
    scale, zone = step.driving.settings.scale, zone_key(here) if here else None
    spot = {key: berth.spot for key, berth in pilot.berths.items() if berth.spot}
    on_demand = {key: berth.on_demand for key, berth in pilot.berths.items() if berth.on_demand}
    spot_price = {key: place.price * place.num_nodes for key, place in spot.items()}
    on_demand_price = {key: place.price * place.num_nodes for key, place in on_demand.items()}
    is_free = _freedom(step)
    kept = to_be_moved(step, here)
    from_ = pilot.berths.get(zone or "")
    moves = {key: berth.moving(pilot.catalog, kept, from_) for key, berth in pilot.berths.items()}
    sold = {key: on_demand_price[key] for key, place in on_demand.items() if is_free(place)}
    situation = Situation(
        now=scale.hours(time.time() - promise.since),
        remaining_work=remaining_work(step, promise, here),
        # One margin is enough for any number of deaths: spot is entered only with two changeovers to spare of this
        # earlier deadline, counted from what a checkpoint holds.
        time_to_deadline=hours_left(step, promise) - promise.at_risk,
        changeover=changeover(promise),
        changeover_left=0.0,
        decision_interval=scale.hours(2 * step.driving.settings.poll_s),
        total_work=promise.work,
        total_time=max(scale.hours(promise.due - promise.since) - promise.at_risk, promise.work),
        price_ratio=min(on_demand_price.values(), default=promise.kind.price) / min(spot_price.values()),
        state="idle" if here is None else "spot" if here.use_spot else "on_demand",
        zone=zone,
        spot_available={key: _runs_on_spot(here, key) or is_free(place) for key, place in spot.items()},
        spot_price=spot_price,
        on_demand_price=sold,
        migration_cost={key: usd for key, (usd, _) in moves.items()},
        moving_hours={key: hours for key, (_, hours) in moves.items()},
        ways_out=ways_out(pilot.berths, sold, pilot.catalog, kept),
        hour_usd=promise.hour_usd or 0.0,
    )
    return without_deadline(situation) if _heeds_time(step, promise) else situation


def _heeds_time(step: Step, promise: Promise) -> bool:
    """Whether it is for the policy to end its patience; others than ours see the end of patience as a deadline."""
    return not promise.firm and step.settings.spot_policy == OURS


def to_be_moved(step: Step, here: Cluster | None) -> Saved | None:
    """The checkpoint that the next start goes on from.

    A job that runs leaves one in its bucket here. Before that it is where the last one was written: a machine that was
    launched in another zone has not brought it there yet.
    """
    kept = step.memory.checkpoint
    if kept is None or here is None or step.memory.running_since is None:
        return kept
    return kept.model_copy(update={"location": location_of(step, here)})


def _freedom(step: Step) -> Callable[[Placement], bool]:
    """From a place to whether it may be tried: not refused lately, or not for as long as the job would wait there."""
    now, probe_s = time.time(), step.driving.settings.scale.seconds(ASK_AGAIN)
    refused = tracker_of(step.driving.settings, step.driving.store, now - probe_s, now).blocked(probe_s)
    vain = (*step.memory.tries.blocks(), *step.refused_itself(probe_s))

    def is_free(place: Placement) -> bool:
        waits = queue_hours(step.task.resources, place)
        stand = (scope for scope in refused if scope.waited is None or waits <= scope.waited)
        return not any(scope.covers(sold_at(place)) for scope in stand) and not is_blocked(place, vain)

    return is_free


def _runs_on_spot(here: Cluster | None, zone: str) -> bool:
    return here is not None and here.use_spot and zone_key(here) == zone
