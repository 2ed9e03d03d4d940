"""What stands for a command's outputs in a DAG file: ``train.outputs["model"]``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
from airflow.sdk.definitions._internal.types import NOTSET
from airflow.sdk.definitions.xcom_arg import ConcatXComArg, MapXComArg, PlainXComArg, XComArg, ZipXComArg
from airflow.sdk.exceptions import XComNotFound

from sky_airflow.exchange import MARK
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

    def __str__(self) -> str:
        """What an f-string makes of it: a template that gives its URI."""
        pulled = super().__str__()
        return pulled if self.operator.is_mapped else pulled.replace(" }}", f"['{MARK}']['uri'] }}}}")

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """The reference, or None where its task was skipped: the input is left out then."""
        try:
            return super().resolve(context)
        except XComNotFound:
            return None

    def map(self, f: Callable[[Any], Any]) -> MapXComArg:
        """One after the other of a mapped task's instances, as with any result."""
        return self.each().map(f)

    def zip(self, *others: XComArg, fillvalue: Any = NOTSET) -> ZipXComArg:
        """Beside others' results."""
        return self.each().zip(*others, fillvalue=fillvalue)

    def concat(self, *others: XComArg) -> ConcatXComArg:
        """Before others' results."""
        return self.each().concat(*others)

    def each(self) -> MapXComArg:
        """This output of each instance of a mapped task, to be mapped over: Airflow takes only return values apart.

        Raises:
            SpecError: if the task is not mapped.
        """
        if not self.operator.is_mapped:
            where = f"Task.{self.operator.task_id}: outputs.{self.key}"
            raise SpecError(f"{where}: there is one only, nothing to map over", cure="pass it by partial()")
        key = self.key

        def taken(said: Any) -> Any:
            return said["outputs"][key]

        return XComArg(self.operator).map(taken)


def to_map_over(given: Any) -> Any:
    """What ``expand()`` was given, with outputs as Airflow can map over them."""
    if not isinstance(given.value, Mapping):
        return given
    values = {name: value.each() if isinstance(value, Output) else value for name, value in given.value.items()}
    return type(given)(values)


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
