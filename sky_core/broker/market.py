"""What planning may choose from right now: usable clouds, the catalog, what is blocked, what past runs took."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from sky_core.catalog import Catalog
from sky_core.clouds.credentials import why_unusable
from sky_core.config import Settings
from sky_core.planner.plan import Block
from sky_core.planner.planning import Market
from sky_core.store import Observation, Run, Store


@lru_cache(maxsize=2)
def load_catalog(home: Path) -> Catalog:
    """The catalog of that home, loaded once per process."""
    return Catalog.load(home)


def _reasons(settings: Settings) -> dict[str, str | None]:
    return {name: why_unusable(name, config) for name, config in settings.clouds.items()}


def usable_clouds(settings: Settings) -> list[str]:
    """The clouds whose credentials are there, in alphabetical order."""
    return sorted(name for name, why in _reasons(settings).items() if why is None)


def current_market(settings: Settings, store: Store, pipeline: str) -> Market:
    """What may be chosen from at this moment, for the pipeline of that name."""
    reasons = _reasons(settings)
    history: dict[str, list[Run]] = defaultdict(list)
    for run in store.runs(pipeline):
        history[run.task].append(run)
    now = time.time()
    return Market(
        catalog=load_catalog(settings.home),
        clouds=tuple(sorted(name for name, why in reasons.items() if why is None)),
        left_out={name: why for name, why in reasons.items() if why is not None},
        blocked=tuple(blocks(store.observations(since=now - settings.blocked_ttl_s), settings.blocked_ttl_s)),
        history=history,
    )


def blocks(observations: Iterable[Observation], ttl_s: float) -> Iterable[Block]:
    """What recent refusals and preemptions say is not to be had for ``ttl_s`` seconds after them."""
    for seen in observations:
        if seen.kind not in ("capacity", "quota", "auth", "preempted"):
            continue
        whole_cloud = seen.scope == "cloud"
        yield Block(
            cloud=seen.cloud,
            region=None if whole_cloud else seen.region,
            zone=seen.zone if seen.scope == "zone" else None,
            # A quota or a zone's capacity concerns this kind of machine only; bad credentials concern everything.
            instance_type=None if seen.kind == "auth" else seen.instance_type,
            use_spot=None if seen.kind == "auth" else seen.market == "spot",
            reason=f"{seen.kind} in {seen.zone or seen.region}",
            until=seen.at + ttl_s,
        )
