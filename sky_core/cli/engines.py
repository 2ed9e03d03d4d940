"""Python files of the engines: who can read a flow or a DAG file is told by entry points, not by imports.

An engine's package registers, in the group ``skyloom.engines``, an object that keeps the :class:`Engine`
contract. So the core can plan and run a Prefect flow or an Airflow DAG without knowing either.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from sky_core.errors import SpecError
from sky_core.planner.plan import Plan
from sky_core.spec import Objective


class Engine(Protocol):
    """What the CLI needs of an engine."""

    def claims(self, source: str) -> bool:
        """Whether Python source looks like a file of this engine."""

    def plan(self, path: Path, objective: Objective | None) -> Plan:
        """Plan the file's pipeline without launching anything.

        Raises:
            SkyloomError: what planning raises; SpecError if the file holds no pipeline.
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
