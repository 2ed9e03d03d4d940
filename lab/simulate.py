"""A job under a policy on recorded availability: what it costs and when it ends.

The model is that of *Can't Be Late* (NSDI'24, section 3.1): billing by the second, every start costs a changeover
delay at the new machine's price, a preemption is seen at the tick at which it happens. The policy is asked at every
tick and sees what a broker can see, no more: that work or changeovers turn out otherwise than planned (section 5.6) it
learns only from what is done when.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sky_core.recovery.reference import IDLE
from sky_core.recovery.situation import Decision, Policy, Situation, State
from sky_core.recovery.traces import Traces

DONE = 1e-9  # hours of work that count as none


@dataclass(frozen=True)
class SpotJob:
    """A job with a deadline.

    A gang of machines that work together or not at all is treated as one (the polarization rule, section 5.5): all of
    it is in the state and the zone of a decision, which has one of each; losing one of its machines loses the gang; and
    it starts as one, with one changeover and one checkpoint.

    Attributes:
        work: Hours on the task's hardware.
        deadline: Hours from its start.
        changeover: d, hours that a start costs.
        spot_price, on_demand_price: Zone to USD per hour and machine.
        migration: USD to move the checkpoint to another zone.
        nodes: How many machines; the traces are to be loaded for as many.
    """

    work: float
    deadline: float
    changeover: float
    spot_price: Mapping[str, float]
    on_demand_price: Mapping[str, float]
    migration: float = 0.0
    nodes: int = 1


@dataclass(frozen=True)
class Truth:
    """What a job turns out to need, where that is not what its policy is told.

    Attributes:
        work: Hours on the task's hardware.
        changeovers: Hours that its starts take, in turn, at least one; those after the last take as long as it.
    """

    work: float
    changeovers: Sequence[float]


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
        changeovers: How often the machine, or gang of machines, was started.
        hours: (state, zone) to hours spent there, changeovers included.
    """

    cost: float
    finish: float
    changeovers: int
    hours: Mapping[tuple[State, str | None], float]
    timeline: list[Leg] = field(repr=False)


def simulate(policy: Policy, traces: Traces, job: SpotJob, start: int = 0, truth: Truth | None = None) -> Outcome:
    """Run ``job`` from tick ``start`` on; as planned unless there is another ``truth``.

    Raises:
        ValueError: if the policy asks for spot that is not there, or the traces end before the job.
    """
    truth = truth or Truth(job.work, [job.changeover])
    run = _Run(job, truth, traces.step, home=next(iter(traces.up)), left=truth.work)
    tick = start
    while run.left > DONE:
        if tick >= traces.ticks:
            raise ValueError(f"the traces end after {tick - start} ticks, before the job does")
        available = {zone: bool(values[tick]) for zone, values in traces.up.items()}
        preempted = run.here.state == "spot" and not available[run.here.zone or ""]
        if preempted:
            run.here, run.starting = IDLE, 0.0
        decision = policy.decide(run.situation(available))
        if decision.state == "spot" and not available[decision.zone or ""]:
            raise ValueError(f"the policy asks for spot in {decision.zone}, where there is none at tick {tick}")
        if preempted or decision != run.here or not run.timeline:
            run.timeline.append(Leg(run.now, decision.state, decision.zone))
        if decision != run.here:
            run.go(decision)
        run.spend()
        tick += 1
    return Outcome(run.cost, run.now, run.changeovers, dict(run.hours), run.timeline)


@dataclass
class _Run:
    """A job under way, in hours and USD. ``starting`` is what is left of the last start, which takes ``delay``."""

    job: SpotJob
    truth: Truth
    step: float
    home: str  # where the checkpoint is
    left: float
    here: Decision = IDLE
    now: float = 0.0
    starting: float = 0.0
    delay: float = 0.0
    cost: float = 0.0
    changeovers: int = 0
    hours: dict[tuple[State, str | None], float] = field(default_factory=lambda: defaultdict(float))
    timeline: list[Leg] = field(default_factory=list)

    def situation(self, available: Mapping[str, bool]) -> Situation:
        """What the policy is told: estimates, less what it can see of the truth."""
        job = self.job
        left = self.left + (job.work - self.truth.work)
        return Situation(
            now=self.now, remaining_work=left or -DONE, time_to_deadline=job.deadline - self.now,  # 0 would mean done
            changeover=job.changeover,
            changeover_left=max(0.0, self.starting + (job.changeover - self.delay)) if self.starting else 0.0,
            decision_interval=self.step, total_work=job.work, total_time=job.deadline,
            price_ratio=min(job.on_demand_price.values()) / min(job.spot_price.values()),
            state=self.here.state, zone=self.here.zone, spot_available=available,
            spot_price=job.spot_price, on_demand_price=job.on_demand_price,
            migration_cost={zone: 0.0 if zone == self.home else job.migration for zone in available},
        )  # fmt: skip

    def go(self, decision: Decision) -> None:
        """Leave, and start there if it is anywhere."""
        self.here = decision
        if decision.zone is not None:
            self.cost += self.job.migration if decision.zone != self.home else 0.0
            self.delay = self.truth.changeovers[min(self.changeovers, len(self.truth.changeovers) - 1)]
            self.home, self.starting, self.changeovers = decision.zone, self.delay, self.changeovers + 1

    def spend(self) -> None:
        """Until the next decision, or the job's end."""
        span = self.step
        if self.here.zone is not None:
            span = min(span, self.left + self.starting)
            prices = self.job.spot_price if self.here.state == "spot" else self.job.on_demand_price
            self.cost += span * prices[self.here.zone] * self.job.nodes
            waited = min(self.starting, span)
            self.starting, self.left = self.starting - waited, self.left - (span - waited)
        self.hours[self.here.state, self.here.zone] += span
        self.now += span
