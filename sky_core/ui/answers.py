"""What a page is made from, and what is sent of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from sky_core.config import Settings
from sky_core.store import Store


class Missing(LookupError):
    """There is no such page, run or job; the message says which."""


@dataclass(frozen=True)
class Addresses:
    """Where pages lie: on a server of their own, or in the pages of an engine.

    Attributes:
        base: What their paths are below.
        kept: What each address says besides.
        pages: Those that all pages lead to: path, name and title.
    """

    base: str = ""
    kept: Mapping[str, str] = field(default_factory=dict)
    pages: tuple[tuple[str, str, str], ...] = (
        ("/", "runs", "Runs"), ("/jobs", "jobs", "Jobs"), ("/spot", "spot", "Spot market"), ("/cost", "cost", "Costs"),
        ("/pipelines", "pipelines", "Pipelines"),
    )  # fmt: skip

    def of(self, path: str, **query: str) -> str:
        """The address of a page."""
        said = urlencode({**self.kept, **query})
        return f"{self.base}{path}" + (f"?{said}" if said else "")


@dataclass(frozen=True)
class Asked:
    """What a page is made from.

    Attributes:
        query: What the address says after its question mark; strangers may have written it.
    """

    store: Store
    settings: Settings
    query: Mapping[str, str]
    addresses: Addresses = Addresses()

    def number(self, name: str, usual: int, most: int) -> int:
        """A number from 1 to ``most`` that the address says; the ``usual`` one if it says none."""
        said = self.query.get(name, "")
        return min(most, max(1, int(said))) if said.isascii() and said.isdigit() and len(said) < 9 else usual


@dataclass(frozen=True)
class Answer:
    """What is sent."""

    text: str
    kind: str = "text/html"
