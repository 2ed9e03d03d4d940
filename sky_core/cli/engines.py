"""Python files of the engines: who can read a flow or a DAG file is told by entry points, not by imports.

An engine's package registers, in the group ``skyloom.engines``, an object that keeps the :class:`Engine`
contract. So the core can plan and run a Prefect flow or an Airflow DAG without knowing either.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from sky_core.errors import SpecError
from sky_core.spec import Objective, Pipeline


@dataclass(frozen=True)
class Draft:
    """What a file asks for: its pipeline, what it says of money and time, where relative folders start (None: here)."""

    pipeline: Pipeline
    objective: Objective | None = None
    base: Path | None = None


class Engine(Protocol):
    """What the CLI needs of an engine."""

    def claims(self, source: str) -> bool:
        """Whether Python source looks like a file of this engine."""

    def draft(self, path: Path) -> Draft:
        """Read the file's pipeline without launching anything.

        Raises:
            SpecError: if the file holds no pipeline.
        """

    def run(self, path: Path) -> bool:
        """Run the file's pipeline to its end, logging to the terminal; True if it succeeded."""


def engine_for(path: Path) -> Engine:
    """The installed engine that claims a Python file.

    Raises:
        SpecError: if there is none.
    """
    source = path.read_text()
    for entry in entry_points(group="skyloom.engines"):
        engine: Engine = entry.load()
        if engine.claims(source):
            return engine
    raise SpecError(f"{path}: neither an Airflow DAG nor a Prefect flow; YAML files end in .yaml")
