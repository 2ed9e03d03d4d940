"""A forward proxy as an office has it, which carries requests and, by CONNECT, whatever else: TLS and SSH."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

# The end of a ProxyCommand in Python: standard input and output become the connection ``link``.
POUR = """
def out():
    while data := os.read(0, 65536):
        link.sendall(data)
threading.Thread(target=out, daemon=True).start()
while data := link.recv(65536):
    os.write(1, data)
"""
# One that leads through the proxy, as by ``nc -X connect``.
CONNECT = (
    """
import os, socket, sys, threading
proxy, host, port = sys.argv[1:]
link = socket.create_connection(("127.0.0.1", int(proxy)))
link.sendall(f"CONNECT {host}:{port} HTTP/1.1\\r\\n\\r\\n".encode())
answer = b""
while not answer.endswith(b"\\r\\n\\r\\n"):
    got = link.recv(1)
    assert got, answer
    answer += got
assert b" 200 " in answer, answer
"""
    + POUR
)


class Proxy:
    """Carries, in a thread of its own; ``carried`` counts by method and port."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.carried: Counter[tuple[str, int]] = Counter()
        self.port = 0
        self.thread = threading.Thread(target=loop.run_forever, daemon=True)
        self.thread.start()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                await self._carry(head, reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                return

    async def _carry(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *headers = head.strip().split("\r\n")
        method, target, _ = line.split(" ")
        url = urlsplit(f"//{target}" if method == "CONNECT" else target)
        assert url.hostname is not None
        assert url.port is not None
        self.carried[method, url.port] += 1
        there = await asyncio.open_connection(url.hostname, url.port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:  # a request each, so that the next one is looked at as well
            kept = [one for one in headers if not one.lower().startswith(("connection:", "proxy-"))]
            path = target.partition(url.netloc)[2] or "/"
            there[1].write(
                "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]).encode("latin-1")
            )
        back = asyncio.create_task(_pour(there[0], writer))
        forth = asyncio.create_task(_pour(reader, there[1]))
        await back
        forth.cancel()
        there[1].close()


async def _pour(source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            drain.write(data)
            await drain.drain()
        if drain.can_write_eof():
            drain.write_eof()


@contextmanager
def proxy() -> Iterator[Proxy]:
    """One that runs while the block does."""
    loop = asyncio.new_event_loop()
    here = Proxy(loop)
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(here.serve, "127.0.0.1", 0), loop).result()
    here.port = server.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        here.thread.join()
        loop.close()


async def _end(server: asyncio.Server) -> None:
    """Leave no task behind: whoever collects it would say so in the middle of what another test does."""
    server.close()
    under_way = asyncio.all_tasks() - {asyncio.current_task()}
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
