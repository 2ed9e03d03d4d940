"""What engines share: the contract that the command line asks of each, and how a DAG of theirs becomes a pipeline.

An engine's package registers, in the group ``skyloom.engines``, an object that keeps :class:`Engine`. So the core can
plan and run a Prefect flow or an Airflow DAG without knowing either.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from sky_core.spec import Objective, Pipeline, Task

Node = TypeVar("Node", bound=Hashable)

TASK_FIELDS = frozenset(Task.model_fields) - {"name", "run", "function", "resources", "inputs", "outputs"}
"""Fields of a task that an engine hands on as its author wrote them; the others it makes itself."""


@dataclass(frozen=True)
class Draft:
    """What a file asks for: its pipeline, what it says of money and time, where relative folders start (None: here)."""

    pipeline: Pipeline
    objective: Objective | None = None
    base: Path | None = None


class Engine(Protocol):
    """What the command line needs of an engine."""

    def claims(self, source: str) -> bool:
        """Whether Python source looks like a file of this engine."""

    def draft(self, path: Path) -> Draft:
        """Read the file's pipeline without launching anything.

        Raises:
            SpecError: if the file holds no pipeline.
        """

    def run(self, path: Path) -> bool:
        """Run the file's pipeline to its end, logging to the terminal; True if it succeeded."""


@runtime_checkable
class FromChoice(Protocol):
    """What an engine may offer beyond :class:`Engine`: files with several pipelines, and pipelines with parameters."""

    def draft_of(self, path: Path, name: str | None, parameters: Mapping[str, Any]) -> Draft:
        """The pipeline of that name in the file (None: the only one), with these parameters.

        Raises:
            SpecError: if there is none, there are several, or parameters are missing or cannot be meant.
        """

    def run_of(self, path: Path, name: str | None, parameters: Mapping[str, Any]) -> bool:
        """Run it to its end, logging to the terminal; True if it succeeded.

        Raises:
            SpecError: as :meth:`draft_of`.
        """


def nearest_ours(node: Node, parents: Callable[[Node], Iterable[Node]], ours: Callable[[Node], bool]) -> set[Node]:
    """The nearest tasks of ours upstream, looking through those of others; each is looked at once."""
    found: set[Node] = set()
    seen: set[Node] = set()
    ahead = [*parents(node)]
    while ahead:
        up = ahead.pop()
        if up in seen:
            continue
        seen.add(up)
        if ours(up):
            found.add(up)
        else:
            ahead += parents(up)
    return found


def keep_google_key(home: Path, key: str) -> str:
    """The file of a service account's key, which Google's SDKs want as one: for its owner alone, named by its content.

    Args:
        home: Skyloom's home, where it is kept.
        key: The key as JSON.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = home / f"google-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"
    if not file.exists():
        draft = file.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as out:
            out.write(key)
        draft.replace(file)
    return str(file)
