"""Bringing a database to the schema that this version of Skyloom works with, by Alembic's revisions."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from pathlib import Path

import sqlalchemy as sa

from sky_core.errors import StoreTooNew
from sky_core.store.database.attempt import transact
from sky_core.store.database.database import Database
from sky_core.store.database.patience import Patience
from sky_core.store.database.revision import HEAD, VERSION_TABLE
from sky_core.store.database.transactions import insert_if_absent
from sky_core.store.tables import META

VERSION = sa.table(VERSION_TABLE, sa.column("version_num", sa.Text))  # made by Alembic
LOCK = 0x736B796C6F6F6D  # "skyloom": PostgreSQL's advisory lock for changes of the schema
MIGRATIONS = Path(__file__).parents[1] / "migrations"

_alembic = threading.Lock()  # its context is global to the process


def prepare(database: Database, patience: Patience) -> str:
    """Create or upgrade the tables if need be; the store's id. Safe from many processes at once.

    Raises:
        StoreTooNew: if a newer Skyloom has upgraded the store to a schema that this one does not know.
    """
    known = transact(database, patience, lambda db: _id(db) if _version(db) == HEAD else None, writes=False)
    return transact(database, patience, _make, writes=True) if known is None else known


def _make(db: sa.Connection) -> str:
    if db.dialect.name == "postgresql":  # SQLite's write lock, held by now, does the same
        db.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    version = _version(db)
    if version != HEAD:
        _upgrade(db, version)
    insert_if_absent(db, META, key="id", value=f"sky-{uuid.uuid4().hex[:16]}")
    return _id(db)


def _upgrade(db: sa.Connection, version: str | None) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)  # a host program may show INFO, and on standard output
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = db
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise StoreTooNew(db.engine.url.render_as_string(), version, HEAD)
    with _alembic:
        command.upgrade(config, "head")


def _version(db: sa.Connection) -> str | None:
    if not sa.inspect(db).has_table(VERSION_TABLE):
        return None
    version: str | None = db.execute(sa.select(VERSION.c.version_num)).scalar_one_or_none()
    return version


def _id(db: sa.Connection) -> str:
    value: str = db.execute(sa.select(META.c.value).where(META.c.key == "id")).scalar_one()
    return value


def _after_fork() -> None:
    global _alembic
    _alembic = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
