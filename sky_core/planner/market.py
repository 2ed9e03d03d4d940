"""What planning may choose from right now: usable clouds, the catalog, what is blocked, what past runs took."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from sky_core.catalog import Catalog
from sky_core.clouds.credentials import login_of, why_unusable
from sky_core.config import EVERY_REGION, Defaults, Settings
from sky_core.facts import facts_of
from sky_core.planner.capacity import not_begun, pools, taken
from sky_core.planner.nodes import Pool
from sky_core.planner.plan import Block
from sky_core.planner.planning import Market
from sky_core.store import Run, Store
from sky_core.tracker import Blocked, Tracker

SLOT_TAKEN_S = 10.0  # after which a slot of one's own machines is asked for again
LOOK_BACK_S = 30 * 24 * 3600.0  # of observations: rates are half forgotten after a week


@lru_cache(maxsize=2)
def load_catalog(home: Path) -> Catalog:
    """The catalog of that home, loaded once per process."""
    return Catalog.load(home)


@lru_cache(maxsize=4)
def _allowed(home: Path, regions: tuple[tuple[str, tuple[str, ...]], ...], usual: Defaults) -> Catalog:
    catalog = load_catalog(home)
    return (catalog.within(dict(regions)) if regions else catalog).with_defaults(usual)


def _reasons(settings: Settings) -> dict[str, str | None]:
    environ = settings.environ()
    return {name: why_unusable(name, config, environ) for name, config in settings.clouds.items()}


def usable_clouds(settings: Settings) -> list[str]:
    """The clouds whose credentials are there, in alphabetical order."""
    return sorted(name for name, why in _reasons(settings).items() if why is None)


def current_market(
    settings: Settings, store: Store, pipeline: str, *, plan_key: str | None = None, anywhere: bool = False
) -> Market:
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
    catalog, now = _allowed(settings.home, regions, settings.defaults), time.time()
    tracker = tracker_of(settings, store, now - LOOK_BACK_S, now)
    return Market(
        catalog=catalog,
        clouds=settings.enabled_clouds() if anywhere else usable,
        left_out={name: why for name, why in reasons.items() if why is not None},
        blocked=(*_blocks(tracker, settings), *not_begun(catalog, now)),
        history=history,
        tracker=tracker,
        held=_held(catalog, store, plan_key),
    )


def tracker_of(settings: Settings, store: Store, since: float, now: float) -> Tracker:
    """A tracker of what was observed since then, without what only the logins of other hosts were refused."""
    seen = store.observations(since=since)
    refused = {item.cloud for item in seen if item.kind == "auth" and item.login is not None}
    ours = {None, *(login_of(cloud, settings) for cloud in refused)}
    return Tracker((item for item in seen if item.kind != "auth" or item.login in ours), now)


def _held(catalog: Catalog, store: Store, plan_key: str | None) -> Mapping[Pool, int]:
    """What jobs of other plans hold of the machines that are counted."""
    scarce = pools(catalog)
    if not scarce:
        return {}
    ours = {job.id for job in store.jobs(plan_key=plan_key, limit=1_000_000)} if plan_key else set()
    return taken(scarce, (cluster for cluster in store.clusters(open_only=True) if cluster.job_id not in ours))


def _blocks(tracker: Tracker, settings: Settings) -> Iterator[Block]:
    """What was refused lately; slots of one's own machines are given back sooner than a cloud finds more machines."""
    for scope in (*tracker.blocked(settings.blocked_ttl_s), *tracker.sold_out(settings.blocked_ttl_s)):
        if not facts_of(scope.cloud).own:
            yield _block(scope)
    for scope in tracker.blocked(min(SLOT_TAKEN_S, settings.blocked_ttl_s)):
        if facts_of(scope.cloud).own:
            yield _block(scope).model_copy(update={"passing": scope.passing})


def _block(scope: Blocked) -> Block:
    return Block(
        cloud=scope.cloud,
        region=scope.region,
        zone=scope.zone,
        instance_type=scope.instance_type,
        accelerator=scope.accelerator,
        use_spot=None if scope.market is None else scope.market == "spot",
        reservation=scope.reservation,
        num_nodes=scope.num_nodes,
        reason=scope.reason,
        until=scope.until,
        guessed=scope.guessed,
        waited=scope.waited,
    )
