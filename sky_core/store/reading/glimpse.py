"""A look at a SQLite store by Python's own library: what is needed to list what is there, and nothing more.

It writes nothing, makes nothing and upgrades nothing. A store that is not as this version knows it, or is PostgreSQL,
is opened by :class:`~sky_core.store.Store`, which then says what is the matter with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sky_core.errors import StoreBusy
from sky_core.store.database.revision import HEAD, VERSION_TABLE
from sky_core.store.reading.listing import Listings, Values

PREFIX = "sqlite:///"
BUSY_S = 10.0  # for which another process's lock is waited for; readers meet one only when the last writer leaves


class Glimpse(Listings):
    """The listings of one SQLite file. Each question opens it anew: a look is over before anything could happen to it.

    Args:
        file: Where it is.
    """

    def __init__(self, file: Path) -> None:
        self._uri = f"file:{quote(str(file.absolute()))}?mode=ro"

    @classmethod
    def at(cls, url: str) -> Glimpse | None:
        """The listings of that store; None if only a :class:`~sky_core.store.Store` can tell how it is."""
        file = url.removeprefix(PREFIX)
        if not url.startswith(PREFIX) or "?" in file or not Path(file).is_file():
            return None
        found = cls(Path(file))
        try:
            with closing(found._connected()) as db:
                versions = db.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall()  # noqa: S608
        except sqlite3.Error:
            return None
        return found if versions == [(HEAD,)] else None

    def _connected(self) -> sqlite3.Connection:
        return sqlite3.connect(self._uri, uri=True, timeout=BUSY_S)

    def _ask(self, sql: str, values: Values) -> Sequence[Sequence[Any]]:
        try:
            with closing(self._connected()) as db:
                return db.execute(sql, dict(values)).fetchall()
        except sqlite3.OperationalError as error:
            raise StoreBusy(f"the store cannot be read just now: {error}") from error

    def _member(self, column: str, *path: str) -> str:
        return json_member(column, path)


def json_member(column: str, path: Sequence[str]) -> str:
    """SQLite's way to what lies under those names in a column that holds JSON."""
    return f"json_extract({column}, '$.{'.'.join(path)}')"
