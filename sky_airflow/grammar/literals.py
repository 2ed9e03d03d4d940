"""Slips in what a DAG's file says outright, told when it is parsed: names that nothing has, files that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, XComArg
from airflow.sdk.definitions.mappedoperator import MappedOperator

from sky_airflow.grammar.outputs import Outputs
from sky_airflow.grammar.templates import UNKNOWN, known, not_yet_of, read_script, script_name
from sky_airflow.hooks.sky import of_all
from sky_core.catalog.names import more_is_known, slip
from sky_core.errors import SpecError
from sky_core.spec import Task

RETURN_VALUE = "return_value"
ARGUMENTS = {"op_args": "arguments", "op_kwargs": "arguments"}


def refuse_slips(tasks: Iterable[Task], sky_conn_id: Any) -> None:
    """See that no cloud, region or accelerator is one that nothing has, and another nearly has.

    Where a connection may lead to a catalog with more in it, the plan is the first to know.

    Raises:
        SpecError: naming the task and the field.
    """
    for task in tasks:
        for wanted in task.resources.alternatives:
            if (found := slip(wanted)) and not (sky_conn_id or of_all() or more_is_known()):
                raise SpecError(f"Task.{task.name}: requires: {found.args[0]}", cure=found.cure)


def refuse_misplaced(task_id: str, said: Mapping[str, Any], secrets: Any) -> None:
    """See that no function stands for a command, no task or foreign name for its output, and no secret is none.

    Args:
        secrets: As their author wrote them, values and all.

    Raises:
        SpecError: naming the field.
    """
    run = said.get("run")
    if callable(run) and not hasattr(run, "template_fields"):
        name = getattr(run, "__name__", type(run).__name__)
        raise SpecError(f"Task.{task_id}: run: {name} is a function, no command", cure="decorate it with @task.sky")
    for field in ("inputs", "op_args", "op_kwargs"):
        given = said.get(field)
        named = given.items() if isinstance(given, Mapping) else [("", given)]
        for name, value in named:
            where = ".".join(filter(None, (f"Task.{task_id}: {ARGUMENTS.get(field, field)}", str(name))))
            _refuse_tasks(where, value)
    for name, value in secrets.items() if isinstance(secrets, Mapping) else ():
        if value is None:
            raise SpecError(f"Task.{task_id}: secrets: {name} is None", cure="list names to take them where it runs")


def _refuse_tasks(where: str, value: Any) -> None:
    """See that a value is no task, nor all of its outputs where one is to stand, nor an output that it has not."""
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, BaseOperator | MappedOperator):
            raise SpecError(f"{where}: {one.task_id} is a task", cure='write task.outputs["name"], or task.output')
        if isinstance(one, Outputs):
            raise SpecError(f"{where}: these are all outputs of a task", cure='write task.outputs["name"]')
        for operator, key in XComArg.iter_xcom_references(one):
            _refuse_unknown_output(operator, key)


def _refuse_unknown_output(operator: Any, key: str) -> None:
    kind = operator.operator_class if operator.is_mapped else type(operator)
    is_command = getattr(kind, "__module__", "").startswith("sky_airflow.") and not hasattr(operator, "python_callable")
    outputs = getattr(operator, "outputs", None)
    if is_command and isinstance(outputs, Outputs) and key != RETURN_VALUE:
        outputs[key]  # or it says which there are


def refuse_missing(operator: Any, said: Mapping[str, Any]) -> None:
    """See that what an operator takes along from beside its DAG's file is there, once it is known whose file that is.

    What begins elsewhere (``/``, ``~``, ``..``) may be there on the workers alone: it is looked for when the job is
    submitted.

    Args:
        said: What its author wrote, by field.

    Raises:
        SpecError: naming the field.
    """
    for field in ("run", "setup"):
        if name := script_name(said.get(field)):
            read_script(operator, field, name)
    base, render = Path(operator.dag.fileloc).parent, not_yet_of(operator)
    if not base.is_dir():  # in an archive
        return
    for field, value in _beside(said):
        name = known(value, render)
        if name is UNKNOWN or not isinstance(name, str) or name.startswith(("/", "~", "..")):
            continue
        path = base / name
        if not (path.is_dir() if field == "workdir" else path.exists()):
            kind = "folder" if field == "workdir" else "file"
            raise SpecError(
                f"Task.{operator.task_id}: {field}: there is no {kind} {name} in {base}",
                cure="make it, correct the path, or give a whole one",
            )


def _beside(said: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "workdir", said.get("workdir")
    if str(said.get("environment")).endswith((".lock", ".txt", ".toml")):
        yield "environment", said.get("environment")
    mounts = said.get("mounts")
    for path, mount in mounts.items() if isinstance(mounts, Mapping) else ():
        source = mount.get("source") if isinstance(mount, Mapping) else getattr(mount, "source", mount)
        yield f"mounts.{path}", None if "://" in str(source) else source
