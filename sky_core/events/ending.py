"""The ends: of an attempt, of its machines, of the job."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sky_core.events.happening import Happening, OfAttempt


class FoundEnded(OfAttempt, kind="found ended"):
    exit_code: int | None

    def words(self) -> str:
        return f"attempt {self.attempt}: had ended before its machine did, exit code {self.exit_code}"


class VerdictUnreadable(Happening, kind="verdict unreadable"):
    error: str

    def words(self) -> str:
        return f"what the attempt left in its bucket cannot be believed: {self.error}"


class BucketNotAsked(Happening, kind="bucket not asked"):
    error: str

    def words(self) -> str:
        return f"the bucket cannot be asked whether the job is done, going on: {self.error}"


class Recovering(Happening, kind="recovering"):
    after: str | None

    def words(self) -> str:
        return f"recovering after: {self.after}"


class Terminated(OfAttempt, kind="terminated"):
    outcome: str

    def words(self) -> str:
        return f"attempt {self.attempt}: machines terminated ({self.outcome})"


class Kept(OfAttempt, kind="kept"):
    """``until`` is a time, seconds since the epoch; ``usd_per_hour`` is for all machines."""

    name: str
    until: float
    usd_per_hour: float

    def words(self) -> str:
        until = time.strftime("%H:%M", time.localtime(self.until))
        price = f"${self.usd_per_hour:.2f}/h"
        return (
            f"attempt {self.attempt}: machines kept idle as {self.name} until {until}, {price}: "
            f"skyloom run --cluster {self.name} uses them, skyloom down {self.name} ends them"
        )


class NotKept(OfAttempt, kind="not kept"):
    why: str

    def words(self) -> str:
        return f"attempt {self.attempt}: machines are not kept: {self.why}"


class TerminateFailed(Happening, kind="terminate failed"):
    error: str

    def words(self) -> str:
        return f"terminating failed, trying again: {self.error}"


class LeftOwed(OfAttempt, kind="left owed"):
    why: str

    def words(self) -> str:
        return (
            f"attempt {self.attempt}: the job does not wait for the end of its machines, which are paid for until their"
            f" cloud takes the login: {self.why}"
        )


class StrayEnded(Happening, kind="stray ended"):
    instances: Sequence[str]
    cloud: str

    def words(self) -> str:
        return f"ended what a launch of unknown outcome had left: {', '.join(self.instances)}"


class CancelRequested(Happening, kind="cancel requested"):
    """``owner`` is the try that asked, None where a person did."""

    reason: str
    owner: str | None = None

    def words(self) -> str:
        return f"cancel requested: {self.reason}"


class Unwanted(Happening, kind="unwanted"):
    """``ends_in_s`` is None where jobs that nobody waits for are left to go on."""

    silent_s: float
    ends_in_s: float | None

    def words(self) -> str:
        end = "" if self.ends_in_s is None else f"; if nobody does, it is ended in {self.ends_in_s / 3600:.1f} h"
        return f"nobody has waited for it for {self.silent_s / 60:.0f} min{end}"


class Dismissed(Happening, kind="dismissed"):
    why: str

    def words(self) -> str:
        return f"not wanted any more: {self.why}"


class StepFailed(Happening, kind="step failed"):
    """``type`` is that of an unexpected exception, ``at`` the file and line that raised it."""

    error: str
    type: str
    at: str = ""

    def words(self) -> str:
        return f"unexpected {self.type}, trying again: {self.error}"


class Over(Happening):
    """The job's last event. ``value`` names the bytes that its function has returned."""

    exit_code: int | None = None
    error: str | None = None
    value: str | None = None
    value_error: str | None = None


class Succeeded(Over, kind="succeeded"):
    def words(self) -> str:
        return "succeeded"


class Failed(Over, kind="failed"):
    def words(self) -> str:
        return f"failed: {self.error}"


class Cancelled(Over, kind="cancelled"):
    def words(self) -> str:
        return "cancelled; its machines are gone"


class OutputRemoved(Happening, kind="output removed"):
    output: str
    uri: str

    def words(self) -> str:
        return f"output {self.output} was removed from {self.uri}"
