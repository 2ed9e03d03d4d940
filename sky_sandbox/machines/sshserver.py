"""Machines without namespaces: one asyncssh process each, forked from a nursery that has everything imported.

``python -m sky_sandbox.machines.sshserver`` is the nursery. It reads one guest per line of JSON on stdin, forks its
machine and writes ``{"started": name, "pid": …}``, later ``{"ended": name, "status": …}``. When stdin ends, because
the sandbox stopped or was killed, every machine ends with everything that ran on it. Forking shares the memory of
the imported libraries: a machine costs a few MB instead of forty.

A machine's processes are found as its descendants (on Linux it adopts orphans) and by an environment variable.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import asyncssh

from sky_sandbox.machines.image import MARK, Guest, install, path
from sky_sandbox.machines.processes import sweep

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
CHUNK = 65536


class Sshd(asyncssh.SSHServer):
    """Lets the guest's user in with its keys, nobody else."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.connection = conn

    def begin_auth(self, username: str) -> bool:
        if username == self.guest.user:
            self.connection.set_authorized_keys(str(self.guest.home / ".ssh/authorized_keys"))
        return True


def machine(guest: Guest, lifeline: int) -> None:
    """Be the machine until told to end; ends when ``lifeline`` does, the pipe that only the nursery holds open."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    install(guest, str(guest.home), os.getpid())
    os.chdir(guest.home)
    asyncio.run(_serve(guest, lifeline))


async def _serve(guest: Guest, lifeline: int) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_reader(lifeline, over.set)
    env = {
        **guest.env,
        "HOME": str(guest.home),
        "USER": guest.user,
        "LOGNAME": guest.user,
        "SHELL": "/bin/bash",
        "PATH": path(guest, guest.home),
        "TMPDIR": str(guest.root / "tmp"),
        MARK: guest.mark,
        # What pip installs stays in the machine, as far as that can be had without namespaces.
        "PIP_TARGET": str(guest.home / ".local/python"),
        "PYTHONPATH": str(guest.home / ".local/python"),
    }

    await asyncssh.create_server(
        lambda: Sshd(guest),
        guest.ip,
        guest.port,
        server_host_keys=[asyncssh.import_private_key(guest.host_key)],
        process_factory=partial(_session, env),
        sftp_factory=True,
        encoding=None,
    )
    if guest.boot:
        await asyncio.create_subprocess_exec("sh", "-c", guest.boot, env=env, start_new_session=True)
    await over.wait()
    sweep(os.getpid(), MARK, guest.mark)
    os._exit(0)  # threads still wait for the sessions just killed


async def _session(env: Mapping[str, str], process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run a command, or a login shell. As with sshd, the session lasts until nobody holds its output any more."""
    argv = ["/bin/bash", "-c", process.command] if process.command else ["/bin/bash", "-l"]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        *argv, env={**env, **process.env}, start_new_session=True, stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    # Our own pumps, since redirect() of asyncssh 2.24 loses the end of what it sends to pipes.
    feeding = asyncio.create_task(_pump(process.stdin, child.stdin))
    await asyncio.gather(_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr))
    status = await child.wait()
    feeding.cancel()
    process.exit(status if status >= 0 else 128 - status)
    await process.wait_closed()


async def _pump(source: Any, target: Any) -> None:
    """Copy a stream to its end, and end the target if it is a command's input."""
    with contextlib.suppress(OSError, asyncssh.Error):  # the other side has hung up
        while data := await source.read(CHUNK):
            target.write(data)
            await target.drain()
    if isinstance(target, asyncio.StreamWriter):
        target.close()


class Nursery:
    """Forks machines, reaps them and tells what became of them."""

    def __init__(self) -> None:
        self.guests: dict[int, Guest] = {}
        self.lifeline, self._held = os.pipe()

    def fork(self, guest: Guest) -> None:
        pid = os.fork()
        if pid == 0:
            os.close(self._held)
            self._detach(guest)
            try:
                machine(guest, self.lifeline)
            except Exception as error:  # noqa: BLE001 - the log is the only place left to say it
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        self.guests[pid] = guest
        self.tell(started=guest.name, pid=pid)

    def _detach(self, guest: Guest) -> None:
        """A session of its own, none of the nursery's pipes, a log of its own."""
        os.setsid()
        guest.log.parent.mkdir(parents=True, exist_ok=True)
        log = os.open(guest.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def reap(self) -> None:
        """Report the machines that have ended, and sweep what they left: dying, they hand their orphans to us."""
        while self.guests:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if guest := self.guests.pop(pid, None):
                sweep(pid, MARK, guest.mark)
                self.tell(ended=guest.name, status=os.waitstatus_to_exitcode(status))

    def tell(self, **what: Any) -> None:
        print(json.dumps(what), flush=True)

    def run(self) -> None:
        """Serve until stdin ends, then end with all machines."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        buffer = b""
        while True:
            ready, _, _ = select.select([0, reading], [], [])
            if reading in ready:
                os.read(reading, 4096)
                self.reap()
            if 0 in ready:
                data = os.read(0, 65536)
                if not data:
                    break
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self.fork(Guest.parse(json.loads(line)))
        os.close(self._held)
        for pid, guest in self.guests.items():
            sweep(pid, MARK, guest.mark)
            os.kill(pid, signal.SIGKILL)


async def _warm_up() -> None:
    """Let one client log in and run a command: what that loads and builds is then shared by all machines."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(
        asyncssh.SSHServer,
        "127.0.0.1",
        0,
        server_host_keys=[key],
        authorized_client_keys=asyncssh.import_authorized_keys(key.export_public_key().decode()),
        process_factory=partial(_session, dict(os.environ)),
        encoding=None,
    )
    async with server:
        port = server.get_port()
        async with asyncssh.connect("127.0.0.1", port, known_hosts=None, client_keys=[key], username="warm-up") as link:
            await link.run("true")


if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    asyncio.run(_warm_up())
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and thereby copy, the shared pages
    Nursery().run()
