"""What a job goes by of what it is told about other zones: the answers to what it would have asked.

To be told is worth little where moves cost something. What is foreseen of zones elsewhere is vague, and to act on
every change of theirs made jobs no cheaper on markets that nothing was chosen on, and dearer on some: they passed over
spot that was young, and moved for spot that was old. By answers alone a job costs what it costs where it has to ask.
"""

from __future__ import annotations

from dataclasses import replace

from sky_core.recovery.reference import EPSILON, IDLE
from sky_core.recovery.situation import ASK_AGAIN, Decision, Situation


class Answers:
    """Hides the states that nobody asked for.

    A zone counts as having spot unless it was asked in vain, or spot was lost there, within ``ASK_AGAIN``. Situations
    that say what was seen are left as they are.

    Attributes:
        told: Whether the states of all zones are evidently told: one that nobody had asked turned out to be down.
    """

    def __init__(self) -> None:
        self.told = False
        self._last: Situation | None = None
        self._wish = IDLE
        self._down: dict[str, float] = {}  # when spot was last seen not to be there

    def look(self, situation: Situation) -> None:
        """Take in a situation, which answers the last wish."""
        self.told = self.told or self._is_told(situation)
        self._last = situation
        if not _has(situation, self._wish):
            self._down[self._wish.zone or ""] = situation.now

    def shown(self, situation: Situation) -> Situation:
        """The situation as who asks would have it."""
        if situation.seen is not None:
            return situation
        here = situation.zone if situation.state == "spot" else None
        up = {zone: up if zone == here else self._may_have(zone, situation.now)
              for zone, up in situation.spot_available.items()}  # fmt: skip
        return replace(situation, spot_available=up)

    def answer(self, situation: Situation, decision: Decision) -> bool:
        """Whether the decision can be had; if not, that is known from now on."""
        self._wish = decision
        if _has(situation, decision):
            return True
        self._down[decision.zone or ""] = situation.now
        return False

    def _is_told(self, situation: Situation) -> bool:
        if situation.seen is not None:
            return False
        before = self._last.spot_available if self._last else {}
        asked = self._wish.zone if self._wish.state == "spot" else None
        return any(not up and before.get(zone, True) and zone != asked for zone, up in situation.spot_available.items())

    def _may_have(self, zone: str, now: float) -> bool:
        return zone not in self._down or now - self._down[zone] >= ASK_AGAIN - EPSILON


def _has(situation: Situation, decision: Decision) -> bool:
    return decision.state != "spot" or situation.spot_available.get(decision.zone or "", False)
