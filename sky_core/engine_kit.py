"""What engines share: the contract that the command line asks of each, and how a DAG of theirs becomes a pipeline.

An engine's package registers, in the group ``skyloom.engines``, an object that keeps :class:`Engine`. So the core can
plan and run a Prefect flow or an Airflow DAG without knowing either.
"""

from __future__ import annotations

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
