"""What Sky tasks hand to each other through XCom: references to artifacts, never the data."""

from __future__ import annotations

import ast
import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sky_core.broker.calls import Reference
from sky_core.errors import SpecError
from sky_core.spec import Artifact

MARK = "sky_artifact"


@dataclass(frozen=True)
class Item:
    """One item of the mapping that a function has returned: the machine takes it out when it has loaded the whole."""

    whole: Reference
    key: str | int

    def __reduce__(self) -> tuple[Any, ...]:
        return operator.getitem, (self.whole, self.key)


def to_xcom(
    job_id: str, artifact: Artifact, item: str | int | None = None, sky_conn_id: str | None = None
) -> dict[str, Any]:
    """An artifact, or one item of what is in it, as plain JSON."""
    more = {"item": item, "sky_conn_id": sky_conn_id}
    said = {key: value for key, value in more.items() if value is not None}
    return {MARK: artifact.model_dump(), "job_id": job_id, **said}


def is_reference(value: Any) -> bool:
    """Whether a value is what :func:`to_xcom` makes."""
    return isinstance(value, Mapping) and MARK in value


def is_whole(value: Any) -> bool:
    """Whether a value is what a command returns: all its outputs."""
    return isinstance(value, Mapping) and set(value) == {"job_id", "outputs"}


def read_back(value: Any) -> Any:
    """What a template has made text of, ``"{{ ti.xcom_pull(…) }}"``, as it was; other values as they are."""
    if not (isinstance(value, str) and value.lstrip().startswith("{") and "job_id" in value):
        return value
    try:
        found = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return value
    return found if is_reference(found) or is_whole(found) else value


def as_artifact(value: Any) -> Any:
    """The artifact that an XCom value stands for, and the URI that a path does; other values as they are."""
    if is_object_path(value):
        return uri_of(value)
    return Artifact(**value[MARK]) if is_reference(value) else value


def is_object_path(value: Any) -> bool:
    """Whether it is Airflow's ObjectStoragePath, which Python does not take for a path; its import takes a while."""
    return type(value).__module__ == "airflow.sdk.io.path"


def uri_of(path: Any) -> str:
    """The URI of an ObjectStoragePath, without the connection that it may name."""
    return f"{path.protocol}://{path.path}" if path.protocol else str(path)


def is_lazy(value: Any) -> bool:
    """Whether it is a sequence of Airflow's: of mapped instances, or what was mapped, zipped or joined of them."""
    return isinstance(value, Sequence) and type(value).__module__.startswith("airflow.")


def listed(values: Sequence[Any]) -> list[Any]:
    """All of a sequence. Airflow's own of mapped instances come in one request; what is made of them has no slices."""
    whole = type(values).__module__.startswith("airflow.sdk.execution_time")
    return list(values[:] if whole else values)


def only_output(where: str, value: Any) -> Any:
    """The one output of a command whose return value (``task.output``) was handed on; other values as they are.

    Raises:
        SpecError: if it has several, or none.
    """
    if not is_whole(value):
        return value
    if len(value["outputs"]) != 1:
        has = ", ".join(sorted(value["outputs"])) or "none"
        raise SpecError(f"{where}: the task before has not one output but {has}", cure='write task.outputs["name"]')
    (output,) = value["outputs"].values()
    return output


def to_references(value: Any) -> Any:
    """The same structure with artifacts as references that the machine resolves, and Airflow's lazy lists as lists."""
    value = read_back(value)
    if is_reference(value):
        whole = Reference(f"{value['job_id']}/{value[MARK]['uri']}", Artifact(**value[MARK]))
        return Item(whole, value["item"]) if "item" in value else whole
    if is_whole(value):
        outputs = to_references(value["outputs"])
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs
    if isinstance(value, dict):
        return {key: to_references(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(to_references, value))
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(to_references(item) for item in value)
    return [to_references(item) for item in listed(value)] if is_lazy(value) else value


@dataclass(frozen=True)
class Templated:
    """An artifact whose fields may be templates or other tasks' results: ``sky_airflow.Artifact``.

    Args:
        uri: As in :class:`sky_core.spec.Artifact`: s3, gs, az or file; None for the bucket of the task's own cloud.
        size_gb: GB, what planning charges egress for.
        location: Where a given ``uri`` lies (``"aws/us-east-1"``), where its bucket does not tell.
    """

    uri: Any = None
    size_gb: Any = None
    location: Any = None

    def as_fields(self) -> dict[str, Any]:
        """What was given, as a mapping in which Airflow renders templates."""
        uri = os.fspath(self.uri) if isinstance(self.uri, os.PathLike) else self.uri
        given = {"uri": uri, "size_gb": self.size_gb, "location": self.location}
        return {name: value for name, value in given.items() if value is not None}
