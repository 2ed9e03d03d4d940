"""What planning may choose from right now: usable clouds, the catalog, what is blocked, what past runs took."""

from __future__ import annotations

import time
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

from sky_core.catalog import Catalog
from sky_core.clouds.credentials import why_unusable
from sky_core.config import EVERY_REGION, Settings
from sky_core.planner.plan import Block
from sky_core.planner.planning import Market
from sky_core.store import Run, Store
from sky_core.tracker import Blocked, Tracker

LOOK_BACK_S = 30 * 24 * 3600.0  # of observations: rates are half forgotten after a week


@lru_cache(maxsize=2)
def load_catalog(home: Path) -> Catalog:
    """The catalog of that home, loaded once per process."""
    return Catalog.load(home)


@lru_cache(maxsize=4)
def _allowed(home: Path, regions: tuple[tuple[str, tuple[str, ...]], ...]) -> Catalog:
    catalog = load_catalog(home)
    return catalog.within(dict(regions)) if regions else catalog


def _reasons(settings: Settings) -> dict[str, str | None]:
    return {name: why_unusable(name, config) for name, config in settings.clouds.items()}


def usable_clouds(settings: Settings) -> list[str]:
    """The clouds whose credentials are there, in alphabetical order."""
    return sorted(name for name, why in _reasons(settings).items() if why is None)


def current_market(settings: Settings, store: Store, pipeline: str, *, anywhere: bool = False) -> Market:
    """What may be chosen from at this moment, for the pipeline of that name.

    With ``anywhere`` all that are enabled count, whether they can be used yet or not: what would it cost?
    """
    reasons = _reasons(settings)
    usable = tuple(sorted(name for name, why in reasons.items() if why is None))
    history: dict[str, list[Run]] = defaultdict(list)
    for run in store.runs(pipeline):
        history[run.task].append(run)
    regions = tuple(
        (name, config.regions) for name, config in settings.clouds.items() if config.regions != EVERY_REGION
    )
    now = time.time()
    tracker = Tracker(store.observations(since=now - LOOK_BACK_S), now)
    return Market(
        catalog=_allowed(settings.home, regions),
        clouds=settings.enabled_clouds() if anywhere else usable,
        left_out={name: why for name, why in reasons.items() if why is not None},
        blocked=tuple(_block(scope) for scope in tracker.blocked(settings.blocked_ttl_s)),
        history=history,
        tracker=tracker,
    )


def _block(scope: Blocked) -> Block:
    return Block(
        cloud=scope.cloud,
        region=scope.region,
        zone=scope.zone,
        instance_type=scope.instance_type,
        accelerator=scope.accelerator,
        use_spot=None if scope.market is None else scope.market == "spot",
        reason=scope.reason,
        until=scope.until,
    )
