"""The Sky tasks of a DAG as one pipeline: what whole-run planning reads from ``context["dag"]``.

At run time that holds the original operators of all siblings with their templates unrendered, without any access
to the metadata database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.definitions.xcom_arg import XComArg

from sky_core.broker.calls import RESULT
from sky_core.errors import SpecError
from sky_core.spec import Artifact, Objective, OutputRef, Pipeline, Resources, Task

RETURN_VALUE = "return_value"
SPEC_FIELDS = (
    "setup", "workdir", "envs", "secrets", "num_nodes", "hours", "checkpoint", "deadline", "max_attempts",
)  # fmt: skip


def build_task(name: str, said: Mapping[str, Any], **fields: Any) -> Task:
    """The spec of a task from an operator's parameters.

    Raises:
        SpecError: naming the field that is wrong.
    """
    requires = said.get("requires")
    given = {field: said[field] for field in SPEC_FIELDS if said.get(field) is not None}
    resources = requires if isinstance(requires, Resources) else Resources(**(requires or {}))
    return Task(name=name, **{**given, "resources": resources, **fields})


def is_sky(operator: Any) -> bool:
    """Whether an operator of a DAG, mapped or not, is one of ours."""
    from sky_airflow.operators.sky import SkyOperator

    kind = operator.operator_class if operator.is_mapped else type(operator)
    return isinstance(kind, type) and issubclass(kind, SkyOperator)


def pipeline_of(dag: DAG) -> Pipeline:
    """All Sky tasks of a DAG. Other tasks in between carry order, not cost; a mapped task counts once.

    Raises:
        SpecError: if there are none, or one cannot be meant.
    """
    ours = {operator.task_id: operator for operator in dag.tasks if is_sky(operator)}
    if not ours:
        raise SpecError(f"DAG {dag.dag_id}: no SkyOperator or @task.sky in it")
    tasks, order = [], set()
    for task_id, operator in ours.items():
        task = planned_task(operator)
        direct = {source.task for source in task.inputs.values() if isinstance(source, OutputRef)}
        order |= {(up, task_id) for up in _sky_ancestors(dag, operator, ours) if up not in direct}
        tasks.append(task)
    return Pipeline(name=dag.dag_id, tasks=tuple(tasks), order=tuple(sorted(order)))


def planned_task(operator: Any) -> Task:
    """The task as planning sees it: inputs that come from other Sky tasks are references to their outputs."""
    said = parameters(operator)
    function = said.get("python_callable") is not None
    inputs: dict[str, Any] = {}
    for name, value in (said.get("inputs") or {}).items():
        inputs[name] = next(_references(value), None) or value
    arguments = [said.get("op_args"), said.get("op_kwargs")] if function else []
    for number, reference in enumerate(dict.fromkeys(ref for argument in arguments for ref in _references(argument))):
        inputs[f"arg_{number}"] = reference
    outputs = artifacts(said.get("outputs") or {})
    payload = {"function": "planned"} if function else {"run": str(said.get("run") or "true")}
    return build_task(operator.task_id, said, inputs=inputs, outputs=outputs, **payload)


def parameters(operator: Any) -> dict[str, Any]:
    """What the author wrote for an operator, mapped or not."""
    if operator.is_mapped:
        said = dict(operator.partial_kwargs)
        return said | ({"outputs": {RESULT: Artifact()}} if said.get("python_callable") is not None else {})
    names = ("run", "requires", "inputs", *SPEC_FIELDS, "python_callable", "op_args", "op_kwargs")
    return {name: getattr(operator, name, None) for name in names} | {"outputs": operator.declared_outputs}


def objective_of(dag: DAG, started: datetime) -> Objective | None:
    """The DAG's own limits, ``default_args={"sky": {"minimize": …, "deadline": "06:00", "budget_usd": …}}``.

    A deadline given as a time of day is the next one (UTC) after the run's start.

    Raises:
        SpecError: for limits that cannot be meant.
    """
    said = dict(dag.default_args.get("sky") or {})
    if not said:
        return None
    if isinstance(said.get("deadline"), str) and ":" in said["deadline"]:
        try:
            clock = time.fromisoformat(said["deadline"])
        except ValueError:
            raise SpecError(f"DAG {dag.dag_id}: sky.deadline: {said['deadline']!r} is not a time of day") from None
        due = datetime.combine(started.astimezone(UTC).date(), clock, tzinfo=UTC)
        said["deadline"] = due if due > started else due + timedelta(days=1)
    return Objective(**said)


def artifacts(outputs: Mapping[str, Any]) -> dict[str, Artifact]:
    """Declared outputs as artifacts, whether the author wrote mappings, URIs or artifacts.

    Raises:
        SpecError: naming the field that is wrong.
    """
    return {
        name: Artifact(**value)
        if isinstance(value, Mapping)
        else Artifact(uri=value)
        if isinstance(value, str)
        else value
        for name, value in outputs.items()
    }


def _references(value: Any) -> Iterator[OutputRef]:
    """The outputs of Sky tasks that a value refers to; what comes from other tasks is data we know nothing of."""
    for operator, key in XComArg.iter_xcom_references(value):
        if is_sky(operator):
            yield OutputRef(task=operator.task_id, output=RESULT if key == RETURN_VALUE else key)


def _sky_ancestors(dag: DAG, operator: Any, ours: Mapping[str, Any]) -> Iterator[str]:
    """The nearest Sky tasks upstream, looking through tasks that are not ours."""
    for task_id in sorted(operator.upstream_task_ids):
        if task_id in ours:
            yield task_id
        else:
            yield from _sky_ancestors(dag, dag.get_task(task_id), ours)
