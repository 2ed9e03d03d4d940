"""Replies that the dialects have in common: an object's content, ranges of it, and XML."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sky_sandbox.storage.objects import Object

RANGE = re.compile(r"bytes=(\d*)-(\d*)$")
CHUNK = 1 << 18


def http_date(seconds: float) -> str:
    """``Sat, 21 Nov 2026 01:02:03 GMT``."""
    return formatdate(seconds, usegmt=True)


def iso_date(seconds: float) -> str:
    """``2026-11-21T01:02:03.456Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def content(request: Request, found: Object, headers: Mapping[str, str]) -> Response:
    """The object's bytes, or the range the request asks for; headers only for HEAD."""
    start, stop, status = 0, found.size, 200
    all_headers = {"Accept-Ranges": "bytes", "Last-Modified": http_date(found.modified), **headers}
    wanted = RANGE.match(request.headers.get("x-ms-range") or request.headers.get("range") or "")
    if wanted and wanted[0] != "bytes=-":
        start, stop = _bounds(wanted[1], wanted[2], found.size)
        if start >= stop:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{found.size}"})
        status = 206
        all_headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.size}"
    all_headers |= {"Content-Length": str(stop - start), "Content-Type": found.content_type}
    if request.method == "HEAD":
        return Response(status_code=status, headers=all_headers)
    file = found.path.open("rb")  # opened now: a later overwrite or delete does not disturb this reader
    return StreamingResponse(_stream(file, start, stop - start), status, all_headers)


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(int(last) + 1, size) if last else size


async def _stream(file: BinaryIO, start: int, left: int) -> AsyncIterator[bytes]:
    with file:
        file.seek(start)
        while left and (chunk := file.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk


def node(tag: str, *children: ET.Element | str, **attributes: str) -> ET.Element:
    """An XML element of child elements or text."""
    element = ET.Element(tag, attributes)
    for child in children:
        if isinstance(child, str):
            element.text = child
        else:
            element.append(child)
    return element


def xml(root: ET.Element, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An XML document."""
    text = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return Response(text, status, dict(headers or {}), "application/xml")
