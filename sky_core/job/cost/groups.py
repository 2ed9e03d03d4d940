"""Charges added up in groups. However they are grouped, the groups come to the same sum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import fsum
from operator import attrgetter
from typing import Literal, NamedTuple, TypeAlias, get_args

from sky_core.job.bill import InParts
from sky_core.job.cost.charges import Charge

Column = Literal["pipeline", "run", "task", "job", "person", "cloud", "region", "market", "day"]
COLUMNS: tuple[Column, ...] = get_args(Column)


class Label(NamedTuple):
    """The value that a charge's job has for one key of its labels."""

    key: str

    def __str__(self) -> str:
        return f"label:{self.key}"


Dimension: TypeAlias = Column | Label


@dataclass(frozen=True)
class Group(InParts):
    """The charges that are alike in what was asked for.

    Attributes:
        key: A value for each dimension asked for; "" for a label that is not there.
        jobs: How many jobs have a charge in it.
        idle_usd: Those of its compute for which machines did nothing, kept for whatever job might come.
        so_far: Whether machines of it may still exist, so that it grows.
    """

    key: tuple[str, ...]
    jobs: int
    hours: float
    compute_usd: float
    egress_usd: float
    idle_usd: float
    so_far: bool


def grouped(charges: Iterable[Charge], by: Sequence[Dimension]) -> list[Group]:
    """A group for each combination that occurs: days in their order, else the dearest first."""
    alike: dict[tuple[str, ...], list[Charge]] = {}
    readers = [_reader(dimension) for dimension in by]
    for charge in charges:
        alike.setdefault(tuple([read(charge) for read in readers]), []).append(charge)
    groups = [total(members, key) for key, members in alike.items()]
    if "day" in by:
        day = by.index("day")
        return sorted(groups, key=lambda group: (group.key[day], -group.usd, group.key))
    return sorted(groups, key=lambda group: (-group.usd, group.key))


def _reader(dimension: Dimension) -> Callable[[Charge], str]:
    if isinstance(dimension, Label):
        return lambda charge: charge.labels.get(dimension.key, "")
    return attrgetter(dimension)


def total(charges: Iterable[Charge], key: tuple[str, ...] = ()) -> Group:
    """All of them as one."""
    members = list(charges)
    return Group(
        key,
        jobs=len({charge.job for charge in members}),
        hours=fsum(charge.hours for charge in members),
        compute_usd=fsum(charge.compute_usd for charge in members),
        egress_usd=fsum(charge.egress_usd for charge in members),
        idle_usd=fsum(charge.compute_usd for charge in members if charge.idle),
        so_far=any(charge.running for charge in members),
    )
