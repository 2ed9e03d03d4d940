"""Python files of the engines: who can read a flow or a DAG file is told by entry points, not by imports."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from sky_core.engine_kit import Engine
from sky_core.errors import SpecError
from sky_core.plugins import load, names


def engine_for(path: Path) -> Engine:
    """The installed engine that claims a Python file.

    Raises:
        SpecError: if there is none.
    """
    source = path.read_text()
    for name in names("skyloom.engines"):
        engine = cast(Engine, load("skyloom.engines", name))
        if engine.claims(source):
            return engine
    raise SpecError(f"{path}: neither an Airflow DAG nor a Prefect flow; YAML files end in .yaml")
