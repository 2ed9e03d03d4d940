"""What every kind of event has: fields that the store keeps as JSON, and words for the logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, Self, dataclass_transform

EventKind = Literal[
    "submitted",
    "launching",
    "launched",
    "refused",
    "in queue",
    "launch unclear",
    "gave up",
    "replanned",
    "limit",
    "placed apart",
    "objective missed",
    "key missing",
    "cloud missing",
    "exhausted",
    "started",
    "phase",
    "moved",
    "restored",
    "promised",
    "weighed",
    "waiting",
    "unsaved",
    "leaving",
    "left",
    "too slow",
    "deadline in danger",
    "eviction notice",
    "preempted",
    "reservation ended",
    "died",
    "node lost",
    "node joined",
    "lost",
    "unreachable",
    "not ready",
    "way cut",
    "network out",
    "network back",
    "found ended",
    "verdict unreadable",
    "bucket not asked",
    "bucket refused",
    "launch failed",
    "recovering",
    "terminated",
    "terminate failed",
    "left owed",
    "stray ended",
    "cancel requested",
    "unwanted",
    "dismissed",
    "step failed",
    "succeeded",
    "failed",
    "cancelled",
    "queued",
    "output removed",
    "kept",
    "not kept",
    "taken",
    "not taken",
]

KINDS: dict[str, type[Happening]] = {}
"""The class of each kind."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Happening:
    """A fact of a job's life. A subclass names its ``kind`` and is a frozen dataclass by that.

    A field added to a kind needs a default, since rows without it are in people's stores.
    """

    kind: ClassVar[EventKind]
    _names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, kind: EventKind | None = None) -> None:
        dataclass(frozen=True, kw_only=True)(cls)
        cls._names = tuple(field.name for field in fields(cls))  # type: ignore[arg-type]  # a dataclass by now
        if kind is not None:
            cls.kind = kind
            KINDS[kind] = cls

    def words(self) -> str:
        """One line, without time and task."""
        raise NotImplementedError

    def data(self) -> dict[str, object]:
        """Its fields for JSON; one whose name Python keeps for itself (``from_``) without the underscore."""
        return {name.rstrip("_"): getattr(self, name) for name in self._names}

    @classmethod
    def of(cls, data: Mapping[str, object]) -> Self | None:
        """What a store has kept; None if an earlier version wrote it without what its words need."""
        known = {name: data[name.rstrip("_")] for name in cls._names if name.rstrip("_") in data}
        try:
            return cls(**known)
        except TypeError:
            return None


class OfAttempt(Happening):
    """Something about one attempt, counted from 1."""

    attempt: int

    def cause(self) -> str:
        """Why the attempt ended, if this says so."""
        return ""


def read(kind: str, data: Mapping[str, object]) -> Happening | None:
    """An event from a store; None if another version wrote it, and this one has no words for it."""
    return KINDS[kind].of(data) if kind in KINDS else None
