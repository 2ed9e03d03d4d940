"""Asking for machines, and what their clouds say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from sky_core.events.happening import Happening, OfAttempt


class Where(TypedDict):
    """What names a place in words."""

    cloud: str
    region: str
    zone: str | None
    instance_type: str
    use_spot: bool
    reserved: bool


class AtPlace(Happening):
    """Something about machines in one place."""

    cloud: str
    region: str
    zone: str | None
    instance_type: str
    use_spot: bool
    reserved: bool = False

    @property
    def place(self) -> str:
        """The place, the machine and how it is bought."""
        market = "spot" if self.use_spot else "reserved" if self.reserved else "on-demand"
        return f"{self.cloud}/{self.zone or self.region} {self.instance_type} ({market})"


class Launching(OfAttempt, AtPlace, kind="launching"):
    machine: str

    def words(self) -> str:
        return f"attempt {self.attempt}: launching {self.machine}"


class Launched(OfAttempt, AtPlace, kind="launched"):
    """``armed`` is what ends the machines if all of us die."""

    instances: Sequence[str]
    armed: str = ""

    def words(self) -> str:
        alone = "; should all of us die, only a sweep ends it: skyloom gc" if self.armed == "none" else ""
        return f"attempt {self.attempt}: {self.place} accepted the launch ({', '.join(self.instances)}){alone}"


class InQueue(OfAttempt, AtPlace, kind="in queue"):
    """It waits in its cloud's own queue, for so many more hours at most."""

    hours: float

    def words(self) -> str:
        return f"attempt {self.attempt}: {self.place} has it in its queue, waiting for {self.hours:.2f} h at most"


class Taken(OfAttempt, kind="taken"):
    """``job`` is whose machines they were."""

    name: str
    machine: str
    job: str

    def words(self) -> str:
        return f"attempt {self.attempt}: on {self.machine}, kept as {self.name} by {self.job}: nothing is launched"


class NotTaken(Happening, kind="not taken"):
    name: str
    why: str

    def words(self) -> str:
        return f"launching, since what is kept as {self.name} is not to be had: {self.why}"


class _Refusal(OfAttempt, AtPlace):
    """``why`` is the kind of refusal, ``message`` the cloud's own words."""

    why: str
    message: str

    def cause(self) -> str:
        return self.message


class Refused(_Refusal, kind="refused"):
    def words(self) -> str:
        return f"attempt {self.attempt}: {self.place} refused ({self.why}): {self.message}"


class LaunchFailed(_Refusal, kind="launch failed"):
    def words(self) -> str:
        return f"attempt {self.attempt}: {self.place} took the launch and failed it ({self.why}): {self.message}"


class BucketRefused(_Refusal, kind="bucket refused"):
    def words(self) -> str:
        return f"attempt {self.attempt}: {self.place} gives us no bucket ({self.why}): {self.message}"


class LaunchUnclear(Happening, kind="launch unclear"):
    message: str

    def words(self) -> str:
        return f"launch call without a clear outcome, asking again: {self.message}"


class GaveUp(AtPlace, kind="gave up"):
    message: str

    def words(self) -> str:
        return f"{self.place} given up: {self.message}"
