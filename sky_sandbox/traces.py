"""Replaying real spot traces: a zone's capacity follows what was obtainable there, at any speed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sky_sandbox.world import World


@dataclass(frozen=True)
class Track:
    """One trace and the capacity it stands for.

    Attributes:
        gap_s: Seconds between two values.
        values: Machines available at each tick.
        type: Instance type or pool ("V100"), "*" for all.
    """

    zone: str
    type: str
    gap_s: float
    values: tuple[int, ...]

    @classmethod
    def load(cls, path: Path, zone: str, type_: str = "*", count: int = 1) -> Track:
        """Read a trace file; each of its instances stands for ``count`` machines.

        Format: https://github.com/skypilot-org/spot-traces.

        Raises:
            ValueError: if it is not such a file.
            OSError: if it cannot be read.
        """
        try:
            about = json.loads(path.read_text())
            gap_s, values = float(about["metadata"]["gap_seconds"]), [int(value) * count for value in about["data"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a spot trace: {error!r}") from None
        if gap_s <= 0 or not values:
            raise ValueError(f"{path} is not a spot trace: it is empty")
        return cls(zone, type_, gap_s, tuple(values))

    def changes(self, start_s: float = 0.0) -> Iterator[tuple[float, int]]:
        """Seconds after ``start_s`` and the value from then on, for each change; the first is at 0."""
        last = None
        for tick, value in enumerate(self.values):
            if (tick + 1) * self.gap_s <= start_s or value == last:
                continue
            last = value
            yield max(0.0, tick * self.gap_s - start_s), value


class Replay:
    """Plays tracks, aligned in time. When the longest has ended, capacity is unlimited again.

    Args:
        speed: Trace seconds per real second.
        start_s: Where in the traces to begin, seconds.
    """

    def __init__(self, world: World, tracks: Sequence[Track], *, speed: float, start_s: float = 0.0) -> None:
        if not speed > 0:
            raise ValueError(f"speed: must be positive, not {speed}")
        self.world = world
        self.tracks = tuple(tracks)
        self.speed = speed
        self.start_s = start_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def start(self) -> None:
        """Set the first capacities at once and go on in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End early; capacities stay as they are."""
        self._stop.set()

    @property
    def running(self) -> bool:
        """Whether there is more to come."""
        return self._thread.is_alive()

    def describe(self) -> dict[str, Any]:
        """What is played, and for how many real seconds in all."""
        tracks = [{"zone": track.zone, "type": track.type} for track in self.tracks]
        return {"tracks": tracks, "speed": self.speed, "seconds": self._length_s()}

    def _length_s(self) -> float:
        return max(len(track.values) * track.gap_s - self.start_s for track in self.tracks) / self.speed

    def _play(self) -> None:
        changes = sorted(
            (at / self.speed, number, value)
            for number, track in enumerate(self.tracks)
            for at, value in track.changes(self.start_s)
        )
        begun = self.world.clock()
        for at, number, value in changes:
            if self._stop.wait(max(0.0, begun + at - self.world.clock())):
                return
            track = self.tracks[number]
            self.world.limit(track.zone, track.type, "spot", value, evict=True)
        if not self._stop.wait(max(0.0, begun + self._length_s() - self.world.clock())):
            for track in self.tracks:
                self.world.limit(track.zone, track.type, "spot", None)
