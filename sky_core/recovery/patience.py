"""Jobs without a deadline: least expected cost, in which every hour until the end has a price.

Their policy sees them as jobs with a deadline so far off that it hardly binds: it may wait for ``PATIENCE`` hours an
hour of work in all, if that is worth the time. Who has waited for so long does not wait any more: an hour is worth what
a machine on demand costs then, so that spot is taken where it is to be had, and on-demand where not.
"""

from __future__ import annotations

from dataclasses import replace

from sky_core.recovery.situation import Situation

PATIENCE = 1.0
LEAST_H = 1.0  # of patience
AGAIN = 0.25
"""Of the work that was estimated, what a job is taken to have before it once it has outrun its estimate."""
KEPT = 6.0
"""Changeovers of slack beyond the patience: with less, the safety net has a job pay for on-demand to the end, which
nobody asks for here."""


def time_to_end(work: float) -> float:
    """Hours from its submission until a job of ``work`` hours has used up its patience."""
    return work + max(PATIENCE * work, LEAST_H)


def without_deadline(situation: Situation) -> Situation:
    """A situation whose deadline is when patience is used up, as the policy of a job without a deadline sees it."""
    work = work_ahead(situation.remaining_work, situation.total_work)
    kept = KEPT * (situation.changeover + max(situation.moving_hours.values(), default=0.0))
    patience = situation.time_to_deadline - situation.remaining_work
    worth = situation.hour_usd
    if patience <= 0:
        worth = max([worth, *situation.on_demand_price.values()])
    return replace(situation, remaining_work=work, time_to_deadline=work + max(patience, 0.0) + kept, hour_usd=worth)


def work_ahead(remaining: float, total: float) -> float:
    """Hours of work that a job is taken to have before it, which may have outrun its estimate."""
    return AGAIN * total if remaining < 0 else remaining
