"""After a job's end: the verdict that is owed, and who still asks for the job or for its machine."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

from .data.courier import Courier, TransferFailed
from .job import Job, Place, root
from .state import ENDED, State, log_size, read_state, supervisor_lives

OWED_AGAIN_S = 30.0  # between two tries to leave a verdict
OWED_PATIENCE_S = 300.0  # before the machine halts
TAIL = 256 << 10  # bytes of log that go with a verdict


class Verdict:
    """How the job ended, left in its bucket, since its machine may be gone when it is asked; owed until it is there."""

    def __init__(self, job: Job, place: Place, state: State, program: str) -> None:
        self._job, self._place, self._state, self._program = job, place, state, program
        self.owed: dict[str, Any] | None = None
        self.options = job.storage_options

    def owe(self, exit_code: int, detail: str) -> None:
        """From now on it is owed, if the job has a bucket; a gang has succeeded only if each rank says so."""
        if self._job.verdict_url:
            self.owed = {"exit_code": exit_code, "detail": detail}

    def leave(self, courier: Courier) -> None:
        """Write what is owed; if that cannot be done, it stays owed."""
        if self.owed is None:
            return
        size = log_size(self._place.log)
        with self._place.log.open("rb") as file:
            file.seek(max(0, size - TAIL))
            tail = file.read(TAIL)
        about = {**self._state.told(), **self.owed, "phase": "done", "log_size": size,
                 "tail": base64.b64encode(tail).decode(), "tail_from": max(0, size - TAIL)}  # fmt: skip
        try:
            courier.ask("write", url=self._job.verdict_url, content=json.dumps(about))
        except TransferFailed as failure:
            print(f"the verdict is not in the bucket: {failure}", flush=True)
        else:
            self.owed = None

    def pay(self) -> None:
        """Leave the verdict of a job that moved no data, or could not when it ended. May take a minute or two."""
        courier = Courier(self.options, self._program, self._place.own_log)
        try:
            self.leave(courier)
        except TransferFailed as failure:
            print(f"the verdict is not in the bucket: {failure}", flush=True)
        finally:
            courier.close()

    def pay_up(self) -> None:
        """The last chance to leave the verdict: without it, the job would be run again from its beginning."""
        give_up = time.monotonic() + OWED_PATIENCE_S
        while self.owed and time.monotonic() < give_up:
            self.pay()
            if self.owed:
                time.sleep(OWED_AGAIN_S)


def take_renewals(pipe: Path, courier: Courier, verdict: Verdict) -> None:
    """Use what the driver lends anew, long before what it lent last has ended. Does not return."""
    with os.fdopen(os.open(pipe, os.O_RDWR)) as lines:  # both ways, so that it never ends
        for line in lines:
            verdict.options = json.loads(line)
            courier.renew(verdict.options)


class Lease:
    """The driver's sign of life: the time since the lease file was last touched, by a clock that cannot jump."""

    def __init__(self, path: Path, ttl_s: float) -> None:
        self._path, self._ttl_s = path, ttl_s
        self._seen: float | None = None
        self._changed = time.monotonic()

    def asked(self) -> bool:
        """Whether the driver has asked at all."""
        return self._path.stat().st_mtime > 0

    def expired(self) -> bool:
        """Whether nobody has touched the file for the time to live."""
        touched = self._path.stat().st_mtime
        if touched != self._seen:
            self._seen, self._changed = touched, time.monotonic()
        return time.monotonic() - self._changed > self._ttl_s


class Others:
    """The other jobs of this machine: it is not to be halted under one that still runs, or that is still asked for."""

    def __init__(self, mine: Place, ttl_s: float) -> None:
        self._mine, self._ttl_s = mine, ttl_s
        self._leases: dict[Path, Lease] = {}

    def live(self) -> bool:
        """Whether there are any. Has to be asked every now and then: it sees leases renewed, not when they were."""
        places = [Place(lease.parent) for lease in (root() / "jobs").glob("*/*/lease")]
        found = [place for place in places if place.folder != self._mine.folder]
        asked = [not self._leases.setdefault(p.lease, Lease(p.lease, self._ttl_s)).expired() for p in found]
        return any(asked) or any(_is_under_way(place) for place in found)


def _is_under_way(place: Place) -> bool:
    state = read_state(place.state)
    return state is not None and state["phase"] not in ENDED and supervisor_lives(state)
