"""A tunnel to a job's cluster, as the process that wants one has it: started, spoken to, ended with it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from sky_core.broker.interest import Waiter
from sky_core.config import Settings
from sky_core.errors import SkyloomError

HOLD, END = "hold", "end"
LOOK_S = 0.1


class Tunnel:
    """A process of its own that leads a port of this host to the cluster; it ends when this one does, however.

    Args:
        who: Whose interest in the job it keeps alive.
        holds: Whether the cluster ends with this process, too.
    """

    def __init__(self, settings: Settings, job_id: str, who: str, *, holds: bool) -> None:
        given = {"SKYLOOM_HOME": str(settings.home), "SKYLOOM_PROFILE": settings.profile,
                 "SKYLOOM_STORE": settings.store_url}  # fmt: skip
        if settings.key is not None:
            given["SKYLOOM_KEY"] = settings.key.get_secret_value()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sky_core.tunnel.process", job_id, who, *([HOLD] if holds else [])],
            env={**settings.environ(), **given},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for its parent, which has more to say
        )
        self._starter, self._address = os.getpid(), ""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def address(self) -> str:
        """Where the cluster is reached on this host; "" while it is not up."""
        return self._address

    @property
    def over(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def end(self) -> None:
        """Let the cluster end well, if it is held; it is closed afterwards."""
        self._close(f"{END}\n")

    def close(self) -> None:
        """End the process, and with it a cluster that is held."""
        self._close("")

    def _close(self, word: str) -> None:
        if os.getpid() != self._starter:  # a fork has a copy of the pipe, and no say
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(word)
            self._process.stdin.close()
        self._process.wait()
        self._reading.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            for line in answers:
                self._address = json.loads(line)["address"]


@contextlib.contextmanager
def reached(settings: Settings, job_id: str) -> Iterator[str]:
    """Where a cluster that somebody else holds is reached on this host, within the block.

    Raises:
        SkyloomError: if it is over.
    """
    tunnel = Tunnel(settings, job_id, Waiter.this_process().who, holds=False)
    try:
        while not tunnel.address:
            if tunnel.over:
                raise SkyloomError(f"the cluster {job_id} is over", cure=f"skyloom logs {job_id} tells why")
            time.sleep(LOOK_S)
        yield tunnel.address
    finally:
        tunnel.close()
