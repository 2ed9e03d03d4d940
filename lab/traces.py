"""Recorded spot availability: which zones had spot at each tick.

File format: https://github.com/skypilot-org/spot-traces, JSON with ``metadata.gap_seconds`` between ticks and
``data``, the number of instances that were up at each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read_trace(path: Path) -> tuple[float, list[int]]:
    """Seconds between two ticks, and how many instances were up at each, of one file.

    Raises:
        ValueError: if it is no trace.
        OSError: if it cannot be read.
    """
    try:
        about = json.loads(path.read_text())
        gap_s, counts = float(about["metadata"]["gap_seconds"]), [int(value) for value in about["data"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a spot trace: {error!r}") from None
    if gap_s <= 0 or not counts:
        raise ValueError(f"{path} is not a spot trace: it is empty")
    return gap_s, counts


@dataclass(frozen=True)
class Traces:
    """Zones aligned in time.

    Attributes:
        step: Hours between two ticks.
        up: Zone to (T,) whether spot can be had from each tick to the next.
    """

    step: float
    up: Mapping[str, NDArray[np.bool_]]

    @property
    def ticks(self) -> int:
        """T, the number of ticks that all zones have."""
        return min(len(values) for values in self.up.values())

    def between(self, start: int, stop: int) -> Traces:
        """The ticks from ``start`` up to ``stop``."""
        return Traces(self.step, {zone: values[start:stop] for zone, values in self.up.items()})

    @classmethod
    def load(cls, paths: Mapping[str, Path], nodes: int = 1) -> Traces:
        """Read one file for each zone; a zone counts as up where at least ``nodes`` machines were, a whole gang.

        Raises:
            ValueError: if a file is no trace, or the gaps differ.
            OSError: if a file cannot be read.
        """
        up, steps = {}, set()
        for zone, path in paths.items():
            gap_s, counts = read_trace(path)
            steps.add(gap_s / 3600)
            up[zone] = np.asarray(counts) >= nodes
        if len(steps) != 1:
            raise ValueError(f"traces have different gaps: {sorted(step * 3600 for step in steps)} seconds")
        return cls(steps.pop(), up)
