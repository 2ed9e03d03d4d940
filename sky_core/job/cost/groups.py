"""Charges added up in groups. However they are grouped, the groups come to the same sum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Literal, get_args

from sky_core.job.bill import InParts
from sky_core.job.cost.charges import Charge

Dimension = Literal["pipeline", "run", "task", "job", "cloud", "region", "market", "day"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


@dataclass(frozen=True)
class Group(InParts):
    """The charges that are alike in what was asked for.

    Attributes:
        key: A value for each dimension asked for.
        jobs: How many jobs have a charge in it.
        so_far: Whether machines of it may still exist, so that it grows.
    """

    key: tuple[str, ...]
    jobs: int
    hours: float
    compute_usd: float
    egress_usd: float
    so_far: bool


def grouped(charges: Iterable[Charge], by: Sequence[Dimension]) -> list[Group]:
    """A group for each combination that occurs: days in their order, else the dearest first."""
    alike: dict[tuple[str, ...], list[Charge]] = {}
    at = [Charge._fields.index(name) for name in by]
    for charge in charges:
        alike.setdefault(tuple([str(charge[place]) for place in at]), []).append(charge)
    groups = [total(members, key) for key, members in alike.items()]
    if "day" in by:
        day = by.index("day")
        return sorted(groups, key=lambda group: (group.key[day], -group.usd, group.key))
    return sorted(groups, key=lambda group: (-group.usd, group.key))


def total(charges: Iterable[Charge], key: tuple[str, ...] = ()) -> Group:
    """All of them as one."""
    members = list(charges)
    return Group(
        key,
        jobs=len({charge.job for charge in members}),
        hours=fsum(charge.hours for charge in members),
        compute_usd=fsum(charge.compute_usd for charge in members),
        egress_usd=fsum(charge.egress_usd for charge in members),
        so_far=any(charge.running for charge in members),
    )
