"""A port of this host that leads elsewhere, as ``ssh -L`` makes one."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from sky_core.errors import SkyloomError
from sky_core.ssh.link import CHUNK, LOOPBACK, Channel


class Forward:
    """A port of the loopback; whoever connects to it is led on over a connection of his own.

    Args:
        dial: Makes that connection, or raises a SkyloomError.
        told: Is told why one could not be made.
    """

    def __init__(self, dial: Callable[[], Channel], told: Callable[[SkyloomError], object]) -> None:
        self._dial, self._told = dial, told
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more; who is in stays."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which wakes who accepts
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._lead, args=(client,), daemon=True).start()

    def _lead(self, client: socket.socket) -> None:
        with contextlib.closing(client):
            try:
                channel = self._dial()
            except SkyloomError as error:
                self._told(error)
                return
            with contextlib.closing(channel):
                back = (channel.recv, client.sendall, lambda: client.shutdown(socket.SHUT_WR))
                answering = threading.Thread(target=_pump, args=back, daemon=True)
                answering.start()
                _pump(client.recv, channel.sendall, channel.shutdown_write)
                answering.join()


def _pump(receive: Callable[[int], bytes], send: Callable[[bytes], object], end: Callable[[], object]) -> None:
    """Hand on all that comes, and then that there is no more."""
    with contextlib.suppress(OSError):
        while data := receive(CHUNK):
            send(data)
    with contextlib.suppress(OSError, EOFError):
        end()
