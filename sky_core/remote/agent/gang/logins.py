"""Logging in from one machine of a gang to the others, as ``mpirun`` does: with a key that the attempt alone has.

``ssh ADDRESS`` and ``ssh node-RANK`` work for the user that the job runs as, whatever keys the caller has. The key and
what is known of the hosts lie in a folder of their own; the user's ``~/.ssh/config`` includes them, and
``authorized_keys`` lets the key in, both by one line that names the folder and goes with it when the attempt ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..job import Job, Place, root, write_whole
from ..outliving import Lease
from ..state import ENDED, read_state, supervisor_lives

MEET_S = 60.0  # for the driver to start the other machines
ATTEMPT = "attempt"  # a link to the folder of whose logins they are

HOST = """\
Host node-{rank} {address}
  HostName {address}
  Port {port}
  User {user}
  IdentityFile {folder}/id
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking {check}
  BatchMode yes
  LogLevel ERROR
"""


class Logins:
    """The logins of one attempt of a gang; for a machine alone there are none."""

    def __init__(self, job: Job, place: Place) -> None:
        self._job, self._place = job, place
        self._folder = _folder(place)
        self._ssh = Path.home() / ".ssh"

    def open(self) -> None:
        """Let the gang's machines in, and know how to get to them. Doing so again changes nothing."""
        _list(self._place, self._job.node_ips)
        if not self._job.peers:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (self._folder / ATTEMPT).symlink_to(self._place.folder)
        key = self._folder / "id"
        key.touch(mode=0o600)
        key.write_text(self._job.gang_key["private"])
        _describe(self._folder, self._job.peers)
        self._ssh.mkdir(mode=0o700, exist_ok=True)
        public = f"{self._job.gang_key['public'].strip()} {self._folder}"
        with self._held():
            _rewrite(self._ssh / "authorized_keys", lambda lines: [*self._others(lines), public])
            _rewrite(self._ssh / "config", lambda lines: [f"Include {self._folder}/config", *self._others(lines)])

    def close(self) -> None:
        """Take the logins back."""
        if not self._folder.exists():
            return
        with self._held():
            for name in ("authorized_keys", "config"):
                _rewrite(self._ssh / name, self._not_ours)
        shutil.rmtree(self._folder)

    def _not_ours(self, lines: Sequence[str]) -> list[str]:
        return [line for line in lines if str(self._folder) not in line]

    def _others(self, lines: Sequence[str]) -> list[str]:
        return self._not_ours(_living(lines))

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Two attempts on one host do not write at once."""
        with (self._ssh / ".skyloom.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def meet(job: Job, lease: Lease) -> None:
    """Wait until all machines of a gang let each other in: the driver first asks once it has started them all."""
    end = time.monotonic() + MEET_S
    while job.peers and not lease.asked() and time.monotonic() < end:
        time.sleep(0.02)


def readdress(place: Place, node_ips: Sequence[str], peers: Sequence[Mapping[str, Any]] = (), **_: object) -> None:
    """Another machine has taken a lost one's place: this one is to find it under the lost one's rank."""
    _list(place, node_ips)
    if _folder(place).exists():
        _describe(_folder(place), peers)


def _folder(place: Place) -> Path:
    """Of an attempt's logins."""
    name = hashlib.sha256(str(place.folder).encode()).hexdigest()[:16]  # OpenSSH expands % and more in paths
    return root() / "gangs" / name


def _list(place: Place, node_ips: Sequence[str]) -> None:
    """Write the gang's addresses to its file, without those of machines that are lost."""
    write_whole(place.hosts, "".join(f"{address}\n" for address in node_ips if address).encode())


def _describe(folder: Path, peers: Sequence[Mapping[str, Any]]) -> None:
    """Write down how to get to each machine, and which keys these have."""
    known, hosts = [], []
    for peer in peers:
        keys = str(peer["host_key"]).splitlines()
        pinned = [line for line in keys if not line.startswith("SHA256:")]
        where = f"[{peer['address']}]:{peer['port']}" if peer["port"] != 22 else peer["address"]
        known += [f"{where} {line}\n" for line in pinned]
        hosts.append(HOST.format(folder=folder, check="yes" if pinned else "accept-new", **peer))
    write_whole(folder / "known_hosts", "".join(known).encode())
    write_whole(folder / "config", "".join(hosts).encode())


def _living(lines: Sequence[str]) -> list[str]:
    """All lines but those of attempts whose agent was killed before it could take them back."""
    ours = re.compile(re.escape(str(root() / "gangs")) + "/[0-9a-f]{16}")
    return [line for line in lines if (found := ours.search(line)) is None or _lives(Path(found[0]))]


def _lives(folder: Path) -> bool:
    state = read_state(folder / ATTEMPT / "state.json")
    return state is not None and state["phase"] not in ENDED and supervisor_lives(state)


def _rewrite(file: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Replace a file of the user's at once, its mode kept."""
    try:
        text, mode = file.read_text(), file.stat().st_mode & 0o777
    except FileNotFoundError:
        text, mode = "", 0o600
    after = "".join(f"{line}\n" for line in change(text.splitlines()))
    if after == text:
        return
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    new.touch(mode=mode)
    new.write_text(after)
    new.replace(file)
