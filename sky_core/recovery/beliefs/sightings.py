"""What a job's launches, refusals and preemptions have shown of each zone, and what is believed of it since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sky_core.recovery.beliefs.market_model import Zone, watch
from sky_core.recovery.reference import IDLE
from sky_core.recovery.situation import Decision, Situation


class Sightings:
    """Tells what a situation shows from what it takes for granted.

    The situation may say itself what was seen. Where it does not: that spot is not there has been seen, as it was
    refused or taken. That it is there is seen where the job runs on it; elsewhere it may be no more than that nobody
    has been refused lately.

    Attributes:
        zones: What is believed, by zone.
        home: Where the checkpoint is, None before the first start: where the job was started last, unless the
            situation says that a start there still takes longer than where it was before.
        news: Whether a zone was seen otherwise than at the last look since this was last set to False.
        told: Whether the last look told the states of all zones.
    """

    def __init__(self, history: Mapping[str, Sequence[bool]] | None, history_step: float | None) -> None:
        self.zones = {zone: watch(seen, history_step or 0.0) for zone, seen in (history or {}).items()}
        self.home: str | None = None
        self.news = False
        self.told = False
        self._last: Situation | None = None
        self._wish = IDLE
        self._bound: str | None = None  # where the job was started last

    def decided(self, situation: Situation, decision: Decision) -> None:
        """What the job's policy wishes, which the next situation answers."""
        self._last, self._wish = situation, decision

    def look(self, situation: Situation, *, told: bool = False) -> None:
        """Take in a situation. A job's first look follows the last of the history by a decision interval.

        Args:
            told: Whether it tells the states of all zones, so that every look counts.
        """
        last = self._last
        gap = situation.decision_interval if last is None else max(0.0, situation.now - last.now)
        if situation.seen is None and last is not None and gap >= situation.decision_interval / 2:
            self._started(last)  # else the launch was refused at once
        self._come_to(situation.zone or self._bound, situation.moving_hours)
        self.told = told
        for name in situation.spot_available:
            zone, up = self.zones.setdefault(name, Zone()), self._seen(situation, name)
            if up is None:
                zone.look_away(gap)
            else:
                self.news = self.news or up != zone.up
                zone.observe(up, gap)

    def _seen(self, situation: Situation, zone: str) -> bool | None:
        """Whether spot was seen in a zone now; None if nobody looked."""
        if (situation.state, situation.zone) == ("spot", zone):
            return situation.spot_available[zone]
        if situation.seen is not None:
            return situation.seen.get(zone)
        up = situation.spot_available[zone]
        if self.told:
            return up
        before = self._last.spot_available.get(zone, True) if self._last else True
        return False if before and not up else None  # else it is taken to be down still, and nobody looked

    def _come_to(self, zone: str | None, hours: Mapping[str, float]) -> None:
        """Take the checkpoint to be where the job was started last, if a start there is none the longer for it."""
        self._bound = zone
        if zone is not None and hours.get(zone, 0.0) <= hours.get(self.home or zone, 0.0):
            self.home = zone

    def _started(self, last: Situation) -> None:
        """The last wish came true, whatever has become of it since."""
        zone = self._wish.zone
        if zone is None or (last.state, last.zone) == (self._wish.state, zone):
            return
        self._bound = zone
        if self._wish.state == "spot":
            self.news = True
            self.zones.setdefault(zone, Zone()).observe(True, 0.0)
