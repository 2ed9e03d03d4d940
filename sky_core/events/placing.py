"""Where a job is to go, and what holds it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sky_core.events.happening import Happening, OfAttempt


class Submitted(Happening, kind="submitted"):
    task: str
    plan: str

    def words(self) -> str:
        return f"submitted under plan {self.plan}"


class Replanned(Happening, kind="replanned"):
    """The rest of the DAG was planned anew. ``plan_usd`` is what all of it costs by the new plan."""

    from_: str
    to: str
    why: str
    plan_usd_before: float
    plan_usd: float

    def words(self) -> str:
        change = self.plan_usd - self.plan_usd_before
        return f"replanned because of {self.why}: {self.from_} -> {self.to} (whole plan {change:+.2f} $)"


class PlacedApart(Happening, kind="placed apart"):
    why: str | None
    from_: str | None
    to: str

    def words(self) -> str:
        planned = self.from_ or "no such task"
        return f"placed by itself on {self.to} because of {self.why} (the plan has {planned})"


class ObjectiveMissed(Happening, kind="objective missed"):
    error: str

    def words(self) -> str:
        return f"the plan's limits cannot be kept any more, going on as fast as possible: {self.error}"


class Limit(Happening, kind="limit"):
    why: str

    def words(self) -> str:
        return f"held back by a limit: {self.why}"


class Queued(Happening, kind="queued"):
    why: str

    def words(self) -> str:
        return f"waiting for a free machine: {self.why}"


class Exhausted(Happening, kind="exhausted"):
    error: str

    def words(self) -> str:
        return f"nothing left to try: {self.error}"


class KeyMissing(Happening, kind="key missing"):
    needs: str | None
    has: str
    host: str

    def words(self) -> str:
        needed = f"the job needs the team key {self.needs}, and that one has {self.has}"
        return f"left alone by the driver on {self.host}: {needed}"


class CloudMissing(OfAttempt, kind="cloud missing"):
    clouds: Sequence[str]
    host: str

    def words(self) -> str:
        where = f"the driver on {self.host}, from where {', '.join(self.clouds)} cannot be used"
        return f"left alone by {where}: waiting for a driver on a host that has the credentials (skyloom check)"


class Promised(Happening, kind="promised"):
    """A spot policy leads the job.

    Attributes:
        hours: To its deadline; None without one.
        work: The run time in hours.
        source: Who says so.
        hour_usd: What an hour of its time is worth where there is no deadline.
    """

    hours: float | None
    work: float
    source: str
    hour_usd: float | None = None

    def words(self) -> str:
        work = f"{self.work:.2f} h of work (run time: {self.source})"
        if self.hours is None:
            return f"led by a spot policy: {work}, no deadline, an hour is worth ${self.hour_usd or 0.0:.2f}"
        return f"promised within {self.hours:.2f} h: {work}, led by a spot policy"


class Weighed(Happening, kind="weighed"):
    """What a spot policy chose, of what.

    Attributes:
        chosen: ``"wait"``, ``"spot aws/us-east-1a"`` or ``"on-demand aws/us-east-1a"``.
        left, slack: Hours of work left, and of time beyond it.
        usd: Choice to what it was expected to cost from here to the end.
        up: Zone to how probable it was held that spot is there.
        price: Machine, named like a choice, to what it then cost, USD per hour.
    """

    chosen: str
    left: float
    slack: float
    usd: Mapping[str, float]
    up: Mapping[str, float]
    price: Mapping[str, float]

    def words(self) -> str:
        others = sorted((usd, what) for what, usd in self.usd.items() if what != self.chosen)
        instead = f"; instead {others[0][1]} for ${others[0][0]:.2f}" if others else ""
        usd = f" for ${self.usd[self.chosen]:.2f}" if self.chosen in self.usd else ""
        return f"{self.chosen}{usd} expected from here to the end{instead}"


class Waiting(Happening, kind="waiting"):
    zones: Sequence[str]

    def words(self) -> str:
        return f"waiting for spot in {', '.join(self.zones)}: there is time"


class DeadlineInDanger(Happening, kind="deadline in danger"):
    hours_left: float
    hours_needed: float

    def words(self) -> str:
        needed = f"{self.hours_left:.2f} h to the deadline and {self.hours_needed:.2f} h needed"
        return f"{needed}: going on as fast as can be"
