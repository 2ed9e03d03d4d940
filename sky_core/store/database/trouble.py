"""Sorting the databases' errors: what passes if one waits, and what does not."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import sqlalchemy as sa

from sky_core.errors import SkyloomError, StoreAway, StoreBusy, StoreDamaged, StoreRefused

# https://www.sqlite.org/rescode.html, by primary code.
SQLITE_AWAY = {
    sqlite3.SQLITE_FULL: ("its disk is full", "free some space; it goes on by itself"),
    sqlite3.SQLITE_READONLY: ("it is read-only", "make the file and its folder writable for this user"),
    sqlite3.SQLITE_IOERR: ("its disk fails", "see the system's log; a network file system will not do"),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "is its folder there, and may this user write into it?"),
    sqlite3.SQLITE_PERM: ("it may not be opened", "make the file and its folder writable for this user"),
}
LEAST_BYTES = 64 << 10  # of room, without which SQLite cannot even make the file that its readers share
SQLITE_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
SQLITE_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

# https://www.postgresql.org/docs/current/errcodes-appendix.html, by class or code.
POSTGRES_BUSY = ("40001", "40P01", "55P03")  # serialization failure, deadlock, lock time-out
POSTGRES_AWAY = (
    "08",
    "53",
    "57P",
    "58",
    "25006",
    "25P03",
)  # link, resources, shutdown, I/O, standby, idle
# What a server says that will let us in later; every other FATAL on connecting lasts. Codes are not passed on.
POSTGRES_NOT_YET = ("starting up", "shutting down", "recovery", "not accepting", "too many", "slots are reserved")


def trouble(error: sa.exc.DBAPIError, url: sa.URL) -> SkyloomError | None:
    """What the error is for a user, or None if it is a mistake of ours."""
    where = f"the store {url.render_as_string()}"
    if isinstance(error.orig, sqlite3.Error):
        return _of_sqlite(error.orig, where, Path(url.database or ""))
    return _of_postgres(error, where)


def _of_sqlite(error: sqlite3.Error, where: str, file: Path) -> SkyloomError | None:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in SQLITE_BUSY:
        return StoreBusy(f"{where} is locked by another process", cure="a backup, or a copy of it in a viewer?")
    if code == sqlite3.SQLITE_CANTOPEN and file.is_dir():
        return StoreRefused(f"{where} is a folder", cure="let store_url name a file in it")
    if code in SQLITE_AWAY:
        unclear = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
        what, cure = SQLITE_AWAY[(_cause(file) if unclear else None) or code]
        return StoreAway(f"{where} cannot be used: {what} ({error})", cure=cure)
    if code in SQLITE_DAMAGED:
        return StoreDamaged(f"{where} is damaged ({error})", cure="put back a backup of it")
    return None


def _cause(file: Path) -> int | None:
    """What is the matter with the file system of a store; SQLite says no more than that something is.

    To open a store, even to read it, SQLite makes two files beside it, and tells neither a full disk nor a read-only
    one from others that fail.
    """
    try:
        found = os.statvfs(file.parent)
    except OSError:
        return None
    if found.f_flag & os.ST_RDONLY:
        return sqlite3.SQLITE_READONLY
    return sqlite3.SQLITE_FULL if found.f_blocks and found.f_bavail * found.f_frsize < LEAST_BYTES else None


def _of_postgres(error: sa.exc.DBAPIError, where: str) -> SkyloomError | None:
    code: str = getattr(error.orig, "sqlstate", None) or ""
    said = " ".join(str(error.orig).split())
    if code in POSTGRES_BUSY:
        return StoreBusy(f"{where} is busy: {said}", cure="see pg_locks for who holds it")
    if code.startswith(POSTGRES_AWAY) or error.connection_invalidated:
        return StoreAway(f"{where} is away: {said}", cure="see the database server")
    if isinstance(error, sa.exc.OperationalError) and not code:  # it is about connecting, then
        if "FATAL:" in said and not any(words in said for words in POSTGRES_NOT_YET):
            return StoreRefused(f"{where} lets nobody in: {said}", cure="mend store_url, or what the server allows")
        return StoreAway(f"{where} is away: {said}", cure="is the database server running, and can it be reached?")
    return None
