"""What Sky tasks hand to each other through XCom: references to artifacts, never the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sky_core.broker.calls import Reference
from sky_core.spec import Artifact

MARK = "sky_artifact"


def to_xcom(job_id: str, artifact: Artifact) -> dict[str, Any]:
    """An artifact as plain JSON."""
    return {MARK: artifact.model_dump(), "job_id": job_id}


def is_reference(value: Any) -> bool:
    """Whether a value is what :func:`to_xcom` makes."""
    return isinstance(value, Mapping) and MARK in value


def to_artifact(value: Any) -> Any:
    """The artifact that an XCom value stands for; other values as they are."""
    return Artifact(**value[MARK]) if is_reference(value) else value


def to_references(value: Any) -> Any:
    """The same structure with artifacts as references that the machine resolves."""
    if is_reference(value):
        return Reference(f"{value['job_id']}/{value[MARK]['uri']}", Artifact(**value[MARK]))
    if isinstance(value, Mapping):
        return {key: to_references(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_references(item) for item in value)
    return value
