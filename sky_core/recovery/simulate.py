"""A job under a policy on recorded availability: what it costs and when it ends.

The model is that of *Can't Be Late* (NSDI'24, section 5.1): billing by the second, every start costs a changeover
delay at the new machine's price, a preemption is seen at the tick at which it happens. The policy is asked at every
tick and sees what a broker can see, no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from sky_core.recovery.situation import Decision, Policy, Situation, State
from sky_core.recovery.traces import Traces

DONE = 1e-9  # hours of work that count as none


@dataclass(frozen=True)
class SpotJob:
    """A job with a deadline.

    Attributes:
        work: Hours on the task's hardware.
        deadline: Hours from its start.
        changeover: d, hours that a start costs.
        spot_price, on_demand_price: Zone to USD per hour.
        migration: USD to move the checkpoint to another zone.
    """

    work: float
    deadline: float
    changeover: float
    spot_price: Mapping[str, float]
    on_demand_price: Mapping[str, float]
    migration: float = 0.0


@dataclass(frozen=True)
class Leg:
    """From ``begin`` (hours after the job's start) on, the job was here."""

    begin: float
    state: State
    zone: str | None


@dataclass(frozen=True)
class Outcome:
    """How a job went.

    Attributes:
        cost: USD.
        finish: Hours after its start.
        changeovers: How often a machine was started.
        hours: (state, zone) to hours spent there, changeovers included.
    """

    cost: float
    finish: float
    changeovers: int
    hours: Mapping[tuple[State, str | None], float]
    timeline: list[Leg] = field(repr=False)


def simulate(policy: Policy, traces: Traces, job: SpotJob, start: int = 0) -> Outcome:
    """Run ``job`` from tick ``start`` on.

    Raises:
        ValueError: if the policy asks for spot that is not there, or the traces end before the job.
    """
    here, home = Decision("idle", None), next(iter(traces.up))
    now, left, starting, cost, changeovers, tick = 0.0, job.work, 0.0, 0.0, 0, start
    hours: dict[tuple[State, str | None], float] = defaultdict(float)
    timeline: list[Leg] = []
    staying = {zone: {other: 0.0 if other == zone else job.migration for other in traces.up} for zone in traces.up}
    price_ratio = min(job.on_demand_price.values()) / min(job.spot_price.values())
    while left > DONE:
        if tick >= traces.ticks:
            raise ValueError(f"the traces end after {tick - start} ticks, before the job does")
        available = {zone: bool(values[tick]) for zone, values in traces.up.items()}
        preempted = here.state == "spot" and not available[here.zone or ""]
        if preempted:
            here, starting = Decision("idle", None), 0.0
        decision = policy.decide(
            Situation(
                now=now, remaining_work=left, time_to_deadline=job.deadline - now, changeover=job.changeover,
                changeover_left=starting, decision_interval=traces.step, total_work=job.work,
                total_time=job.deadline, price_ratio=price_ratio, state=here.state, zone=here.zone,
                spot_available=available, spot_price=job.spot_price, on_demand_price=job.on_demand_price,
                migration_cost=staying[home],
            )
        )  # fmt: skip
        if decision.state == "spot" and not available[decision.zone or ""]:
            raise ValueError(f"the policy asks for spot in {decision.zone}, where there is none at tick {tick}")
        if preempted or decision != here or not timeline:
            timeline.append(Leg(now, decision.state, decision.zone))
        if decision != here and decision.zone is not None:
            cost += staying[home][decision.zone]
            home, starting, changeovers = decision.zone, job.changeover, changeovers + 1
        here = decision
        span = traces.step
        if here.zone is not None:
            span = min(span, left + starting)
            cost += span * (job.spot_price if here.state == "spot" else job.on_demand_price)[here.zone]
            waited = min(starting, span)
            starting, left = starting - waited, left - (span - waited)
        hours[here.state, here.zone] += span
        now, tick = now + span, tick + 1
    return Outcome(cost, now, changeovers, dict(hours), timeline)
