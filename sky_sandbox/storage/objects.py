"""Buckets and objects on disk: an SQLite index over immutable body files. What the three dialects share.

A body is written to a file of its own first; one index statement then makes it the object's content. So an
object is replaced as a whole, a reader that has the old body open keeps it, and listings are in key order.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Service = Literal["s3", "gcs", "blob"]
CHUNK = 1 << 20
LAST = "\U0010ffff"  # sorts after every character that a key can continue with

SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (
    service TEXT, name TEXT, location TEXT, created REAL, PRIMARY KEY (service, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    service TEXT, bucket TEXT, key TEXT, path TEXT, size INTEGER, md5 BLOB, etag TEXT, content_type TEXT,
    metadata TEXT, generation INTEGER, modified REAL, PRIMARY KEY (service, bucket, key)) WITHOUT ROWID;
"""
COLUMNS = "path, size, md5, etag, content_type, metadata, generation, modified"


@dataclass(frozen=True)
class Body:
    """Bytes received and on disk, not yet anybody's content."""

    path: Path
    size: int
    md5: bytes


@dataclass(frozen=True)
class Object:
    """What a key holds. ``generation`` grows with every write to the store; ``modified`` is seconds since the epoch."""

    path: Path
    size: int
    md5: bytes
    etag: str
    content_type: str
    metadata: Mapping[str, str]
    generation: int
    modified: float

    @property
    def md5_base64(self) -> str:
        return base64.b64encode(self.md5).decode()


@dataclass
class Listing:
    """One page of a bucket, and the name to go on after, or None when it was the last."""

    objects: list[tuple[str, Object]] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    next: str | None = None

    def __len__(self) -> int:
        return len(self.objects) + len(self.prefixes)


