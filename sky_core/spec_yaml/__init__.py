"""Task and pipeline YAML: SkyPilot's format, so that its users can bring their files, plus Skyloom's own fields.

Format: docs/yaml.md, and https://docs.skypilot.co/en/latest/reference/yaml-spec.html. A file is read strictly
(:mod:`.reading`), held against one schema (:mod:`.fields`) and turned into :class:`~sky_core.spec.Task`; a mistake is
one line (:mod:`.slips`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sky_core.errors import SpecError
from sky_core.spec import Pipeline, Task
from sky_core.spec_yaml.fields import AS_WRITTEN
from sky_core.spec_yaml.pipeline import Loaded, read_pipeline
from sky_core.spec_yaml.reading import read_documents
from sky_core.spec_yaml.task import TaskReader
from sky_core.spec_yaml.variables import Given

__all__ = ["Given", "Loaded", "load", "load_pipeline", "load_task"]


def load_task(source: str | Path | Mapping[str, Any], given: Given | None = None) -> Task:
    """Load one task from a YAML file or its parsed mapping.

    Raises:
        SpecError: in one line, for what is not understood.
    """
    documents = read_documents(source, AS_WRITTEN)
    if len(documents) != 1:
        raise SpecError(f"{source}: {len(documents)} documents; load it as a pipeline")
    base = Path() if isinstance(source, Mapping) else Path(source).parent
    return TaskReader(documents[0], base, given or Given()).task(documents[0].value, (), "task")


def load_pipeline(source: str | Path, given: Given | None = None) -> Pipeline:
    """Load a pipeline: one task; several documents (a chain, as SkyPilot means it); or a mapping with ``tasks``.

    Raises:
        SpecError: in one line, for what is not understood.
    """
    return load(source, given).pipeline


def load(source: str | Path, given: Given | None = None) -> Loaded:
    """The same with what the file says of its objective, and with what is not done as it is written.

    Raises:
        SpecError: as :func:`load_pipeline`.
    """
    return read_pipeline(source, given or Given())
