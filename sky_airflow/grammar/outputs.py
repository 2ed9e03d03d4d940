"""What stands for a command's outputs in a DAG file: ``train.outputs["model"]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from airflow.sdk.definitions.xcom_arg import PlainXComArg
from airflow.sdk.exceptions import XComNotFound

from sky_core.errors import SpecError
from sky_core.spec import did_you_mean


@attrs.define
class Output(PlainXComArg):
    """One output, to be another task's input: a dependency, and a data edge of the plan."""

    @property
    def uri(self) -> str | None:
        """Where it is going to be, as far as its author said so; a template once it is rendered."""
        declared = getattr(self.operator, "declared_outputs", {}).get(self.key) or {}
        return declared if isinstance(declared, str) else declared.get("uri")

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """The reference, or None where its task was skipped: the input is left out then."""
        try:
            return super().resolve(context)
        except XComNotFound:
            return None


class Outputs(Mapping[str, Output]):
    """An operator's outputs by name."""

    def __init__(self, operator: Any, declared: Any) -> None:
        self._operator = operator
        self._names = tuple(declared) if isinstance(declared, Mapping) else None  # None: a template tells later

    def __getitem__(self, name: str) -> Output:
        if self._names is not None and name not in self._names:
            known = ", ".join(self._names) or "none"
            cure = did_you_mean(str(name), self._names) or f"it has {known}"
            raise SpecError(f"Task.{self._operator.task_id}: outputs: no output {name!r}", cure=cure)
        return Output(self._operator, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names or ())

    def __len__(self) -> int:
        return len(self._names or ())
