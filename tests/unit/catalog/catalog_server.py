"""A price API on loopback: each path answers what a test has put there; and what came of refreshing from it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sky_core.catalog import Catalog
from sky_core.catalog.refresh import Result, Source, refresh
from sky_core.spec import Resources

KNOWN = Catalog.embedded().table

Reply = bytes | dict[str, Any] | int | Callable[[dict[str, str]], "Reply"]


class Pages:
    """What the server answers, by path: bytes, a JSON object, an HTTP status, or a function of the query string.

    Attributes:
        asked: The paths asked for, with their headers.
        truncate: Break connections off in the middle of the body.
    """

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.truncate = False
        self.url = ""

    def body(self, path: str, query: dict[str, str]) -> bytes | int:
        reply: Reply = self.replies.get(path, 404)
        if callable(reply):
            reply = reply(query)
        return json.dumps(reply).encode() if isinstance(reply, dict) else reply  # type: ignore[return-value]


@contextmanager
def serve() -> Iterator[Pages]:
    """Serve pages on loopback for the length of a ``with`` block."""
    pages = Pages()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            pages.asked.append((parts.path, dict(self.headers)))
            body = pages.body(parts.path, {key: values[0] for key, values in parse_qs(parts.query).items()})
            if isinstance(body, int):
                self.send_error(body)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if pages.truncate else body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pages.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield pages
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(home: Path, source: Source) -> Result:
    """Refresh a home from one source."""
    said: list[str] = []
    (result,) = refresh(home, [source], KNOWN, said.append)
    assert said, "a refresh says what it is doing"
    return result


def offerings(home: Path, **wanted: Any) -> dict[tuple[str, str | None, str], dict[str, Any]]:
    """What a query of that home's catalog finds, by region, zone and machine type."""
    found = Catalog.load(home).query(Resources(**wanted))
    return {(row["region"], row["zone"], row["instance_type"]): row for row in found.iter_rows(named=True)}
