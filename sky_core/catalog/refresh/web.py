"""Fetching from price APIs: retried, bounded, and never trusted to be what it says."""

from __future__ import annotations

import csv
import http.client
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from sky_core.errors import BadSource

TIMEOUT_S = 30.0
MOST_BYTES = 256 * 2**20
MOST_PAGES = 5000
TRIES = 3


class _Passing(Exception):
    """A failure that another try may mend: the network, a 429, a 5xx."""


def fetch(url: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    """The body of a GET.

    Raises:
        BadSource: after three tries, or at once for a 4xx or a body that is too long.
    """
    full = f"{url}?{urlencode(params)}" if params else url
    request = urllib.request.Request(full, headers=dict(headers or {}))  # noqa: S310 -- adapters give http(s) URLs
    wait = wait_exponential_jitter(multiplier=0.2, max=5, jitter=0.2)
    retrying = Retrying(
        stop=stop_after_attempt(TRIES), wait=wait, retry=retry_if_exception_type(_Passing), reraise=True
    )
    try:
        return retrying(_get, request)
    except _Passing as error:
        raise BadSource(f"{url}: {error}", cure="try again later; the catalog is as it was") from None


def _get(request: urllib.request.Request) -> bytes:
    url = request.full_url.partition("?")[0]
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:  # noqa: S310
            body: bytes = reply.read(MOST_BYTES + 1)
            missing = reply.length  # of the announced length; None where none was announced
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 429 or error.code >= 500:
            raise _Passing(f"HTTP {error.code}") from None
        raise BadSource(f"{url}: HTTP {error.code} {error.reason}") from None
    except (TimeoutError, urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
        raise _Passing(f"cannot be reached: {getattr(error, 'reason', error)}") from None
    if len(body) > MOST_BYTES:
        raise BadSource(f"{url}: the reply is longer than {MOST_BYTES // 2**20} MiB")
    if missing:
        raise _Passing(f"the reply broke off after {len(body)} bytes")
    return body


def fetch_json(url: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None) -> Any:
    """The body of a GET, parsed as a JSON object.

    Raises:
        BadSource: as :func:`fetch`, or if it is no JSON object.
    """
    body = fetch(url, params, headers)
    try:
        reply = json.loads(body)
    except ValueError as error:
        raise BadSource(f"{url}: the reply is not JSON: {error}") from None
    if not isinstance(reply, dict):
        raise BadSource(f"{url}: the reply is not a JSON object")
    return reply


def fetch_pages(
    url: str,
    params: Mapping[str, str],
    items: str,
    next_link: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Any]:
    """The entries ``items`` of all pages of a list.

    Args:
        next_link: Field that holds the next page's URL; None for Google's way, where ``nextPageToken`` becomes the
            parameter ``pageToken``.

    Raises:
        BadSource: as :func:`fetch_json`, if a page has no such entries, or if the pages go round in circles.
    """
    seen: set[str] = set()
    while True:
        page = fetch_json(url, params, headers)
        if items not in page or not isinstance(page[items], list | dict):
            raise BadSource(f"{url.partition('?')[0]}: the reply has no {items!r}")
        yield from page[items].values() if isinstance(page[items], dict) else page[items]
        token = page.get(next_link or "nextPageToken")
        if not token:
            return
        if token in seen or len(seen) > MOST_PAGES or not isinstance(token, str):
            raise BadSource(f"{url.partition('?')[0]}: its pages have no end")
        seen.add(token)
        url, params = (token, {}) if next_link else (url, {**params, "pageToken": token})


def read_csv(body: bytes, origin: str, columns: set[str]) -> Iterator[dict[str, str]]:
    """The rows of a CSV file.

    Raises:
        BadSource: if it is not UTF-8, lacks a column, or a row has more or fewer cells than the header.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadSource(f"{origin}: not UTF-8: {error}") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", strict=True)
    missing = columns - set(reader.fieldnames or ())
    if missing:
        raise BadSource(f"{origin}: the header lacks {', '.join(sorted(missing))}")
    try:
        for row in reader:
            if "" in row or None in row.values():
                raise BadSource(f"{origin}: line {reader.line_num} does not fit the header")
            yield row
    except csv.Error as error:
        raise BadSource(f"{origin}: line {reader.line_num}: {error}") from None
