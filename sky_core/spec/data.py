"""What a task reads and writes: artifacts, other tasks' outputs, mounts, checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from sky_core.errors import SpecError
from sky_core.spec.uris import check_scheme
from sky_core.spec.values import Hours, Spec

TEMPLATE = "{{"
TEMPLATED = "in a DAG write sky_airflow.Artifact, which takes templates"


class Artifact(Spec):
    """Data a task reads or writes, a file or a folder of an object store.

    ``uri`` is a full URI of s3, gs, az (``az://account/container/path``) or file, or None for the task's own
    bucket in the cloud it lands on (``sky://``). ``size_gb`` (GB) is what planning charges egress for.
    ``location`` (``"aws/us-east-1"``) says where a given ``uri`` lives, where its bucket does not tell.
    """

    uri: str | None = None
    size_gb: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    location: str | None = None

    @field_validator("size_gb", mode="before")
    @classmethod
    def _known_size(cls, value: Any) -> Any:
        if isinstance(value, str) and TEMPLATE in value:
            raise ValueError(f"{value!r} is a template; {TEMPLATED}")
        return value

    @field_validator("uri")
    @classmethod
    def _full_uri(cls, value: str | None) -> str | None:
        if value is not None and "://" not in value and TEMPLATE in value:
            raise ValueError(f"{value!r} is a template; {TEMPLATED}")
        if value is not None and "://" not in value:
            raise ValueError(f"{value!r} is not a URI; write e.g. 's3://bucket/path', or 'task.output' as an input")
        if value is not None:
            check_scheme(value)
        return value


class Mount(Spec):
    """What lies at a path of the machine when setup begins: a bucket's content, a local file or folder, or both.

    ``uri`` is as in :class:`Artifact`; instead of it ``bucket`` names a bucket that is found or made, in the object
    store of the cloud ``store`` (None: of the first that may be used). A local ``source`` is packed when the job is
    submitted. With ``write_back`` what the job writes there is in the bucket when it ends, and every now and then
    before.
    """

    uri: str | None = None
    bucket: str | None = None
    store: str | None = None
    source: str | None = None
    write_back: bool = False
    size_gb: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @field_validator("uri")
    @classmethod
    def _known_scheme(cls, value: str | None) -> str | None:
        if value is not None:
            check_scheme(value)
        return value

    @model_validator(mode="after")
    def _from_somewhere(self) -> Mount:
        if not (self.uri or self.bucket or self.source):
            raise ValueError("source: give a bucket's URI or a local path")
        if self.write_back and not (self.uri or self.bucket):
            raise ValueError("write_back: only to a bucket")
        return self


def _part(kind: type[Any], fields: Mapping[str, Any]) -> Any:
    """One of these, whose mistakes are told of the field that it stands in."""
    try:
        return kind(**fields)
    except SpecError as error:
        raise ValueError(str(error).removeprefix(f"{kind.__name__}: ")) from None


def _parse_mount(value: Any) -> Any:
    if isinstance(value, str):
        return _part(Mount, {"uri" if "://" in value else "source": value})
    return value


MountSource = Annotated[Mount, BeforeValidator(_parse_mount)]


class OutputRef(Spec):
    """One output of another task of the same pipeline, used as an input: a data edge."""

    task: str
    output: str

    def __str__(self) -> str:
        return f"{self.task}.{self.output}"


def _parse_input(value: Any) -> Any:
    if isinstance(value, str):
        if "://" in value:
            return _part(Artifact, {"uri": value})
        task, dot, output = value.rpartition(".")
        if not dot:
            raise ValueError(f"{value!r} is neither a URI nor 'task.output'")
        return OutputRef(task=task, output=output)
    if isinstance(value, Mapping):
        return OutputRef(**value) if "task" in value else _part(Artifact, value)
    return value


Input = Annotated[Artifact | OutputRef, BeforeValidator(_parse_input)]
Output = Annotated[Artifact, BeforeValidator(lambda v: _part(Artifact, v) if isinstance(v, Mapping) else v)]


class Checkpoint(Spec):
    """How ``$SKY_CHECKPOINT_DIR`` is kept: synced every ``interval`` hours, the last ``keep`` kept.

    ``interval`` None: chosen by Young/Daly from the measured checkpoint time and preemption rate.
    """

    interval: Hours | None = None
    keep: Annotated[int, Field(ge=1)] = 2


def _parse_checkpoint(value: Any) -> Any:
    if value is True:
        return Checkpoint()
    if value is False:
        return None
    if isinstance(value, str | int | float | timedelta):
        return Checkpoint(interval=value)
    return value
