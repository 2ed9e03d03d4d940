"""From what stands in an operator's fields to the spec of a task: when the file is parsed, when the run is planned and
when the task is submitted, with what is known by then.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sky_airflow.exchange import as_artifact, is_object_path, only_output, uri_of
from sky_core.engine_kit import TASK_FIELDS
from sky_core.errors import SpecError
from sky_core.spec import Artifact, Resources, Task, did_you_mean, refuse_variables

SPEC_FIELDS = tuple(sorted(TASK_FIELDS))
MAPPINGS = ("requires", "envs", "inputs", "outputs", "mounts")
NOTHING = ("", "None", "none", "null")  # how a template that comes to nothing is rendered


def build_task(name: str, said: Mapping[str, Any], **fields: Any) -> Task:
    """The spec of a task from an operator's fields, rendered ones among them.

    Raises:
        SpecError: naming the field that is wrong.
    """
    given = {field: plain(name, field, unwrapped(said.get(field))) for field in SPEC_FIELDS}
    given = {field: value for field, value in given.items() if value is not None}
    if isinstance(given.get("envs"), Mapping):
        given["envs"] = {key: _as_text(value) for key, value in given["envs"].items() if value is not None}
    resources = resources_of(name, said.get("requires"))
    try:
        task = Task(name=name, **{**given, "resources": resources, **fields})
        refuse_variables(name, task.envs, task.secrets, task.inputs, task.outputs)
        return task
    except SpecError as error:
        if str(error).startswith("Task."):
            raise
        raise SpecError(f"Task.{name}: {str(error).replace('Checkpoint: ', 'checkpoint: ', 1)}") from None


def check_names(task_id: str, said: Mapping[str, Any]) -> None:
    """See that what is asked for exists, whether its value is known or not.

    Raises:
        SpecError: naming the field, with those that are like it.
    """
    requires = said.get("requires")
    if isinstance(requires, Mapping):
        _refuse_unknown(f"Task.{task_id}: requires", requires, Resources.model_fields)
        for choice in (*_choices(requires, "any_of"), *_choices(requires, "ordered")):
            _refuse_unknown(f"Task.{task_id}: requires", choice, Resources.model_fields)
    if isinstance(envs := said.get("envs"), list | tuple):
        raise SpecError(
            f"Task.{task_id}: envs: {envs!r} is not a mapping",
            cure="write {name: value}; expand() wants a list of them",
        )
    names = {field: map(str, found) for field, found in said.items() if isinstance(found, Mapping | list | tuple)}
    refuse_variables(task_id, *(names.get(field, ()) for field in ("envs", "secrets", "inputs", "outputs")))
    for field in ("inputs", "outputs"):
        values = said.get(field)
        for name, value in values.items() if isinstance(values, Mapping) else ():
            if isinstance(value, Mapping) and "task" not in value and "sky_artifact" not in value:
                _refuse_unknown(f"Task.{task_id}: {field}.{name}", value, Artifact.model_fields)


def _choices(requires: Mapping[str, Any], field: str) -> Iterable[Mapping[str, Any]]:
    given = requires.get(field) or ()
    return [choice for choice in given if isinstance(choice, Mapping)] if isinstance(given, list | tuple) else ()


# Fields as other tools call them.
ALSO_CALLED = {"gpus": "accelerators", "gpu": "accelerators", "ram": "memory", "mem": "memory", "spot": "use_spot",
               "provider": "cloud", "vcpus": "cpus", "machine_type": "instance_type"}  # fmt: skip


def _refuse_unknown(where: str, given: Mapping[str, Any], fields: Collection[str]) -> None:
    for key in given:
        if key not in fields:
            other = ALSO_CALLED.get(str(key), "")
            cure = f"did you mean {other}?" if other in fields else did_you_mean(str(key), fields)
            raise SpecError(f"{where}: {key}: no such field", cure=cure)


def resources_of(name: str, requires: Any) -> Resources:
    """What is required, whether it was written as a mapping, as text of one, or as :class:`Resources`.

    Raises:
        SpecError: if it cannot be meant.
    """
    requires = plain(name, "requires", requires)
    if isinstance(requires, Resources):
        return requires
    if requires is not None and not isinstance(requires, Mapping):
        cure = "write {'any_of': [...]}" if isinstance(requires, list | tuple) else ""
        raise SpecError(f"Task.{name}: requires: {requires!r} is not a mapping such as {{'cpus': '4+'}}", cure=cure)
    check_names(name, {"requires": requires})
    try:
        return Resources(**{key: value for key, value in (requires or {}).items() if not _nothing(value)})
    except SpecError as error:
        raise SpecError(str(error).replace("Resources:", f"Task.{name}: requires:", 1)) from None


def _nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value in NOTHING)


def plain(name: str, field: str, value: Any) -> Any:
    """A field's value as it was meant: a template gives text where a mapping, a truth or nothing is wanted.

    Raises:
        SpecError: if a text stands for a mapping and is none.
    """
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if not isinstance(value, str) or field in ("run", "setup", "workdir", "secrets"):
        return value
    text = value.strip()
    if text in NOTHING:
        return None
    if field in MAPPINGS:
        return mapping(f"Task.{name}: {field}", text)
    if field == "checkpoint" and text in ("True", "False", "true", "false"):
        return text.lower() == "true"
    if field == "hours" and text.startswith("{"):
        return mapping(f"Task.{name}: hours", text)
    return value


def mapping(where: str, text: str) -> Any:
    """The mapping, or the URI, that a rendered text stands for.

    Raises:
        SpecError: if it stands for none.
    """
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError):
            continue
        if isinstance(found, Mapping):
            return found
    raise SpecError(f"{where}: {text!r} is not a mapping", cure="let its template give one, as JSON or as Python")


def _as_text(value: Any) -> str:
    if isinstance(one := as_artifact(only_output("envs", value)), Artifact):
        return one.uri or ""
    return json.dumps(value) if isinstance(value, Mapping | list | tuple) else str(value)


def artifact(where: str, value: Any) -> Artifact:
    """One artifact, whether it was written as a mapping, a URI or an artifact.

    Raises:
        SpecError: naming the field that is wrong.
    """
    try:
        if isinstance(value, Artifact):
            return value
        if isinstance(value, str | os.PathLike):
            return Artifact(uri=os.fspath(value))
        if value is None:
            return Artifact()
        if not isinstance(value, Mapping):
            raise SpecError(f"Artifact: {value!r} is neither an artifact nor a URI")
        return Artifact(**{key: part for key, part in value.items() if not _nothing(part)})
    except SpecError as error:
        raise SpecError(str(error).replace("Artifact:", f"{where}:", 1)) from None


def artifacts(name: str, outputs: Any) -> dict[str, Artifact]:
    """Declared outputs as artifacts.

    Raises:
        SpecError: naming the field that is wrong.
    """
    outputs = plain(name, "outputs", outputs) or {}
    if not isinstance(outputs, Mapping):
        raise SpecError(f"Task.{name}: outputs: {outputs!r} is not a mapping from names to artifacts")
    return {key: artifact(f"Task.{name}: outputs.{key}", value) for key, value in outputs.items()}


def command_of(name: str, run: Any) -> str:
    """A command as text.

    Raises:
        SpecError: if there is none, or it is a list, which a shell has no use for.
    """
    if run is None:
        raise SpecError(f"Task.{name}: run: a task needs a command to run")
    if isinstance(run, list | tuple):
        raise SpecError(f"Task.{name}: run: {run!r} is a list", cure="write one text, of a list by shlex.join([...])")
    if not str(run).strip():
        raise SpecError(f"Task.{name}: run: there is nothing to run", cure="write true for a task that only waits")
    return str(run)


class Estimate:
    """A function that estimates hours, kept where Airflow would call it for a template."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __str__(self) -> str:  # stands in the serialized DAG, so it must not change from parse to parse
        return f"<function {getattr(self.function, '__qualname__', type(self.function).__name__)}>"

    __repr__ = __str__


def wrapped(value: Any) -> Any:
    """Hours as an operator keeps them."""
    return Estimate(value) if callable(value) else value


def unwrapped(value: Any) -> Any:
    """Hours as a task has them."""
    return value.function if isinstance(value, Estimate) else value


def loose(value: Any) -> Any:
    """A field with its artifacts as plain mappings, in which Airflow can render templates."""
    if isinstance(value, Artifact):
        return {key: part for key, part in value.model_dump().items() if part is not None}
    if hasattr(value, "as_fields"):
        return value.as_fields()
    if is_object_path(value):
        return uri_of(value)
    if isinstance(value, Mapping):
        return {key: loose(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [loose(part) for part in value]
    return value
