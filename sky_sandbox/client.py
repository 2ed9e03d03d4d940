"""Starting, stopping and tormenting the sandbox: what ``skyloom sandbox`` and the tests call.

>>> from sky_sandbox import client
>>> control = client.up(home, boot_s=0.5)
>>> control.capacity("us-east-1a", "V100", "spot", 0)
>>> client.down(home)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sky_core.endpoints import SANDBOX_FILE, read_sandbox
from sky_core.errors import SandboxNotRunning, SkyloomError

Json = dict[str, Any]
Market = Literal["on-demand", "spot"]
START_S = 120.0  # a loaded host takes its time; a server that died is noticed at once
STOP_S = 60.0
CLOUDS = ("aws", "gcp", "azure")


class Control:
    """The control API of a running sandbox.

    Zones are the clouds' own names ("us-east-1a", "us-central1-a", "eastus-1"), or "*"; a type is an instance type or
    an accelerator ("V100", "V100:4", "tpu-v3-8"), or "*". Every call raises :class:`SandboxNotRunning` if nobody
    answers and :class:`SkyloomError` if the sandbox does not understand.
    """

    def __init__(self, url: str, token: str, pid: int) -> None:
        self.url = url
        self.pid = pid
        self._token = token

    def status(self) -> Json:
        """Numbers of live machines by cloud, limits, faults, replays, memory (MB)."""
        return dict(self._call("status"))

    def machines(self, *, live: bool = False, tags: Mapping[str, str] | None = None) -> list[Json]:
        """All machines there ever were, or those not gone, with state, ip, tags, market and cause of their end."""
        return list(self._call("machines", live=live, tags=dict(tags or {})))

    def audit(self) -> list[Json]:
        """The log: API calls that create or end something (``api``), and machines (``start``, ``notice``, ``end``)."""
        return list(self._call("audit"))

    def ledger(self, *, open_only: bool = False, tags: Mapping[str, str] | None = None) -> list[Json]:
        """What the clouds bill, knowing nothing of who launched what; see :mod:`sky_sandbox.ledger`.

        ``open_only``: only what is billed at this moment; ``tags``: only what carries them.
        """
        return list(self._call("ledger", open=open_only, tags=dict(tags or {})))

    def capacity(self, zone: str, type_: str, market: Market, count: int | None, *, evict: bool = False) -> list[str]:
        """Let there be ``count`` machines at most, or with None any number. ``evict``: preempt those above.

        Returns the ids of the machines preempted.
        """
        return list(self._call("capacity", zone=zone, type=type_, market=market, count=count, evict=evict)["preempted"])

    def account(self, profile: str | None = None, **switches: Any) -> Json:
        """Let the account be as :data:`sky_sandbox.accounts.PROFILES` has it, but for single switches; what it is then.

        The switches are the fields of :class:`sky_sandbox.accounts.Account`; without a profile the others are as at
        the start.
        """
        return dict(self._call("account", profile=profile, **switches))

    def move(self, *addresses: str) -> None:
        """Let whoever drives the machines be seen at this address from now on, as after a change of network.

        Open links break, and firewalls are asked: who is not let in waits for an answer in vain. With several addresses
        each connection is seen at one of them, as behind a pool of them; with none, or "", that is over.
        """
        self._call("move", addresses=[address for address in addresses if address])

    def quota(self, cloud: str, region: str, vcpus: int | None) -> None:
        """Let the account use so many vCPUs in a region ("*": in all together), or with None any number."""
        self._call("quota", cloud=cloud, region=region, vcpus=vcpus)

    def reserve(
        self,
        cloud: str,
        zone: str,
        type_: str,
        count: int = 1,
        *,
        kind: Literal["targeted", "open", "block"] = "targeted",
        region: str | None = None,
        ends_s: float | None = None,
    ) -> str:
        """Reserve machines in a zone; see :mod:`sky_sandbox.reservations`. Returns what launches name.

        A zone that is a region's name stands for none of its zones; ``ends_s`` seconds later it ends.
        """
        region = region or (zone[:-1] if cloud == "aws" else zone.rpartition("-")[0] or zone)
        about = {"cloud": cloud, "region": region, "zone": zone, "type": type_, "count": count}
        return str(self._call("reserve", **about, kind=kind, ends_s=ends_s)["id"])

    def reservations(self) -> list[Json]:
        """What is reserved, or was, with its end."""
        return list(self._call("reservations"))

    def unreserve(self, reservation: str) -> None:
        """Let a reservation be over: its machines go on at the market's price, or end with a Capacity Block."""
        self._call("unreserve", id=reservation)

    def preempt(
        self,
        machine_id: str | None = None,
        *,
        notice_s: float | None = None,
        tags: Mapping[str, str] | None = None,
        **where: str,
    ) -> list[str]:
        """Preempt one machine, or all spot machines that match (``cloud=``, ``region=``, ``zone=``, ``type=``, tags).

        ``notice_s`` None gives the cloud's notice, 0 none at all. Returns the ids of the machines preempted.
        """
        return list(
            self._call("preempt", id=machine_id, notice_s=notice_s, tags=dict(tags or {}), **where)["preempted"]
        )

    def fault(
        self,
        cloud: str,
        action: str,
        kind: Literal["error", "lost", "slow", "mute", "unseen"],
        *,
        code: str = "",
        seconds: float = 0.0,
        times: int = 1,
        message: str = "",
        spared: int = 0,
        **match: str,
    ) -> None:
        """Let ``times`` calls fail after the next ``spared``; see :class:`sky_sandbox.world.Fault`."""
        about = {"code": code, "seconds": seconds, "times": times, "message": message, "spared": spared}
        about["match"] = match
        self._call("fault", cloud=cloud, action=action, kind=kind, **about)

    def reset(self) -> None:
        """Kill all machines; forget limits, faults and replays. Buckets and the audit log stay."""
        self._call("reset")

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._call("fault", clear=True)

    def hang(self, machine_id: str, hung: bool = True) -> None:
        """Freeze a machine without a word (SIGSTOP), or let it go on."""
        self._call("hang", id=machine_id, hung=hung)

    def kill(self, machine_id: str) -> None:
        """Let the host of a machine fail: what its cloud then does with it, and bills, is the cloud's affair."""
        self._call("kill", id=machine_id)

    def remove(self, machine_id: str) -> None:
        """Delete a machine, as somebody does in the cloud's console."""
        self._call("remove", id=machine_id)

    def estrange(self, machine_id: str) -> None:
        """Let a machine die and a stranger's machine, which has another host key, answer at its address."""
        self._call("estrange", id=machine_id)

    def storage_outage(self, prefix: str, seconds: float) -> None:
        """Let all object stores answer 503 for the buckets whose name begins with ``prefix``."""
        self._call("storage_outage", prefix=prefix, seconds=seconds)

    def replay(self, tracks: Sequence[Mapping[str, Any]], *, speed: float, start_s: float = 0.0) -> Json:
        """Play spot traces at ``speed`` trace seconds per real second, from ``start_s`` on.

        A track is ``{"path": trace file, "zone": …, "type": … or "*", "count": machines per instance of the trace}``.
        """
        absolute = [{**track, "path": str(Path(track["path"]).resolve())} for track in tracks]
        return dict(self._call("replay", tracks=absolute, speed=speed, start_s=start_s))

    def _call(self, name: str, **body: Any) -> Any:
        request = urllib.request.Request(  # noqa: S310 - an http URL of our own
            f"{self.url}/{name}",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=STOP_S) as reply:  # noqa: S310
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise SkyloomError(f"sandbox: {name}: {json.load(error).get('error')}") from None
        except OSError as error:
            raise SandboxNotRunning(f"{self.url} does not answer: {error}") from None


