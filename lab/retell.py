"""A simulated job as a story, to be drawn like a real one, beside the exact optimum of hindsight."""

from __future__ import annotations

import numpy as np

from lab.hindsight import hindsight_cost
from lab.simulate import Sight, SpotJob, simulate
from lab.traces import Traces
from sky_core.events import Weighed
from sky_core.job.story import Leg, Story, Thought
from sky_core.recovery import Decision, Policy, Situation
from sky_core.recovery.weighing import called, weighing_of


class Listener:
    """Lets a policy decide, and notes its changes of mind and the launches that were refused to it."""

    def __init__(self, inside: Policy) -> None:
        self.inside = inside
        self.thoughts: list[Thought] = []
        self.refused: list[tuple[float, str]] = []
        self._asked: tuple[float, str] | None = None
        self._last: Decision | None = None

    def decide(self, situation: Situation) -> Decision:
        """What the policy inside says."""
        if self._asked and self._asked[0] == situation.now:  # asked once more at the same moment
            self.refused.append(self._asked)
        decision, weighing = self.inside.decide(situation), weighing_of(self.inside)
        there = decision.state == "spot" and (situation.state, situation.zone) != ("spot", decision.zone)
        self._asked = (situation.now, decision.zone or "") if there else None
        if decision != self._last and weighing is not None:
            slack = situation.time_to_deadline - situation.remaining_work
            usd = {called(option): cost for option, cost in weighing.usd.items()}
            price = {called(Decision("spot", zone)): usd for zone, usd in situation.spot_price.items()}
            weighed = Weighed(
                chosen=called(decision),
                left=situation.remaining_work,
                slack=slack,
                usd=usd,
                up=weighing.up,
                price=price,
            )
            self.thoughts.append(Thought(situation.now, weighed))
        self._last = decision
        return decision


def retell(policy: Policy, traces: Traces, job: SpotJob, sight: Sight = "asked") -> Story:
    """Run a job and tell how it went."""
    listener = Listener(policy)
    out = simulate(listener, traces, job, sight=sight)
    ends = [leg.begin for leg in out.timeline[1:]] + [out.finish]
    legs = tuple(
        Leg(
            leg.begin,
            end,
            leg.zone,
            leg.state.replace("_", "-"),
            (end - leg.begin) * _price(job, leg.state, leg.zone),
            "",
        )
        for leg, end in zip(out.timeline, ends, strict=True)
        if leg.zone is not None
    )
    beside = {
        "on-demand throughout": (job.work + job.changeover) * min(job.on_demand_price.values()) * job.nodes,
        "hindsight": hindsight_cost(traces, job),
    }
    return Story(job.deadline, tuple(legs), tuple(listener.refused), tuple(listener.thoughts), out.egress, beside)


def _price(job: SpotJob, state: str, zone: str) -> float:
    """USD per hour of all machines; of spot whose price changes, the mean."""
    prices = job.spot_price if state == "spot" else job.on_demand_price
    return float(np.mean(prices[zone])) * job.nodes
