"""Lead a port of this host to a cluster, for the process that has started this one, and end with it.

    python -m sky_core.tunnel.process JOB WHO [hold]        says in JSON where, once the cluster is up

With ``hold`` the cluster is there for that process alone, and ends with it: kill -9 closes the pipe that it speaks by.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from typing import TextIO
from urllib.parse import urlsplit

from sky_core.broker import Broker
from sky_core.broker.clusters.tunnel import END, HOLD
from sky_core.broker.interest import UNTIL_SILENT, Waiter
from sky_core.broker.spawn import DRIVER_CHECK_S, ensure_driver
from sky_core.config import Settings
from sky_core.errors import SkyloomError, StoreTrouble
from sky_core.ssh.forward import Forward
from sky_core.ssh.link import Channel
from sky_core.tunnel.head import Head

LOOK_S = 0.5  # between two looks at the job, and at whether our parent lives
PATIENCE_S = 300.0  # of a client that comes while there is no cluster
GONE = ""  # what is read from a pipe that nobody writes to any more


class Tunnel:
    """What leads to a job's cluster."""

    def __init__(self, settings: Settings, job_id: str, who: str, holds: bool) -> None:
        self._broker, self._job_id, self._holds = Broker(settings), job_id, holds
        self._waiter = Waiter(who, {UNTIL_SILENT: True} if holds else {})
        self._head = Head(settings, self._broker.store, job_id)
        self._forward: Forward | None = None
        self._parent, self._checked = os.getppid(), time.monotonic()
        self._words: queue.SimpleQueue[str] = queue.SimpleQueue()

    def run(self, words: TextIO, answers: TextIO) -> None:
        """Lead there until the job is over, or whoever has started us says so or has gone."""
        threading.Thread(target=self._listen, args=(words,), daemon=True).start()
        while (word := self._word()) is None:
            try:
                if self._care():
                    return
                self._lead(answers)
            except StoreTrouble as trouble:
                _say(str(trouble))
        if self._forward is not None:
            self._forward.close()
        if self._holds:
            self._end(word)

    def _listen(self, words: TextIO) -> None:
        for line in words:
            self._words.put(line.strip())
        self._words.put(GONE)

    def _word(self) -> str | None:
        """What our parent says; None while it says nothing."""
        try:
            return self._words.get(timeout=LOOK_S)
        except queue.Empty:
            return GONE if os.getppid() != self._parent else None  # its children may keep the pipe open

    def _care(self) -> bool:
        """See to the interest in the job and to its driver; whether it is over."""
        settings, store = self._broker.settings, self._broker.store
        self._waiter.renew(store, settings, self._job_id)
        if time.monotonic() - self._checked > DRIVER_CHECK_S:
            ensure_driver(settings)
            self._checked = time.monotonic()
        job = store.job(self._job_id)
        self._head.leave(job.attempt)
        if job.over and self._forward is not None:
            _say(f"the cluster {job.task} ({job.id}) has ended: {job.result.get('error') or job.state}")
        return job.over

    def _lead(self, answers: TextIO) -> None:
        """Open the port once the cluster is up."""
        if self._forward is not None:
            return
        try:
            address = self._head.address()
        except StoreTrouble:
            raise
        except SkyloomError:  # it has no machine yet, or one that still boots: its events tell
            return
        if address is not None:
            self._forward = Forward(self._dial, lambda error: _say(str(error)))
            there = f"{urlsplit(address).scheme}://127.0.0.1:{self._forward.port}"
            print(json.dumps({"address": there}), file=answers, flush=True)

    def _dial(self) -> Channel:
        """A connection to the cluster, once it is ready again if it has to begin anew: no client asks for long."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._head.dial()
            except SkyloomError:
                if time.monotonic() > end or self._broker.job(self._job_id).over:
                    raise
            time.sleep(LOOK_S)

    def _end(self, word: str) -> None:
        """End the cluster: well if that was asked for, else because nobody is there to ask for it."""
        if word == END:
            try:
                self._head.end()
                return
            except SkyloomError as error:
                _say(f"the cluster is not told to end, but ended: {error}")
        self._broker.cancel(self._job_id, "the process that used it has ended" if word == GONE else "it was not needed")


def _say(text: str) -> None:
    print(f"[skyloom] {text}", file=sys.stderr, flush=True)


def main(job_id: str, who: str, how: str = "") -> None:
    """Be the tunnel to a job's cluster."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    Tunnel(Settings.load(), job_id, who, holds=how == HOLD).run(sys.stdin, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
