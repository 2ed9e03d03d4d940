"""A job under a policy on recorded availability: what it costs and when it ends.

The model is that of *Can't Be Late* (NSDI'24, section 3.1): billing by the second, every start costs a changeover
delay at the new machine's price, a preemption is seen at the tick at which it happens. The policy is asked at every
tick and sees what a broker can see, no more: that work or changeovers turn out otherwise than planned (section 5.6) it
learns only from what is done when.

Between zones a start also costs what it takes to bring the checkpoint there: egress, and hours at the new machine's
price. The checkpoint is where the job was started last, or where it ran last (:attr:`SpotJob.moved`); the first start
moves nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lab.traces import Traces
from sky_core.recovery.patience import without_deadline
from sky_core.recovery.reference import IDLE
from sky_core.recovery.situation import ASK_AGAIN, Decision, Policy, Situation, State

Sight = Literal["told", "asked"]
"""What a policy sees of spot: told, every zone's state at every tick. Asked, what its own launches and preemptions have
shown, as in production: spot is taken to be in a zone unless it was refused or taken there within ``ASK_AGAIN``; a
refused launch leaves the job where it is, and the policy is asked once more."""
DONE = 1e-9  # hours of work that count as none
Moved = Literal["begun", "over"]
"""When a checkpoint counts as moved: once a start in another zone has begun, as in SkyNomad's artifact; or once it is
over, as in production, so that a move which is cut short is to be made and paid for again."""


Price = float | NDArray[np.float64]


@dataclass(frozen=True)
class Move:
    """USD of egress, and hours that a start takes longer."""

    usd: float
    hours: float


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
        spot_price: Zone to USD per hour and machine; where it changes, one for each tick of the traces.
        on_demand_price: Zone to USD per hour and machine.
        migration: USD to move the checkpoint to another zone, where ``moves`` does not say.
        nodes: How many machines; the traces are to be loaded for as many.
        moves: (from, to) to what bringing the checkpoint from one zone to another takes.
        refusal: USD for a launch that is refused.
        least_billed: Hours that a machine costs at least.
        moved: When the checkpoint is in a zone where the job was started.
        hour_usd: The weight of time of a job without a deadline, whose ``deadline`` is the end of its patience only
            (:mod:`sky_core.recovery.patience`); None where there is a deadline. Not in the costs.
    """

    work: float
    deadline: float
    changeover: float
    spot_price: Mapping[str, Price]
    on_demand_price: Mapping[str, float]
    migration: float = 0.0
    nodes: int = 1
    moves: Mapping[tuple[str, str], Move] = field(default_factory=dict)
    refusal: float = 0.0
    least_billed: float = 0.0
    moved: Moved = "begun"
    hour_usd: float | None = None

    def move(self, origin: str | None, to: str) -> Move:
        """What it takes to bring the checkpoint to a zone; nothing where it is, or where there is none yet."""
        if origin is None or origin == to:
            return Move(0.0, 0.0)
        return self.moves.get((origin, to)) or Move(self.migration, 0.0)

    def spot_prices(self, tick: int) -> dict[str, float]:
        """USD per hour and machine, by zone."""
        return {zone: float(np.atleast_1d(price)[tick * np.ndim(price)]) for zone, price in self.spot_price.items()}


@dataclass(frozen=True)
class Truth:
    """What a job turns out to need, where that is not what its policy is told.

    Attributes:
        work: Hours on the task's hardware.
        changeovers: Hours that its starts take, in turn, at least one; those after the last take as long as it.
        measured: Whether the policy is told, once the job has started, the longest start so far instead of the
            estimate, as a broker tells it.
    """

    work: float
    changeovers: Sequence[float]
    measured: bool = False


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
        cost: USD in all.
        finish: Hours after its start.
        changeovers: How often the machine, or gang of machines, was started.
        hours: (state, zone) to hours spent there, changeovers included.
        egress: USD for moves, part of the cost.
        refusals: Launches that found no spot.
    """

    cost: float
    finish: float
    changeovers: int
    hours: Mapping[tuple[State, str | None], float]
    timeline: list[Leg] = field(repr=False)
    egress: float = 0.0
    refusals: int = 0


def simulate(
    policy: Policy, traces: Traces, job: SpotJob, start: int = 0, truth: Truth | None = None, sight: Sight = "told"
) -> Outcome:
    """Run ``job`` from tick ``start`` on; as planned unless there is another ``truth``.

    Raises:
        ValueError: if a policy that is told asks for spot that is not there, or the traces end before the job.
    """
    truth = truth or Truth(job.work, [job.changeover])
    run = _Run(job, truth, traces.step, left=truth.work)
    market = _Market(traces, sight)
    tick = start
    while run.left > DONE:
        if tick >= traces.ticks:
            raise ValueError(f"the traces end after {tick - start} ticks, before the job does")
        market.turn(tick)
        run.price = job.spot_prices(tick)
        preempted = run.here.state == "spot" and not market.ask(run.here.zone or "")
        if preempted:
            run.leave()
        decision = _accepted(policy, market, run)
        if preempted or decision != run.here or not run.timeline:
            run.timeline.append(Leg(run.now, decision.state, decision.zone))
        if decision != run.here:
            run.go(decision)
        run.spend()
        tick += 1
    run.leave()
    return Outcome(run.cost, run.now, run.changeovers, dict(run.hours), run.timeline, run.egress, run.refusals)


def _accepted(policy: Policy, market: _Market, run: _Run) -> Decision:
    """The policy's first decision that is not refused."""
    while True:
        seen = market.seen()
        decision = policy.decide(run.situation(seen))
        if decision.state == "spot" and not seen[decision.zone or ""]:
            raise ValueError(f"the policy asks for spot in {decision.zone}, where there is none at {run.now} h")
        if decision.state != "spot" or decision == run.here or market.ask(decision.zone or ""):
            return decision
        run.refusals += 1
        run.cost += run.job.refusal


