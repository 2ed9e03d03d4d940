"""Which database a URL means, and that it is one we can use."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa

from sky_core.errors import MissingExtra, SpecError

CURE = "sqlite:///<path of a file>, or postgresql://user@host/database"


def parse(url: str) -> sa.URL:
    """The URL in the one form that this process uses for that database: absolute path, psycopg as the driver.

    Raises:
        SpecError: if it is no URL of a SQLite file or a PostgreSQL database.
        MissingExtra: if the driver for PostgreSQL is not installed.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise SpecError(f"store_url: {url!r} is not a URL", cure=CURE) from None
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if parsed.database in (None, "", ":memory:") or str(parsed.database).startswith("file:"):
            raise SpecError("store_url: the store has to be a file that other processes can open", cure=CURE)
        return parsed.set(drivername="sqlite", database=str(Path(str(parsed.database)).absolute()))
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        if find_spec("psycopg") is None:
            raise MissingExtra("psycopg", "postgres")
        return parsed.set(drivername="postgresql+psycopg")
    raise SpecError(f"store_url: {parsed.drivername}: not a database that Skyloom can use", cure=CURE)
