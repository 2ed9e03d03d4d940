"""A firewall before a machine's SSH port: the kernel drops what comes from elsewhere, packet by packet.

A socket filter on the listening socket of the machine's own server, so it needs no kernel module, no namespace and no
rights but those over that process: https://docs.kernel.org/networking/filter.html. Whoever is not let in waits for an
answer in vain. What stands already is left alone, as by the clouds' stateful rules.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from sky_sandbox.machines.processes import send

BASTION = "127.77.255.253"  # the address of this host that a bastion's connections come from; no machine gets it


@dataclass(frozen=True, order=True)
class Source:
    """Whence connections come: an address of this host, or that share of its connections which a pool of addresses
    between it and the machines gives one of them: those whose port, by two, leaves ``share`` when divided by ``of``."""

    address: str
    share: int = 0
    of: int = 1


# asm-generic/socket.h and unistd.h; linux/filter.h. Python has no names for them.
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
PIDFD_GETFD = 438
SOURCE_ADDRESS = 0xFFF00000 + 12  # SKF_NET_OFF and the place in IPv4's header
SOURCE_PORT = 0xFFF00000 + 20
LOAD, LOAD_HALF, SHIFT, MODULO, JUMP_IF_EQUAL, RETURN = 0x20, 0x28, 0x74, 0x94, 0x15, 0x06
DROP, KEEP = 0, 0xFFFFFFFF


def let_in(server: psutil.Process, port: int, sources: Iterable[Source] | None) -> None:
    """Let only who comes from these connect to the port that a process listens on; None lets in everybody.

    Where the system knows no such filter (macOS), the process stops unless somebody is let in.
    """
    try:
        with _listening(server, port) as own:
            if sources is None:
                own.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
            else:
                _attach(own, sorted(sources))
    except FileNotFoundError:  # it has no filter, or the process has ended
        return
    except (AttributeError, OSError):
        send(server, signal.SIGCONT if sources is None or [*sources] else signal.SIGSTOP)


def _listening(server: psutil.Process, port: int) -> socket.socket:
    """Our own handle of another process's listening socket."""
    try:
        found = [one.fd for one in server.net_connections("tcp4") if one.status == psutil.CONN_LISTEN
                 and one.laddr.port == port]  # fmt: skip
    except psutil.NoSuchProcess:
        found = []
    if not found:
        raise FileNotFoundError(f"nobody listens on {port}")
    process = os.pidfd_open(server.pid)
    try:
        taken = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, found[0], 0)
    finally:
        os.close(process)
    if taken < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return socket.socket(fileno=taken)


def pool_member(port: int, size: int) -> int:
    """Which address of a pool a connection from that port is given. Systems prefer even ports for these."""
    return (port >> 1) % size


def _attach(own: socket.socket, sources: list[Source]) -> None:
    """Drop each packet unless it comes from one of these."""
    program = b"".join([*map(_kept, sources), _step(RETURN, DROP)])
    code = ctypes.create_string_buffer(program)
    steps = len(program) // len(_step(RETURN, DROP))
    own.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", steps, ctypes.addressof(code)))


def _kept(source: Source) -> bytes:
    """Keep a packet that comes from there; any other is up to what follows."""
    steps = [
        _step(LOAD, SOURCE_ADDRESS),
        _step(JUMP_IF_EQUAL, int.from_bytes(socket.inet_aton(source.address)), 0, 5),
        _step(LOAD_HALF, SOURCE_PORT),
        _step(SHIFT, 1),
        _step(MODULO, source.of),
        _step(JUMP_IF_EQUAL, source.share, 0, 1),
        _step(RETURN, KEEP),
    ]
    return b"".join(steps)


def _step(what: int, operand: int, jump: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("HBBI", what, jump, otherwise, operand)
