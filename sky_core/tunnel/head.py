"""The machine of a cluster that clients reach, whichever it is by now."""

from __future__ import annotations

import shlex
from urllib.parse import urlsplit

from sky_core.broker.clusters.stay import ADDRESS, END
from sky_core.config import Settings
from sky_core.errors import MachineError
from sky_core.remote.agent.engines.base import DASHBOARD
from sky_core.remote.keys import client_keys
from sky_core.ssh.link import Channel, Link
from sky_core.ssh.machine import Machine
from sky_core.store import Store
from sky_core.tunnel.machine import machine_of

TIMEOUT_S = 20.0


class Head:
    """Rank 0 of a job. When the job goes on elsewhere, so do those who dial from then on.

    All methods raise a SkyloomError where there is no such machine, or it does not answer.
    """

    def __init__(self, settings: Settings, store: Store, job_id: str) -> None:
        self._settings, self._store, self._job_id = settings, store, job_id
        self._keys = client_keys(settings)
        self._attempt = 0
        self._links: dict[Machine, Link] = {}
        self._addresses: dict[str, str] = {}  # by the file that has it

    def address(self) -> str | None:
        """Where the cluster serves clients, as its own machines see it; None while it is not ready."""
        return self._said(ADDRESS)

    def dashboard(self) -> str | None:
        """Where the engine shows what goes on, likewise; None while it does not."""
        return self._said(f"../{DASHBOARD}")

    def dial(self, address: str | None = None) -> Channel:
        """A connection to that address; without one, to what serves clients."""
        address = address or self.address()
        if address is None:
            raise MachineError("the cluster is not ready", cure=f"skyloom logs -f {self._job_id} shows when it is")
        at = urlsplit(address)
        assert at.hostname is not None
        assert at.port is not None
        return self._reached()[0].dial(at.hostname, at.port)

    def leave(self, attempt: int) -> None:
        """Close what leads to machines of other attempts: those who work there are to find out, and dial again."""
        if attempt != self._attempt:
            self._attempt, links, self._links = attempt, self._links, {}
            for link in links.values():
                link.close()

    def end(self) -> None:
        """Let the cluster's command come to its end."""
        link, folder = self._reached()
        link.run(["touch", f"{folder}/{END}"], timeout_s=TIMEOUT_S)

    def _said(self, name: str) -> str | None:
        """The address in a file, as the working folder sees it."""
        link, folder = self._reached()
        file = f"{folder}/{name}"
        if file not in self._addresses:
            found = link.run(f"cat {shlex.quote(file)} 2>/dev/null || true", timeout_s=TIMEOUT_S)
            if not found:
                return None
            self._addresses[file] = _checked(found.decode(errors="replace").strip())
        return self._addresses[file]

    def _reached(self) -> tuple[Link, str]:
        machine, folder = machine_of(self._settings, self._store, self._store.job(self._job_id))
        return self._links.setdefault(machine, Link(machine, self._keys)), folder


def _checked(address: str) -> str:
    """What a machine says, if it is an address.

    Raises:
        MachineError: if it is none.
    """
    try:
        at = urlsplit(address)
        sound = bool(at.scheme and at.hostname and at.port)
    except ValueError:
        sound = False
    if not sound:
        raise MachineError(f"{address[:100]!r} is no address of a cluster")
    return address
