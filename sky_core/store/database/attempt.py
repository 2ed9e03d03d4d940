"""One transaction, done anew after trouble until it is known to have been committed, and committed once only.

A connection to PostgreSQL that breaks while COMMIT is under way tells nothing: the server may have committed or not.
It keeps the fate of each transaction, though, and is asked for it before anything is done again
(https://www.postgresql.org/docs/current/functions-info.html, ``txid_status``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import sqlalchemy as sa

from sky_core.errors import StoreAway, StoreBusy
from sky_core.store.database.database import Database
from sky_core.store.database.patience import Patience
from sky_core.store.database.trouble import trouble

T = TypeVar("T")
Work = Callable[[sa.Connection], T]

INVALID_PARAMETER = "22023"  # txid_status: a number that the server has not come to yet


def transact(database: Database, patience: Patience, work: Work[T], *, writes: bool) -> T:
    """The value of ``work``, whose writes are kept once, or not at all if this raises anything but StoreTrouble.

    Raises:
        StoreTrouble: if the patience is at an end. Where a COMMIT was under way, it may have been carried out.
        StoreDamaged: for a file that is no database.
    """
    return patience.wait_for(_Attempt(database, work, writes=writes))


class _Attempt(Generic[T]):
    def __init__(self, database: Database, work: Work[T], *, writes: bool) -> None:
        self._database = database
        self._work = work
        self._writes = writes
        self._pending: tuple[int, T] | None = None  # a transaction that may have been committed, and its value

    def __call__(self) -> T:
        try:
            if self._pending is not None and self._committed(self._pending[0]):
                return self._pending[1]
            self._pending = None
            with self._database.begin(writes=self._writes) as db:
                value = self._work(db)
                number = _number(db) if self._writes else None
                if number is not None:
                    self._pending = number, value
            return value
        except sa.exc.DBAPIError as error:
            known = trouble(error, self._database.url)
            if known is None:
                raise
            if isinstance(known, StoreAway) and self._database.is_sqlite:
                self._database.close_connections()  # one made while the file was read-only stays so
            raise known from error

    def _committed(self, number: int) -> bool:
        try:
            with self._database.begin(writes=False) as db:
                status = db.execute(sa.select(sa.func.txid_status(number))).scalar_one()
        except sa.exc.DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != INVALID_PARAMETER:
                raise
            return False  # another server has taken over, which had not heard of it
        if status == "in progress":
            raise StoreBusy("the store has not decided yet whether to keep the last write")
        return bool(status == "committed")


def _number(db: sa.Connection) -> int | None:
    """What PostgreSQL calls the transaction, if it has written anything."""
    if db.dialect.name != "postgresql":
        return None
    number: int | None = db.execute(sa.select(sa.func.txid_current_if_assigned())).scalar_one()
    return number