class Objects:
    """The store. For one event loop: methods that change the index never await, so check and change are one step."""

    def __init__(self, root: Path) -> None:
        self._bodies = root / "bodies"
        self._bodies.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(root / "index.db", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")  # the sandbox need not survive a power cut
        self._db.executescript(SCHEMA)
        self._generation = time.time_ns() // 1000

    # --- buckets ---------------------------------------------------------------------------------------------

    def create_bucket(self, service: Service, name: str, location: str = "") -> bool:
        """Create a bucket; False if it was there."""
        row = (service, name, location, time.time())
        return self._db.execute("INSERT OR IGNORE INTO buckets VALUES (?, ?, ?, ?)", row).rowcount == 1

    def buckets(self, service: Service) -> dict[str, tuple[str, float]]:
        """Location and creation time (seconds since the epoch) of each bucket."""
        rows = self._db.execute("SELECT name, location, created FROM buckets WHERE service = ?", (service,))
        return {name: (location, created) for name, location, created in rows}

    def drop_bucket(self, service: Service, name: str, *, with_objects: bool = False) -> bool:
        """Delete a bucket; False if objects are in the way."""
        if with_objects:
            rows = self._db.execute("SELECT key FROM objects WHERE service = ? AND bucket = ?", (service, name))
            for (key,) in rows.fetchall():
                self.delete(service, name, key)
        elif self.list(service, name, limit=1):
            return False
        self._db.execute("DELETE FROM buckets WHERE service = ? AND name = ?", (service, name))
        return True

    # --- objects ---------------------------------------------------------------------------------------------

    def get(self, service: Service, bucket: str, key: str) -> Object | None:
        """What the key holds, if anything."""
        query = f"SELECT {COLUMNS} FROM objects WHERE service = ? AND bucket = ? AND key = ?"  # noqa: S608
        row = self._db.execute(query, (service, bucket, key)).fetchone()
        return self._object(row) if row else None

    def put(
        self,
        service: Service,
        bucket: str,
        key: str,
        body: Body,
        *,
        etag: str | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> Object:
        """Make ``body`` the content of the key at once and as a whole."""
        self._generation += 1
        content = Object(
            body.path,
            body.size,
            body.md5,
            etag or body.md5.hex(),
            content_type,
            metadata or {},
            self._generation,
            time.time(),
        )
        self._store(service, bucket, key, content)
        return content

    def describe(self, service: Service, bucket: str, key: str, metadata: Mapping[str, str]) -> None:
        """Replace an object's metadata and leave its content."""
        where = (json.dumps(dict(metadata)), service, bucket, key)
        self._db.execute("UPDATE objects SET metadata = ? WHERE service = ? AND bucket = ? AND key = ?", where)

    def copy(self, service: Service, source: Object, bucket: str, key: str) -> Object:
        """Give another key the same content."""
        path = self._bodies / uuid.uuid4().hex
        os.link(source.path, path)
        body = Body(path, source.size, source.md5)
        return self.put(
            service,
            bucket,
            key,
            body,
            etag=source.etag,
            content_type=source.content_type,
            metadata=source.metadata,
        )

    def delete(self, service: Service, bucket: str, key: str) -> bool:
        """Delete a key; False if it held nothing."""
        old = self.get(service, bucket, key)
        if old is None:
            return False
        where = "service = ? AND bucket = ? AND key = ?"
        self._db.execute(f"DELETE FROM objects WHERE {where}", (service, bucket, key))  # noqa: S608
        old.path.unlink(missing_ok=True)
        return True

    def list(
        self,
        service: Service,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> Listing:
        """Keys and common prefixes beyond the name ``after``, in order, at most ``limit`` of both together."""
        page = Listing()
        query = (
            f"SELECT key, {COLUMNS} FROM objects "  # noqa: S608
            "WHERE service = ? AND bucket = ? AND key > ? AND key >= ? AND key < ? ORDER BY key"
        )
        at, last = after, ""
        if delimiter and after.startswith(prefix) and after.endswith(delimiter):
            at = after + LAST  # ``after`` was a common prefix: go on behind everything in it
        while True:
            for key, *row in self._db.execute(query, (service, bucket, at, prefix, prefix + LAST)):
                if len(page) == limit:
                    page.next = last
                    return page
                head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
                if found:
                    last = prefix + head + delimiter
                    page.prefixes.append(last)
                    at = last + LAST
                    break
                page.objects.append((key, self._object(row)))
                last = at = key
            else:
                return page

    def _store(self, service: Service, bucket: str, key: str, content: Object) -> None:
        old = self.get(service, bucket, key)
        row = (
            service,
            bucket,
            key,
            str(content.path.relative_to(self._bodies)),
            content.size,
            content.md5,
            content.etag,
            content.content_type,
            json.dumps(dict(content.metadata)),
            content.generation,
            content.modified,
        )
        self._db.execute(f"INSERT OR REPLACE INTO objects VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608
        if old is not None:
            old.path.unlink(missing_ok=True)

    def _object(self, row: Iterable[object]) -> Object:
        path, size, md5, etag, content_type, metadata, generation, modified = row
        return Object(
            self._bodies / str(path),
            size,  # type: ignore[arg-type]
            md5,  # type: ignore[arg-type]
            str(etag),
            str(content_type),
            json.loads(str(metadata)),
            generation,  # type: ignore[arg-type]
            modified,  # type: ignore[arg-type]
        )

    # --- bodies ----------------------------------------------------------------------------------------------

    async def receive(self, stream: AsyncIterator[bytes]) -> Body:
        """Write a request's body to disk. Nothing is left of one that breaks off."""
        path, md5, size = self._bodies / uuid.uuid4().hex, hashlib.md5(usedforsecurity=False), 0
        with self._whole(path), path.open("wb", buffering=CHUNK) as file:
            async for chunk in stream:
                file.write(chunk)
                md5.update(chunk)
                size += len(chunk)
        return Body(path, size, md5.digest())

    def join(self, parts: Iterable[Path | tuple[Path, int, int]]) -> Body:
        """One body out of several files, or of ranges ``(path, start, size)`` of them. The parts stay."""
        path, md5, size = self._bodies / uuid.uuid4().hex, hashlib.md5(usedforsecurity=False), 0
        with self._whole(path), path.open("wb") as out:
            for part in parts:
                source, start, left = part if isinstance(part, tuple) else (part, 0, part.stat().st_size)
                with source.open("rb") as file:
                    file.seek(start)
                    while chunk := file.read(min(CHUNK, left)):
                        out.write(chunk)
                        md5.update(chunk)
                        left -= len(chunk)
                        size += len(chunk)
        return Body(path, size, md5.digest())

    @contextlib.contextmanager
    def _whole(self, path: Path) -> Iterator[None]:
        try:
            yield
        except BaseException:
            path.unlink(missing_ok=True)
            raise
