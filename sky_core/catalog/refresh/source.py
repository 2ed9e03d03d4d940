"""The contract of a source of prices, in one page. A new source is one file that keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

Row = Mapping[str, Any]
"""A raw row: ``cloud``, ``region``, ``instance_type`` and what is known of ``zone``, ``vcpus``, ``memory_gib``,
``accelerator``, ``accelerator_count``, ``arch``, ``price`` and ``spot_price`` (USD per hour). Values may be text,
absent or None; nothing has been checked. Rows that agree in all but their prices are put together."""

Progress = Callable[[str], None]


class Source(Protocol):
    """Somebody who publishes prices.

    Attributes:
        name: Names the file that keeps its last good rows, e.g. ``"aws"``.
        complete: Whether it lists all that a region sells: what it lacks there is then no longer sold.
    """

    name: str
    complete: bool

    def rows(self, progress: Progress) -> Iterable[Row]:
        """All rows, telling ``progress`` what is being read.

        Raises:
            BadSource: if the source is down or its reply is not in the documented format.
            MissingExtra: if a package it needs is not installed.
            AuthError: if credentials are missing.
        """
