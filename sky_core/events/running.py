"""A job on its machines, and how it loses them."""

from __future__ import annotations

from collections.abc import Sequence

from sky_core.events.happening import Happening, OfAttempt


class Started(OfAttempt, kind="started"):
    ips: Sequence[str]

    def words(self) -> str:
        return f"attempt {self.attempt}: agent started on {', '.join(self.ips)}"


class Phase(OfAttempt, kind="phase"):
    phase: str

    def words(self) -> str:
        return f"attempt {self.attempt}: {self.phase}"


class Moved(Happening, kind="moved"):
    """An input was brought to the machine, from one ``"cloud/region"`` to another."""

    input: str
    bytes: int
    gb: float
    usd: float
    from_: str
    to: str

    def words(self) -> str:
        way = f"{self.bytes:,} bytes from {self.from_} to {self.to}"
        return f"input {self.input}: {way}, egress ${self.usd:.4f}"


class Restored(OfAttempt, kind="restored"):
    generation: int
    bytes: int
    usd: float = 0.0

    def words(self) -> str:
        egress = f", egress ${self.usd:.4f}" if self.usd else ""
        return f"checkpoint generation {self.generation} restored ({self.bytes:,} bytes{egress})"


class Unsaved(OfAttempt, kind="unsaved"):
    hours: float

    def words(self) -> str:
        return f"attempt {self.attempt}: no checkpoint was written for {self.hours:.2f} h of work"


class Leaving(OfAttempt, kind="leaving"):
    def words(self) -> str:
        return f"attempt {self.attempt}: stopping with a checkpoint, to wait for spot: there is time"


class Left(OfAttempt, kind="left"):
    checkpoint: int | None

    def words(self) -> str:
        return f"attempt {self.attempt}: stopped at checkpoint generation {self.checkpoint}"


class TooSlow(OfAttempt, kind="too slow"):
    hours_left: float

    def words(self) -> str:
        return f"attempt {self.attempt}: not running yet with {self.hours_left:.2f} h left, given up"


class EvictionNotice(OfAttempt, kind="eviction notice"):
    def words(self) -> str:
        return f"attempt {self.attempt}: the cloud announces that it takes the machine back"


class Preempted(OfAttempt, kind="preempted"):
    """``reason`` is the cloud's; ``checkpoint`` the last generation, where the job was warned."""

    reason: str | None = None
    checkpoint: int | None = None

    def cause(self) -> str:
        return self.reason or ""

    def words(self) -> str:
        return f"attempt {self.attempt}: preempted {self.reason or ''}".rstrip()


class ReservationEnded(OfAttempt, kind="reservation ended"):
    """``usd_per_hour`` is for all machines, None where the price on demand is not known."""

    reservation: str
    usd_per_hour: float | None = None

    def words(self) -> str:
        price = "at a price that the catalog does not have" if self.usd_per_hour is None else self._price()
        return f"attempt {self.attempt}: {self.reservation} has ended; its machines go on, {price}"

    def _price(self) -> str:
        return f"at ${self.usd_per_hour:.4f} an hour as on demand"


class Died(OfAttempt, kind="died"):
    reason: str | None

    def cause(self) -> str:
        return self.reason or ""

    def words(self) -> str:
        return f"attempt {self.attempt}: a machine is gone ({self.reason})"


class NodeLost(OfAttempt, kind="node lost"):
    """A gang goes on without one of its machines."""

    rank: int
    reason: str

    def words(self) -> str:
        return f"attempt {self.attempt}: the machine of rank {self.rank} is gone ({self.reason}), the others go on"


class NodeJoined(OfAttempt, kind="node joined"):
    """Another machine has taken its place."""

    rank: int
    ip: str

    def words(self) -> str:
        return f"attempt {self.attempt}: rank {self.rank} has joined from {self.ip}"


class Lost(OfAttempt, kind="lost"):
    detail: str

    def cause(self) -> str:
        return self.detail

    def words(self) -> str:
        return f"attempt {self.attempt}: the job is no longer on its machine: {self.detail}"


class Unreachable(OfAttempt, kind="unreachable"):
    why: str
    seconds: float

    def cause(self) -> str:
        return self.why

    def words(self) -> str:
        return f"machines given up after {self.seconds:.0f} s: {self.why}"


class NotReady(OfAttempt, kind="not ready"):
    """The machines answer, and cannot take the job yet."""

    why: str

    def cause(self) -> str:
        return self.why

    def words(self) -> str:
        return f"attempt {self.attempt}: its machines answer, and are waited for: {self.why}"


class WayCut(OfAttempt, kind="way cut"):
    """What ``proxy_command`` leads through is at fault, not the machines."""

    why: str

    def cause(self) -> str:
        return self.why

    def words(self) -> str:
        return f"attempt {self.attempt}: its machines are out of reach for now: {self.why}"


class NetworkOut(Happening, kind="network out"):
    why: str

    def words(self) -> str:
        return f"neither the machine nor anything else answers; nothing is ended for it: {self.why}"


class NetworkBack(Happening, kind="network back"):
    def words(self) -> str:
        return "the machine answers again"
