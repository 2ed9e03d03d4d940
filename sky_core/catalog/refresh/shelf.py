"""Where refreshed rows are kept: one file per source under ``$SKYLOOM_HOME/catalog``, replaced atomically.

A file is written beside its place, flushed to disk and renamed over it, and the one before it stays as
``NAME.previous.parquet``: whenever the process is killed, a whole file is there.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sky_core.catalog.names import REFRESHED
from sky_core.catalog.schema import whole

FOLDER = REFRESHED
COMPLETE = "skyloom.complete"
FETCHED_AT = "skyloom.fetched_at"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refreshed:
    """The last good rows of one source.

    Attributes:
        complete: Whether the source lists all that each of its regions sells.
        fetched_at: ISO 8601 time of the refresh.
    """

    source: str
    table: pl.DataFrame
    complete: bool
    fetched_at: str


def keep(home: Path, rows: Refreshed) -> Path:
    """Put rows in the place of the source's last good ones; returns the file."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    place, previous = _files(folder, rows.source)
    fresh = folder / f".{rows.source}.{os.getpid()}.tmp"
    try:
        with fresh.open("wb") as file:
            metadata = {COMPLETE: str(rows.complete), FETCHED_AT: rows.fetched_at}
            rows.table.write_parquet(file, compression="zstd", metadata=metadata)
            file.flush()
            os.fsync(file.fileno())
        if place.exists():
            spare = folder / f".{rows.source}.{os.getpid()}.previous"
            os.link(place, spare)
            spare.replace(previous)
        fresh.replace(place)
    finally:
        fresh.unlink(missing_ok=True)
    return place


def read(home: Path) -> list[Refreshed]:
    """The last good rows of all sources, oldest refresh first. A damaged file gives way to the one before it."""
    folder = home / FOLDER
    names = sorted(path.name.removesuffix(".parquet") for path in folder.glob("[!.]*.parquet"))
    found = (_read_one(folder, name) for name in names if not name.endswith(".previous"))
    return sorted((rows for rows in found if rows is not None), key=lambda rows: rows.fetched_at)


def read_source(home: Path, source: str) -> Refreshed | None:
    """The last good rows of one source, or None."""
    return _read_one(home / FOLDER, source)


def forget_leftovers(home: Path) -> None:
    """Remove what killed refreshes left half written."""
    for leftover in (home / FOLDER).glob(".*"):
        with suppress(OSError):
            leftover.unlink()


def _files(folder: Path, source: str) -> tuple[Path, Path]:
    return folder / f"{source}.parquet", folder / f"{source}.previous.parquet"


def _read_one(folder: Path, source: str) -> Refreshed | None:
    for path in _files(folder, source):
        if not path.exists():
            continue
        try:
            metadata = pl.read_parquet_metadata(path)
            table = whole(pl.read_parquet(path))
            return Refreshed(source, table, metadata[COMPLETE] == "True", metadata[FETCHED_AT])
        except (OSError, KeyError, pl.exceptions.PolarsError) as error:
            log.warning("%s is damaged and left out (%s); 'skyloom catalog refresh' replaces it", path, error)
    return None
