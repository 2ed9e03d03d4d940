"""What goes over the wire between the clouds' SDKs in this process and what they talk to, word for word.

All of boto3, google-cloud-* and azure-mgmt-* speak through urllib3.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.response import BaseHTTPResponse, HTTPResponse


@dataclass(frozen=True)
class Exchange:
    """A request and its reply."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]  # of the request, names in lower case
    body: bytes
    status: int
    reply: bytes
    reply_headers: dict[str, str] = field(repr=False)

    @property
    def said(self) -> Any:
        """The request's JSON, or its form as one; None without a body."""
        if self.is_form:
            return dict(parse_qsl(self.body.decode(), keep_blank_values=True))
        return json.loads(self.body) if self.body else None

    @property
    def is_form(self) -> bool:
        """Whether the request is a form, as an HTML page would send it."""
        return "x-www-form-urlencoded" in self.headers.get("content-type", "")

    @property
    def told(self) -> Any:
        """The reply's JSON; None without a body."""
        return json.loads(self.reply) if self.reply else None

    def __str__(self) -> str:
        return f"{self.method} {self.path} -> {self.status}"


@contextmanager
def recording() -> Iterator[list[Exchange]]:
    """Everything that is said while this lasts."""
    heard: list[Exchange] = []
    plain = HTTPConnectionPool.urlopen

    def urlopen(self: HTTPConnectionPool, method: str, url: str, body: Any = None, **options: Any) -> BaseHTTPResponse:
        content = body.read() if hasattr(body, "read") else body
        reply = plain(self, method, url, content, **{**options, "preload_content": False})
        data = reply.read(decode_content=False)
        asked, headers = urlsplit(url), options.get("headers") or self.headers
        heard.append(Exchange(
            method, asked.path, parse_qsl(asked.query, keep_blank_values=True), _lower(headers), _bytes(content),
            reply.status, data, _lower(reply.headers),
        ))  # fmt: skip
        return HTTPResponse(
            io.BytesIO(data), reply.headers, reply.status, reason=reply.reason, request_method=method,
            preload_content=options.get("preload_content", True), decode_content=options.get("decode_content", True),
        )  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HTTPConnectionPool, "urlopen", urlopen)
        yield heard


def _bytes(content: Any) -> bytes:
    return content.encode() if isinstance(content, str) else bytes(content or b"")


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): _text(value) for name, value in dict(headers).items()}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
