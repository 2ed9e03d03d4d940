"""The Sky tasks of a DAG as one pipeline: what whole-run planning reads from ``context["dag"]``.

At run time that holds the original operators of all siblings with their templates unrendered, without any access
to the metadata database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from itertools import chain
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.definitions.xcom_arg import XComArg

from sky_airflow import mapped
from sky_core.broker.calls import RESULT
from sky_core.engine_kit import TASK_FIELDS, nearest_ours
from sky_core.errors import SpecError
from sky_core.spec import Artifact, Objective, OutputRef, Pipeline, Resources, Task

RETURN_VALUE = "return_value"
SPEC_FIELDS = tuple(sorted(TASK_FIELDS))


class Sky:
    """Marks our operators, for those who read a DAG: the operators stand on them, not they on the operators."""


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
    kind = operator.operator_class if operator.is_mapped else type(operator)
    return isinstance(kind, type) and issubclass(kind, Sky)


def pipeline_of(dag: DAG) -> Pipeline:
    """All Sky tasks of a DAG. Other tasks in between carry order, not cost.

    A mapped task counts once, unless its instances differ in what planning looks at (:mod:`sky_airflow.mapped`).

    Raises:
        SpecError: if there are none, or one cannot be meant.
    """
    ours = {operator.task_id: operator for operator in dag.tasks if is_sky(operator)}
    if not ours:
        raise SpecError(f"DAG {dag.dag_id}: no SkyOperator or @task.sky in it")
    for operator in ours.values():
        refuse_own_limits(operator, dag)
    planned = {task_id: planned_tasks(operator) for task_id, operator in ours.items()}
    order = set()
    for task_id in ours:
        for task in planned[task_id]:
            direct = {source.task for source in task.inputs.values() if isinstance(source, OutputRef)}
            upstream = (
                nearest_ours(task_id, lambda name: dag.get_task(name).upstream_task_ids, ours.__contains__) - direct
            )
            order |= {(before.name, task.name) for up in upstream for before in planned[up]}
    return Pipeline(name=dag.dag_id, tasks=tuple(chain(*planned.values())), order=tuple(sorted(order)))


def planned_tasks(operator: Any) -> list[Task]:
    """The tasks that an operator of a DAG amounts to: one, or one for each instance of a mapped one."""
    said = parameters(operator)
    varying = mapped.varying(operator)
    return [_planned(name, {**said, **own}) for name, own in zip(mapped.names(operator), varying, strict=True)]


def _planned(name: str, said: Mapping[str, Any]) -> Task:
    """The task as planning sees it: inputs that come from other Sky tasks are references to their outputs."""
    function = said.get("python_callable") is not None
    inputs: dict[str, Any] = {}
    for key, value in (said.get("inputs") or {}).items():
        inputs[key] = next(_references(value), None) or value
    arguments = [said.get("op_args"), said.get("op_kwargs")] if function else []
    for number, reference in enumerate(dict.fromkeys(ref for argument in arguments for ref in _references(argument))):
        inputs[f"arg_{number}"] = reference
    outputs = artifacts(said.get("outputs") or {})
    payload = {"function": "planned"} if function else {"run": str(said.get("run") or "true")}
    return build_task(name, said, inputs=inputs, outputs=outputs, **payload)


def parameters(operator: Any) -> dict[str, Any]:
    """What the author wrote for an operator, mapped or not."""
    if operator.is_mapped:
        said = dict(operator.partial_kwargs)
        return said | ({"outputs": {RESULT: Artifact()}} if said.get("python_callable") is not None else {})
    names = ("run", "requires", "inputs", *SPEC_FIELDS, "python_callable", "op_args", "op_kwargs")
    return {name: getattr(operator, name, None) for name in names} | {"outputs": operator.declared_outputs}


def objective_of(dag: DAG, started: datetime) -> Objective | None:
    """The DAG's own limits, ``default_args={"sky": {"minimize": …, "deadline": "06:00", "budget_usd": …}}``.

    A deadline given as a time of day is the next one after the run's start: UTC, or with an offset (``06:00+05:30``).

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
        zone = clock.tzinfo or UTC
        due = datetime.combine(started.astimezone(zone).date(), clock.replace(tzinfo=zone))
        said["deadline"] = due if due > started else due + timedelta(days=1)
    return Objective(**said)


def refuse_own_limits(operator: Any, dag: DAG) -> None:
    """Limits are the whole run's, so one task may not have others than its DAG.

    Raises:
        SpecError: if it has.
    """
    own = operator.partial_kwargs.get("sky") if operator.is_mapped else operator.sky
    if own and dict(own) != dict(dag.default_args.get("sky") or {}):
        raise SpecError(
            f"Task.{operator.task_id}: sky: limits are those of a whole run",
            cure=f'write DAG("{dag.dag_id}", default_args={{"sky": …}}); for one task there is deadline=…',
        )


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