class _Market:
    """Spot at the present tick, and what is seen of it."""

    def __init__(self, traces: Traces, sight: Sight) -> None:
        self._traces, self._told, self._tick = traces, sight == "told", 0
        self._refused: dict[str, int] = {}  # the tick of the last refusal
        self._patience = ASK_AGAIN / traces.step - 1e-9

    def turn(self, tick: int) -> None:
        """To another tick."""
        self._tick = tick

    def seen(self) -> dict[str, bool]:
        """Where spot can be had, as far as can be known."""
        if self._told:
            return {zone: bool(up[self._tick]) for zone, up in self._traces.up.items()}
        return {
            zone: zone not in self._refused or self._tick - self._refused[zone] >= self._patience
            for zone in self._traces.up
        }

    def ask(self, zone: str) -> bool:
        """Whether spot is there, which is thereby seen."""
        there = bool(self._traces.up[zone][self._tick])
        if not there:
            self._refused[zone] = self._tick
        return there


@dataclass
class _Run:
    """A job under way, in hours and USD. ``starting`` is what is left of the last start, which takes ``delay``."""

    job: SpotJob
    truth: Truth
    step: float
    left: float
    home: str | None = None  # where the checkpoint is
    here: Decision = IDLE
    price: Mapping[str, float] = field(default_factory=dict)  # of spot
    now: float = 0.0
    starting: float = 0.0
    delay: float = 0.0
    told: float = 0.0  # the delay as the policy knows it
    longest: float = 0.0  # of the starts that are over
    billed: float = 0.0  # hours of the present machine
    cost: float = 0.0
    egress: float = 0.0
    changeovers: int = 0
    refusals: int = 0
    hours: dict[tuple[State, str | None], float] = field(default_factory=lambda: defaultdict(float))
    timeline: list[Leg] = field(default_factory=list)

    def situation(self, available: Mapping[str, bool]) -> Situation:
        """What the policy is told: estimates, less what it can see of the truth."""
        job = self.job
        left = self.left + (job.work - self.truth.work)
        moves = {zone: job.move(self.home, zone) for zone in available}
        seen = Situation(
            now=self.now, remaining_work=left or -DONE, time_to_deadline=job.deadline - self.now,  # 0 would mean done
            changeover=self._estimate(),
            changeover_left=max(0.0, self.starting + (self.told - self.delay)) if self.starting else 0.0,
            decision_interval=self.step, total_work=job.work, total_time=job.deadline,
            price_ratio=min(job.on_demand_price.values()) / min(self.price.values()),
            state=self.here.state, zone=self.here.zone, spot_available=available,
            spot_price=self.price, on_demand_price=job.on_demand_price,
            migration_cost={zone: move.usd for zone, move in moves.items()},
            moving_hours={zone: move.hours for zone, move in moves.items()},
            ways_out={zone: min(job.move(zone, to).hours for to in job.on_demand_price) for zone in available},
            hour_usd=job.hour_usd or 0.0,
        )  # fmt: skip
        return seen if job.hour_usd is None else without_deadline(seen)

    def leave(self) -> None:
        """Be nowhere."""
        if self.here.zone is not None:
            self._pay(max(0.0, self.job.least_billed - self.billed))
        self.here, self.starting, self.billed = IDLE, 0.0, 0.0

    def go(self, decision: Decision) -> None:
        """Leave, and start there if it is anywhere."""
        self.leave()
        self.here = decision
        if decision.zone is not None:
            move = self.job.move(self.home, decision.zone)
            self.cost, self.egress = self.cost + move.usd, self.egress + move.usd
            changeover = self.truth.changeovers[min(self.changeovers, len(self.truth.changeovers) - 1)]
            self.delay, self.told = changeover + move.hours, self._estimate() + move.hours
            self.starting, self.changeovers = self.delay, self.changeovers + 1
            if self.job.moved == "begun":
                self.home = decision.zone

    def spend(self) -> None:
        """Until the next decision, or the job's end."""
        span = self.step
        if self.here.zone is not None:
            span = min(span, self.left + self.starting)
            self._pay(span)
            waited = min(self.starting, span)
            self.starting, self.left = self.starting - waited, self.left - (span - waited)
            self.billed += span
            if self.starting <= DONE:
                self.home = self.here.zone
                self.longest = max(self.longest, self.delay)
        self.hours[self.here.state, self.here.zone] += span
        self.now += span

    def _estimate(self) -> float:
        """Hours of a start, as the policy is told."""
        return self.longest if self.truth.measured and self.longest else self.job.changeover

    def _pay(self, hours: float) -> None:
        prices = self.price if self.here.state == "spot" else self.job.on_demand_price
        self.cost += hours * prices[self.here.zone or ""] * self.job.nodes
