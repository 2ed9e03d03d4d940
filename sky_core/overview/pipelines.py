"""Recurring pipelines: what each of their runs cost, so that one sees whether they get cheaper."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from sky_core.job.cost.charges import NOT_KNOWN, Charge

FEW = 5  # runs whose median stands for how it was at first, and how it is now


@dataclass(frozen=True)
class PipelineRow:
    """A pipeline.

    Attributes:
        runs: (day of its first charge, key, USD), in that order.
        running: Whether machines of the newest run may still exist: it is left out of ``now_usd``.
    """

    name: str
    runs: tuple[tuple[str, str, float], ...]
    running: bool

    @property
    def usd(self) -> float:
        """What all of them cost."""
        return sum(usd for _, _, usd in self.runs)

    @property
    def _done(self) -> list[float]:
        return [usd for _, _, usd in (self.runs[:-1] if self.running else self.runs)]

    @property
    def first_usd(self) -> float | None:
        """The median of its first runs; None if none is over."""
        return median(self._done[:FEW]) if self._done else None

    @property
    def now_usd(self) -> float | None:
        """The median of its last runs; None if none is over."""
        return median(self._done[-FEW:]) if self._done else None

    @property
    def change(self) -> float | None:
        """How much dearer (above 0) or cheaper a run has become, as a share; None with too few runs to say."""
        first, now = self.first_usd, self.now_usd
        return None if len(self._done) < 2 or not first or now is None else now / first - 1


def pipelines(charges: Iterable[Charge]) -> list[PipelineRow]:
    """The pipelines that these charges are of, the dearest first."""
    runs: dict[tuple[str, str], tuple[str, float, bool]] = {}
    for one in charges:
        day, usd, running = runs.get((one.pipeline, one.run), (one.day, 0.0, False))
        runs[one.pipeline, one.run] = (min(day, one.day), usd + one.usd, running or one.running)
    of: dict[str, list[tuple[str, str, float, bool]]] = {}
    for (pipeline, run), (day, usd, running) in runs.items():
        of.setdefault(pipeline, []).append((day, run, usd, running))
    rows = []
    for name, found in of.items():
        if name != NOT_KNOWN:
            ordered = sorted(found)
            rows.append(PipelineRow(name, tuple((day, run, usd) for day, run, usd, _ in ordered), ordered[-1][3]))
    return sorted(rows, key=lambda row: (-row.usd, row.name))
