"""One SSH link to one machine, over paramiko: pinned host key, nothing lost silently.

What paramiko needs to be told, each measured or met: TCP_NODELAY on a socket of our own (a command takes 6 ms
instead of 52), data in 64 KB pieces, a keepalive, and that a channel which closes without an exit status is a
broken link even though its output looks like a complete, shorter one.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import paramiko

from sky_core.errors import HostKeyMismatch, LinkLost, LoginRefused, MachineError, SkyloomError
from sky_core.ssh import pins
from sky_core.ssh.machine import Machine
from sky_core.ssh.proxy import Proxy

Channel = paramiko.Channel
CHUNK = 64 * 1024
LOOPBACK = "127.0.0.1"
CONNECT_TIMEOUT_S = 10.0
LOGIN_TIMEOUT_S = 15.0
KEEPALIVE_S = 15
LARGEST_OUTPUT = 80 << 20  # bytes; agents of earlier versions send up to 64 MiB of log at once


class Readable(Protocol):
    """What is sent piece by piece."""

    def read(self, size: int, /) -> bytes:
        """The next piece; b"" at the end."""


@dataclass(frozen=True)
class Limit:
    """How long may be waited: until ``end`` (monotonic) in all, and ``stall_s`` each time."""

    end: float
    stall_s: float | None = None

    def at_most(self, seconds: float) -> float:
        """So many seconds, or what is left.

        Raises:
            TimeoutError: if nothing is left.
        """
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(seconds, left, left if self.stall_s is None else self.stall_s)


class Link:
    """A connection to a machine, opened when first used. One command at a time: calls from threads queue.

    Args:
        machine: Whom to call.
        keys: Private keys in OpenSSH's format, in the order in which to try them.

    Example:
        >>> link = Link(Machine("127.0.0.1", 2222, "skyloom", "ssh-ed25519 AAAA…"), [key])  # doctest: +SKIP
        >>> link.run(["echo", "it's here"])  # doctest: +SKIP
        b"it's here\\n"
    """

    def __init__(self, machine: Machine, keys: Sequence[str]) -> None:
        self.machine = machine
        self._keys = keys
        self._transport: paramiko.Transport | None = None
        self._proxy: Proxy | None = None
        self._lock = threading.Lock()

    def run(
        self,
        command: str | Sequence[str],
        stdin: bytes | Readable = b"",
        timeout_s: float = 60.0,
        stall_s: float | None = None,
    ) -> bytes:
        """Run a command and return its standard output. A string is a shell script, a sequence is quoted.

        Args:
            timeout_s: For all of it.
            stall_s: For each wait in it, for the connection or the next bytes; None: as long as all of it.

        Raises:
            LinkLost: if the machine cannot be reached, the connection breaks, or ``timeout_s`` seconds pass;
                LoginRefused if it does not let us in, ProxyBroken if the way to it is at fault.
            HostKeyMismatch: if another machine answers.
            MachineError: if the command ends with another exit status than 0, or says more than any of ours would.
        """
        script = command if isinstance(command, str) else shlex.join(command)
        data = io.BytesIO(stdin) if isinstance(stdin, bytes) else stdin
        with self._lock:
            try:
                output, complaint, status = self._exchange(script, data, Limit(time.monotonic() + timeout_s, stall_s))
            except (paramiko.SSHException, OSError, EOFError) as error:
                raise self._lost(error) from error
        if status != 0:
            last = complaint.decode(errors="replace").strip()[-2000:]
            raise MachineError(f"{self.machine.ip}: exit status {status}: {last or 'no message'}")
        return output

    def put(self, data: bytes | Readable, path: str, mode: int = 0o600, timeout_s: float = 600.0) -> None:
        """Write a file, whole or not at all. A relative path starts at the user's home; folders are made.

        Raises:
            LinkLost, HostKeyMismatch, MachineError: as :meth:`run`.
        """
        target = shlex.quote(path)
        script = (
            f'umask 077 && mkdir -p -- "$(dirname -- {target})" && cat > {target}.$$ && '
            f"chmod {mode:o} {target}.$$ && mv -f -- {target}.$$ {target}"
        )
        self.run(script, data, timeout_s)

    def dial(self, host: str, port: int, timeout_s: float = 30.0) -> paramiko.Channel:
        """A connection that the machine makes to a port that it sees.

        Raises:
            LinkLost, HostKeyMismatch: as :meth:`run`.
            MachineError: if nobody listens there.
        """
        with self._lock:
            try:
                return self._channel(Limit(time.monotonic() + timeout_s), "direct-tcpip", (host, port))
            except paramiko.ChannelException as error:
                raise MachineError(f"{self.machine.ip}: {host}:{port}: {error.text}") from error
            except (paramiko.SSHException, OSError, EOFError) as error:
                raise self._lost(error) from error

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        if self._proxy is not None:
            self._proxy.close()
        self._transport = self._proxy = None

    def _lost(self, error: Exception) -> LinkLost:
        """What a connection that failed or broke is told as; it is closed."""
        where = f"{self.machine.user}@{self.machine.ip}:{self.machine.port}"
        why = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        proxy = self._proxy
        refused = isinstance(error, paramiko.AuthenticationException)
        fault = proxy.fault() if proxy and not refused else None
        self._close()
        if refused:
            return LoginRefused(f"{where}: {why}")
        return fault or LinkLost(f"{where}: {why}" + (f", by proxy_command: {proxy.said()}" if proxy else ""))

    def _exchange(self, script: str, data: Readable, limit: Limit) -> tuple[bytes, bytes, int]:
        channel = self._channel(limit)
        with contextlib.closing(channel):
            channel.settimeout(limit.at_most(float("inf")))
            channel.exec_command(script)
            with contextlib.suppress(OSError):  # a command that does not read its input is judged by its status
                for chunk in iter(lambda: data.read(CHUNK), b""):
                    channel.sendall(chunk)
                channel.shutdown_write()
            output = b"".join(_received(channel.recv, channel, limit))
            complaint = b"".join(_received(channel.recv_stderr, channel, limit))
            if not channel.status_event.wait(limit.at_most(float(threading.TIMEOUT_MAX))):
                raise TimeoutError
            status = channel.recv_exit_status()
            if status == -1:
                raise EOFError("the connection broke while a command ran")
            return output, complaint, status

    def _channel(self, limit: Limit, kind: str = "session", to: tuple[str, int] | None = None) -> paramiko.Channel:
        """A channel on the open connection, or on a new one where that has broken since it was last used."""

        def opened(transport: paramiko.Transport) -> paramiko.Channel:
            origin = (LOOPBACK, 0) if to else None
            return transport.open_channel(kind, to, origin, timeout=limit.at_most(CONNECT_TIMEOUT_S))

        if self._transport is not None:
            try:
                return opened(self._transport)
            except paramiko.ChannelException:  # the machine has answered
                raise
            except paramiko.SSHException as error:
                if self._transport.is_active():  # the connection stands, and the machine says nothing
                    raise TimeoutError from error
                self._close()
            except (OSError, EOFError):  # it has broken, whatever its thread has noticed of that by now
                self._close()
        self._transport = self._connect(limit)
        return opened(self._transport)

    def _connect(self, limit: Limit) -> paramiko.Transport:
        machine = self.machine
        self._close()
        if machine.proxy_command:
            self._proxy = Proxy(machine.proxy_command, machine.ip, machine.port)
        transport = paramiko.Transport(self._proxy.wire if self._proxy else _wire(machine, limit))
        try:
            transport.banner_timeout = transport.auth_timeout = limit.at_most(LOGIN_TIMEOUT_S)
            options, wanted = transport.get_security_options(), pins.types(machine.host_key)
            if wanted:
                options.key_types = tuple(name for name in options.key_types if name in wanted)
            if not _presents(transport, machine.host_key, limit.at_most(LOGIN_TIMEOUT_S)):
                raise HostKeyMismatch(
                    f"{machine.ip}:{machine.port} is not the machine that was meant: its host key differs",
                    cure="its address was given to another machine, or somebody is in between; nothing was sent",
                )
            _log_in(transport, machine, self._keys)
            transport.set_keepalive(KEEPALIVE_S)
        except BaseException as error:
            transport.close()
            if isinstance(error, SkyloomError):  # else it may be the proxy that has failed
                self._close()
            raise
        return transport


def _wire(machine: Machine, limit: Limit) -> socket.socket:
    """What the connection goes over."""
    wire = socket.create_connection((machine.ip, machine.port), limit.at_most(CONNECT_TIMEOUT_S))
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wire


def _log_in(transport: paramiko.Transport, machine: Machine, keys: Sequence[str]) -> None:
    """Log in with the first key that is taken.

    Raises:
        MachineError: if none is.
    """
    if machine.key_file:
        try:
            mine = [paramiko.PKey.from_path(machine.key_file)]
        except (OSError, paramiko.SSHException, ValueError, TypeError) as error:
            raise MachineError(f"{machine.ip}: key file {machine.key_file} cannot be used: {error}") from None
    else:
        mine = [paramiko.Ed25519Key.from_private_key(io.StringIO(key)) for key in keys]
    for key in mine:
        try:
            transport.auth_publickey(machine.user, key)
            return
        except paramiko.AuthenticationException:
            if key is mine[-1]:
                raise


def _presents(transport: paramiko.Transport, host_key: str, timeout_s: float) -> bool:
    try:
        transport.start_client(timeout=timeout_s)
    except paramiko.ssh_exception.IncompatiblePeer:  # it has no key of these types
        return False
    return pins.believes(host_key, transport.get_remote_server_key().asbytes())


def _received(receive: Callable[[int], bytes], channel: paramiko.Channel, limit: Limit) -> Iterator[bytes]:
    """What the command writes, until it closes its output.

    Raises:
        MachineError: if it does not come to an end.
    """
    size = 0
    while True:
        channel.settimeout(limit.at_most(float("inf")))
        chunk = receive(CHUNK)
        if not chunk:
            return
        size += len(chunk)
        if size > LARGEST_OUTPUT:
            raise MachineError(f"a command has written more than {LARGEST_OUTPUT:,} bytes")
        yield chunk
