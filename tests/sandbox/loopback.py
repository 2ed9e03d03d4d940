"""What these tests run on loopback: an ASGI app behind uvicorn, in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import uvicorn


@contextlib.contextmanager
def serve(app: object) -> Iterator[str]:
    """Base URL of ``app`` while the block runs."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "uvicorn did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def store_options(endpoint: str) -> Mapping[str, Mapping[str, Any]]:
    """fsspec options for the sandbox's object store, by protocol."""
    azure = f"DefaultEndpointsProtocol=http;AccountName=sky;AccountKey=c2t5;BlobEndpoint={endpoint}/sky;"
    return {
        "s3": {"key": "k", "secret": "s", "endpoint_url": endpoint},
        "gs": {"token": "anon", "endpoint_url": endpoint, "project": "p"},
        "abfs": {"connection_string": azure},
    }


def lent(endpoint: str) -> Mapping[str, Mapping[str, Any]]:
    """The same as machines are lent it."""
    token = {"access_token": "of-ours", "endpoint_url": endpoint, "project": "p"}
    return {**store_options(endpoint), "gs": token}