def control(home: Path) -> Control:
    """The running sandbox of a home.

    Raises:
        SandboxNotRunning: if there is none.
    """
    read_sandbox(home)  # is it alive?
    data = json.loads((home / SANDBOX_FILE).read_text())
    if not _runs(data["pid"]):  # a dead child of ours looks alive until somebody asks for its status
        raise SandboxNotRunning(f"its process {data['pid']} is gone")
    return Control(data["admin"]["url"], data["admin"]["token"], data["pid"])


def up(home: Path, *, attached: bool = False, **options: Any) -> Control:
    """Start a sandbox for ``home`` and return when it answers; one that runs already is left as it is.

    Args:
        attached: The sandbox ends with this process, even when it is killed. Otherwise it runs until :func:`down`.
        options: As on the server's command line: ``runner="auto"|"sshd"|"asyncssh"``, ``boot_s``, ``aws_notice_s``,
            ``gcp_notice_s``, ``azure_notice_s``, ``hours_per_second``, ``gb_per_mb``, ``lease_s``, ``orphan_ttl_s``,
            ``account``.

    Raises:
        SandboxNotRunning: if it does not start; the message ends with its log.
    """
    try:
        running = control(home)
        running.status()  # a process of that number may be somebody else's by now
        return running
    except SandboxNotRunning:
        (home / SANDBOX_FILE).unlink(missing_ok=True)
    folder = home / "sandbox"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = folder / "server.log"
    command = [sys.executable, "-m", "sky_sandbox.server", "--home", str(home)]
    command += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--attached"] if attached else command,
            stdin=subprocess.PIPE if attached else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    _children[process.pid] = process
    deadline = time.monotonic() + START_S
    while not (home / SANDBOX_FILE).exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise SandboxNotRunning(f"it did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
    return control(home)


# Sandboxes started by this process. Keeps the standard input of attached ones open as long as this process lives.
_children: dict[int, subprocess.Popen[bytes]] = {}


def down(home: Path) -> bool:
    """End the sandbox of ``home`` and all its machines; False if none runs. Returns when its process is gone."""
    try:
        pid = control(home).pid
    except SandboxNotRunning:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while _runs(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)  # its machines die with it
        time.sleep(0.05)
    (home / SANDBOX_FILE).unlink(missing_ok=True)
    if child := _children.pop(pid, None):
        child.communicate()
    return True


def _runs(pid: int) -> bool:
    if pid in _children:
        return _children[pid].poll() is None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
