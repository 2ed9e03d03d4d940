"""The spot market as the team's own runs have seen it."""

from __future__ import annotations

import time

from sky_core.overview.spot import ZoneMarket, spot_market
from sky_core.ui.answers import Answer, Asked
from sky_core.ui.pages.drawing import drawn

DAYS, MOST_DAYS = 7, 90
MOST_ROWS = 200
MOST_STRETCHES = 400  # of a zone, the latest: more are not to be told apart
DAY_S = 86400.0


def spot_page(asked: Asked) -> Answer:
    """Availability and prices by zone over the last days."""
    days, now = asked.number("days", DAYS, MOST_DAYS), time.time()
    since = now - days * DAY_S
    seen = asked.store.observations(since)
    clusters = asked.store.clusters(since=since)
    markets = spot_market(seen, (one for one in clusters if one.intended_at >= since), now)
    rows = [(one, _strip(one, since, now)) for one in markets[:MOST_ROWS]]
    return drawn("spot", asked, days=days, rows=rows, more=max(0, len(markets) - MOST_ROWS), signs=len(seen))


def _strip(market: ZoneMarket, since: float, now: float) -> list[tuple[float, float, bool]]:
    """Its stretches as (left, width, up), in percent of the time shown."""
    span = now - since
    return [
        (100 * (one.begin - since) / span, 100 * (one.end - one.begin) / span, one.up)
        for one in market.stretches[-MOST_STRETCHES:]
    ]
