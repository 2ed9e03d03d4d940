"""Policies that throw dice, so that no market can lie in wait for them; each is to be run within the safety net.

A deterministic policy can be made to pay k times the optimum, k being the price ratio: a market that knows it has spot
just when the policy cannot take it (NSDI'24, section 4.1; arXiv 2601.14612). Against a market that does not see the
dice, a policy that does some of its work at a random time pays less in expectation.

What both have that their papers do not: where those go on-demand for some time, these are *at work* for it, on spot if
there is any and on-demand otherwise. As much gets done for less, changeovers aside, which those bounds neglect as well.
"""

from __future__ import annotations

import math
import random

from sky_core.recovery.reference import EPSILON, IDLE, on_demand, on_spot, wait_or_work
from sky_core.recovery.situation import Decision, Situation


class RandomizedShiftedGreedy:
    """Greedy within slices of time, and with even odds a first slice's work done at once and the slices shifted.

    *Can't Be Late* (NSDI'24, section 4.1, where it is called RSF). With C and R hours of work and time and R >= 2 C,
    one schedule asks for C / n by the end of each of n slices of R / n; the other has C / n done from the start and
    n - 1 such slices after it. Spot that one cannot take the other is waiting for, so that the cost is at most
    (k + 1) / 2 + (k - 1) / (2 n) times the optimum. A tighter deadline is first made a loose one: at work until R = 2 C
    (MRSF there). As in the paper's time-sliced policy what is done beyond a slice's share counts for the next.

    Args:
        slices: n.
        seed: Of the throw; the same seed makes a policy that decides the same.
    """

    def __init__(self, slices: int = 8, seed: int | None = None) -> None:
        self._slices = slices
        self._shifted = random.Random(seed).random() < 0.5  # noqa: S311 no secret depends on it

    def decide(self, situation: Situation) -> Decision:
        """Spot if there is any; else wait as long as what the schedule asks for can still be done on demand."""
        due, by = self._next(situation)
        done = situation.total_work - situation.remaining_work
        return on_spot(situation) or wait_or_work(situation, due - done, by - situation.now)

    def _next(self, situation: Situation) -> tuple[float, float]:
        """The next hours of work that the schedule asks for, and by when, both since the start."""
        head = max(0.0, 2 * situation.total_work - situation.total_time)
        share, length = ((total - head) / self._slices for total in (situation.total_work, situation.total_time))
        head += share if self._shifted else 0.0
        if situation.now < head - EPSILON:
            return head, head
        slices = int((situation.now - head) / length + EPSILON) + 1
        return min(head + slices * share, situation.total_work), head + slices * length


class Ross:
    """Greedy but for one stretch of work at a random time, whose length balances what it costs with what it saves.

    ROSS (Bhuyan et al., *Exploiting Spot Instances for Time-Critical Cloud Workloads Using Optimal Randomized
    Strategies*, arXiv 2601.14612). With k the price ratio, C and R the hours of work and time that are left: wait for
    spot while R / C > (1 + 2 sqrt k) / (1 + sqrt k); from then on be at work for delta = C / (1 + sqrt k) hours, at a
    random time within the next C hours, and wait for spot otherwise. The cost is at most sqrt k times the optimum where
    the deadline is loose enough for the first condition to hold at the start, which no policy can better.

    Only the abstract and accounts of others were at hand, not the paper itself. What follows from them and the bound:
    threshold, delta and window (at the threshold, the end of the window is when the rest must begin on demand). Ours:
    of the paper's two ways to warm up the one that waits for spot; a deadline that is tighter from the start shortens
    the window to the slack, so that the stretch is always had; the stretch is longer by the changeover that it costs.

    Args:
        seed: Of the throw; the same seed makes a policy that, asked the same, decides the same.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._throw = random.Random(seed).random()  # noqa: S311 no secret depends on it
        self._stretch: tuple[float, float] | None = None  # hours since the start

    def decide(self, situation: Situation) -> Decision:
        """Spot if there is any, else on-demand within the stretch and idle outside."""
        if self._stretch is None and not self._is_loose(situation):
            self._stretch = self._draw(situation)
        begin, end = self._stretch or (math.inf, math.inf)
        otherwise = on_demand(situation) if begin - EPSILON <= situation.now < end - EPSILON else IDLE
        return on_spot(situation) or otherwise

    @staticmethod
    def _is_loose(situation: Situation) -> bool:
        root = math.sqrt(situation.price_ratio)
        return situation.time_to_deadline / situation.remaining_work > (1 + 2 * root) / (1 + root)

    def _draw(self, situation: Situation) -> tuple[float, float]:
        delta = situation.remaining_work / (1 + math.sqrt(situation.price_ratio))
        # Two changeovers: the stretch's, and that of the end on demand.
        slack = situation.time_to_deadline - situation.remaining_work - 2 * situation.changeover
        begin = situation.now + self._throw * max(0.0, min(situation.remaining_work - delta, slack))
        return begin, begin + delta + situation.changeover
