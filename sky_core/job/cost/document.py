"""What was spent, for other programs: ``skyloom cost --json``. It may gain fields; else ``version`` changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from sky_core.job.cost.groups import Dimension, Group


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Spent(_Part):
    """An amount, and what it was for."""

    of: dict[str, str]
    """A value for each dimension asked for; none in the total. Of a label that is not there it is empty."""
    jobs: int
    hours: float
    """Machine hours."""
    compute_usd: float
    egress_usd: float
    usd: float
    idle_usd: float
    """Part of ``compute_usd`` for which machines did nothing, kept for the next job."""
    so_far: bool
    """Whether machines of it may still exist, so that it grows."""


class Saved(_Part):
    """What was saved by runs that are over, USD."""

    runs: int
    """How many of them have a plan that this version can read; what follows but ``by_spot_usd`` is of those."""
    planned_usd: float
    """What they were first planned to cost."""
    usd: float
    """What they have cost."""
    by_moving_usd: float
    """How much dearer the best that one cloud alone could have done would have been, by the same plans."""
    by_spot_usd: float | None
    """How much dearer the same machines would have been on demand, at today's prices; null without any on spot, or
    where a price is unknown."""


class CostDocument(_Part):
    """What the jobs of a store have cost."""

    version: Literal[1] = 1
    by: tuple[str, ...]
    """Columns of charges, and labels as ``label:KEY``."""
    since: str | None
    """The first day (UTC) that is counted; null for all."""
    groups: tuple[Spent, ...]
    total: Spent
    saved: Saved | None = None
    """Only where it is asked for, by ``--saved``."""

    @classmethod
    def of(
        cls,
        groups: Sequence[Group],
        total: Group,
        by: Sequence[Dimension],
        since: str | None,
        saved: Saved | None = None,
    ) -> CostDocument:
        """From groups by those dimensions."""
        spent = tuple(_spent(group, by) for group in groups)
        return cls(by=tuple(str(name) for name in by), since=since, groups=spent, total=_spent(total, ()), saved=saved)


def _spent(group: Group, by: Sequence[Dimension]) -> Spent:
    return Spent(
        of=dict(zip(map(str, by), group.key, strict=True)),
        jobs=group.jobs,
        hours=group.hours,
        compute_usd=group.compute_usd,
        egress_usd=group.egress_usd,
        usd=group.usd,
        idle_usd=group.idle_usd,
        so_far=group.so_far,
    )
