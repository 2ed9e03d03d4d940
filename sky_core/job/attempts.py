"""How often a job was launched without getting anywhere, and when that is enough.

A launch gets a job further if the command ran on it. Machines that boot and cannot be reached, or are gone before the
command runs, do not; two of those in a place, and the job does not go there again. Refusals do not count: nothing was
launched, and the tracker blocks what was refused; only who would wait longer in a cloud's queue is not kept out, and is
not to go round in circles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import model_validator

from sky_core.events import OfAttempt
from sky_core.planner.plan import Block, Placement, Record
from sky_core.store import Cluster, Event

MOST_IN_A_PLACE = 2
MOST_UNKEPT = 4
"""Times ``max_attempts``: launches on which the command did run, but since which no checkpoint was kept."""

MOST_KEPT = 0.95  # of the work: what takes longer than was thought is never taken for done

MOST_WORDS = 200  # characters of why an attempt has ended

CURES = {
    "unreachable": "machines boot, and SSH does not get through: look at the security group or firewall (is port 22"
    " open to this machine's address?), for a subnet without public addresses, and for a proxy or VPN on the way;"
    " skyloom check --deep tries proxy_command",
    "unclear": "the cloud's API does not answer clearly: look at its status page, and at this machine's network",
    "lost": "the job vanished from its machine before its command ran: look at the end of its log",
    "slow": "machines did not get going in time: a smaller image, less set-up, or a later deadline helps",
}


class Vain(Record):
    """Launches in a place that got a job nowhere; ``use_spot`` is None where the market has no part in it."""

    cloud: str
    region: str
    zone: str | None
    use_spot: bool | None
    why: str
    times: int = 1

    @property
    def place(self) -> tuple[str, str, str | None, bool | None]:
        """Where it was."""
        return self.cloud, self.region, self.zone, self.use_spot

    def block(self) -> Block:
        """The place as planning leaves it out."""
        reason = f"{self.why} in {self.zone or self.region}, {self.times} launches"
        return Block(cloud=self.cloud, region=self.region, zone=self.zone, use_spot=self.use_spot, reason=reason)


def lately_refused(clusters: Iterable[Cluster], since: float) -> list[Block]:
    """Where machines were wanting for a job itself since then (seconds since the epoch): it is not to go back."""
    return [
        Block(
            cloud=one.cloud, region=one.region, zone=one.zone, instance_type=one.instance_type,
            accelerator=one.accelerator or "", use_spot=one.use_spot, reservation=one.reservation or "",
            reason=f"{one.outcome} in {one.zone or one.region}",
        )
        for one in clusters
        if one.outcome in ("capacity", "preempted", "lost") and (one.ended_at or 0.0) > since
    ]  # fmt: skip


class Tries(Record):
    """What a job's launches came to. Replaced, never changed.

    Attributes:
        vain: Launches since the command last ran.
        unkept: Launches since the newest checkpoint, whether the command ran or not.
        generation: The newest checkpoint by then.
        places: The places of ``vain`` launches.
        shut: Clouds that cannot be connected from here, and places without what the job names, such as its image.
        kept: Share of the work that the newest checkpoint holds, by how long the command ran and was to run.
    """

    vain: int = 0
    unkept: int = 0
    generation: int | None = None
    places: tuple[Vain, ...] = ()
    shut: tuple[Block, ...] = ()
    kept: float = 0.0

    @model_validator(mode="before")
    @classmethod
    def _stored_before(cls, data: dict[str, object]) -> dict[str, object]:
        # Jobs that earlier versions stored count hours, not shares.
        return {name: value for name, value in data.items() if name != "kept_hours"}

    def after(self, place: Placement, why: str, *, ran: bool, saved: float, generation: int | None) -> Tries:
        """With one more launch, which ended for the reason ``why``.

        Args:
            ran: Whether the command began to run on it.
            saved: Hours that it ran until the newest checkpoint.
            generation: The newest checkpoint.
        """
        newer = generation != self.generation
        now = Vain(cloud=place.cloud, region=place.region, zone=place.zone, why=why,
                   use_spot=place.use_spot if why == "preempted" else None)  # fmt: skip
        before = next((vain.times for vain in self.places if vain.place == now.place), 0)
        if ran:
            places = tuple(vain for vain in self.places if vain.place[:3] != now.place[:3])
        else:
            others = (vain for vain in self.places if vain.place != now.place)
            places = (*others, now.model_copy(update={"times": before + 1}))
        return self.model_copy(
            update={
                "vain": 0 if ran else self.vain + 1,
                "unkept": 0 if newer else self.unkept + 1,
                "kept": min(MOST_KEPT, self.kept + (_share(saved, place) if newer else 0.0)),
                "generation": generation,
                "places": places,
            }
        )

    def without(self, cloud: str, why: str, *, region: str | None = None, zone: str | None = None) -> Tries:
        """With a cloud that cannot be connected, or a place in it that what the job names cannot be had in."""
        shut = Block(cloud=cloud, region=region, zone=zone, reason=why)
        return self.model_copy(update={"shut": (*self.shut, shut)})

    def times_at(self, place: Placement) -> int:
        """How often the job was in that place, in whatever market, without getting anywhere."""
        where = (place.cloud, place.region, place.zone)
        return sum(vain.times for vain in self.places if vain.place[:3] == where)

    def blocks(self) -> tuple[Block, ...]:
        """Where the job is not to be launched again."""
        given_up = (vain for vain in self.places if vain.times >= MOST_IN_A_PLACE)
        return (*self.shut, *(vain.block() for vain in given_up))

    def enough(self, limit: int) -> str | None:
        """Why there is to be no further launch with ``max_attempts = limit``, or None."""
        if self.vain >= limit:
            return f"{self.vain} launches, and the command did not run on one of them"
        if self.unkept >= MOST_UNKEPT * limit:
            return f"{self.unkept} launches since the newest checkpoint, and none got further"
        return None


def _share(hours: float, place: Placement) -> float:
    return hours / (place.hours * (1 + place.overhead)) if place.hours > 0 else 0.0


def told(clusters: Sequence[Cluster], events: Iterable[Event]) -> str:
    """Each attempt and why it ended, a line each, then what to look at: the end of the one error that reports all."""
    if not clusters:
        return ""
    said = (event.what for event in events)
    why = {what.attempt: cause for what in said if isinstance(what, OfAttempt) and (cause := what.cause())}
    lines = [_line(cluster, why.get(cluster.attempt, "")[:MOST_WORDS]) for cluster in clusters]
    cures = [CURES[outcome] for outcome in dict.fromkeys(c.outcome for c in clusters) if outcome in CURES]
    return "\n".join(["; attempts:", *lines, *cures])


def _line(cluster: Cluster, why: str) -> str:
    place = f"{cluster.place} {cluster.instance_type}"
    return f"  {cluster.attempt}. {place}: {cluster.outcome or cluster.state}{f' ({why})' if why else ''}"
