"""A wire to PostgreSQL that can be cut at a COMMIT: before the server hears of it, or before its answer is back."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal

Cut = Literal["before", "after"] | None


class Wire:
    """Forwards connections to a loopback port to the server's Unix socket in ``folder``.

    Attributes:
        cut: Where the next COMMIT is cut off; None again once it was.
    """

    def __init__(self, folder: Path) -> None:
        self.cut: Cut = None
        self._to = str(folder / ".s.PGSQL.5432")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._to)
            threading.Thread(target=self._upward, args=(client, server), daemon=True).start()
            threading.Thread(target=self._downward, args=(client, server), daemon=True).start()

    def _upward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):  # either side may be gone, or cut off
            while data := client.recv(65536):
                if self.cut is not None and b"COMMIT\0" in data:
                    where, self.cut = self.cut, None
                    if where == "after":
                        client.shutdown(socket.SHUT_WR)  # the answer has nowhere to go
                        server.sendall(data)
                    break
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _downward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)
        server.close()
        client.close()
