"""The Sky tasks of a DAG as one pipeline: what whole-run planning reads from ``context["dag"]``.

At run time that holds the original operators of all siblings with their templates unrendered, without any access
to the metadata database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.bases.operator import get_merged_defaults
from airflow.sdk.definitions.xcom_arg import XComArg

from sky_airflow.exchange import as_artifact, only_output
from sky_airflow.grammar import mapped
from sky_airflow.grammar.fields import (
    SPEC_FIELDS,
    artifact,
    artifacts,
    build_task,
    check_names,
    command_of,
    plain,
    unwrapped,
)
from sky_airflow.grammar.foreign import refuse_foreign
from sky_airflow.grammar.limits import task_deadline
from sky_airflow.grammar.literals import RETURN_VALUE, refuse_misplaced, refuse_slips
from sky_airflow.grammar.naming import instance_name, task_name
from sky_airflow.grammar.templates import UNKNOWN, Render, known, not_yet_of
from sky_core.broker.calls import RESULT
from sky_core.engine_kit import nearest_ours
from sky_core.errors import SpecError
from sky_core.spec import Artifact, OutputRef, Pipeline, Task

FIELDS = ("run", "requires", "inputs", *SPEC_FIELDS, "python_callable", "op_args", "op_kwargs")
# What planning reads of a task: where one of these was not known, a plan made later may know it.
PLANNED_FIELDS = {"requires": "resources", "num_nodes": "num_nodes", "hours": "hours", "checkpoint": "checkpoint",
                  "deadline": "deadline", "max_attempts": "max_attempts", "budget_usd": "budget_usd"}  # fmt: skip


class Sky:
    """Marks our operators, for those who read a DAG: the operators stand on them, not they on the operators."""


@dataclass(frozen=True)
class Reading:
    """What is known when a DAG is read.

    Attributes:
        render_of: How an operator's templates are rendered.
        contexts: The context of the task instance that runs, by its task's id: for it, what was mapped over is known.
        earlier: Tasks of an earlier plan by name, for what is not known now.
        forecast: That plan was another run's.
        started: When the run began; None for now.
    """

    render_of: Callable[[Any], Render] = not_yet_of
    contexts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    earlier: Mapping[str, Task] = field(default_factory=dict)
    forecast: bool = False
    started: datetime | None = None

    def instances(self, task_id: str) -> list[str]:
        """The instances of a task that the earlier plan knows by themselves."""
        return [name for name in self.earlier if name.startswith(f"{task_name(task_id)}[")]


PARSED = Reading()


@dataclass(frozen=True)
class Planned:
    """One operator's tasks in a plan: one for all its instances, or one for each. ``sources`` are its data edges."""

    tasks: Sequence[Task]
    sources: frozenset[str] = frozenset()


def is_sky(operator: Any) -> bool:
    """Whether an operator of a DAG, mapped or not, is one of ours."""
    kind = operator.operator_class if operator.is_mapped else type(operator)
    return isinstance(kind, type) and issubclass(kind, Sky)


def is_authors_own(operator: Any) -> bool:
    """Whether its class stands on ours: it may take other arguments, and make our fields of them when it pleases."""
    kind = operator.operator_class if operator.is_mapped else type(operator)
    return not kind.__module__.startswith("sky_airflow.")


def is_function(operator: Any) -> bool:
    """Whether one of our operators is ``@task.sky``: its value is its one output."""
    return hasattr(operator, "python_callable")


def pipeline_of(dag: DAG, reading: Reading = PARSED) -> Pipeline:
    """All Sky tasks of a DAG. Other tasks in between carry order, not cost.

    A mapped task counts once, unless its instances differ in what planning looks at (:mod:`.grammar.mapped`).

    Raises:
        SpecError: if there are none, or one cannot be meant.
    """
    ours = {operator.task_id: operator for operator in dag.tasks if is_sky(operator)}
    if not ours:
        raise SpecError(f"DAG {dag.dag_id}: no SkyOperator or @task.sky in it")
    instances = {task_id: _Instances.of(operator, reading) for task_id, operator in ours.items()}
    planned = {task_id: found.planned(instances) for task_id, found in instances.items()}
    order = set()
    for task_id in ours:
        upstream = nearest_ours(task_id, lambda name: dag.get_task(name).upstream_task_ids, ours.__contains__)
        for before in upstream - planned[task_id].sources:
            order |= {(one.name, task.name) for one in planned[before].tasks for task in planned[task_id].tasks}
    tasks = tuple(task for found in planned.values() for task in found.tasks)
    return Pipeline(name=dag.dag_id, tasks=tasks, order=tuple(sorted(order)))


def check(operator: Any) -> None:
    """See that an operator, mapped or not, can be meant, as far as its file tells.

    Raises:
        SpecError: naming the field that is wrong.
    """
    said, task_id = parameters(operator), operator.task_id
    secrets = operator.partial_kwargs.get("secrets") if operator.is_mapped else operator.secrets
    for own in [{}, *_written_instances(operator)]:
        refuse_foreign(operator.operator_class if operator.is_mapped else type(operator), task_id, own)
        one = {**said, **own}
        check_names(task_id, one)
        refuse_misplaced(task_id, one, own.get("secrets", secrets))
    planned = _Instances.of(operator, PARSED).planned({})
    connection = operator.partial_kwargs.get("sky_conn_id") if operator.is_mapped else operator.sky_conn_id
    refuse_slips(planned.tasks, connection)


def _written_instances(operator: Any) -> Sequence[Mapping[str, Any]]:
    """What a file says outright that the instances of a mapped command get."""
    if not operator.is_mapped or is_function(operator) or is_authors_own(operator):
        return ()
    return mapped.expanded(operator) or ()


@dataclass(frozen=True)
class _Instances:
    """An operator's instances as planning sees them, by their names in the plan."""

    operator: Any
    reading: Reading
    fields: Mapping[str, Mapping[str, Any]]
    unknown: frozenset[str]  # fields that only the run will tell

    @classmethod
    def of(cls, operator: Any, reading: Reading) -> _Instances:
        task_id, said = operator.task_id, parameters(operator)
        context = reading.contexts.get(task_id)
        if own := operator.is_mapped and is_authors_own(operator):
            found: list[Mapping[str, Any]] | None = _as_made(operator, context)
            said = found[0] if found and len(found) == 1 else said
        else:
            found = mapped.variants(operator, said, context)
        if found is None:  # as many as an earlier plan knows of
            names = reading.instances(task_id) or [task_name(task_id)]
            fields: dict[str, Mapping[str, Any]] = dict.fromkeys(names, said)
            return cls(operator, reading, fields, mapped.DECIDING if own else mapped.mapped_fields(operator))
        if not found or found[0] is said:  # one place for all, and for those that turned out to be different
            names = [task_name(task_id), *([] if reading.forecast else reading.instances(task_id))]
            return cls(operator, reading, dict.fromkeys(names, said), frozenset())
        apart = {instance_name(task_id, number): own for number, own in enumerate(found)}
        return cls(operator, reading, apart, frozenset())

    @property
    def output_names(self) -> dict[str, None]:
        """The names of a command's outputs, as far as they are known."""
        said = next(iter(self.fields.values()), {}).get("outputs")
        return dict.fromkeys(said) if isinstance(said, Mapping) else {}

    def planned(self, others: Mapping[str, _Instances]) -> Planned:
        sources: set[str] = set()
        tasks = [self._task(name, said, others, sources) for name, said in self.fields.items()]
        return Planned(tasks, frozenset(sources))

    def _task(self, name: str, said: Mapping[str, Any], others: Mapping[str, _Instances], sources: set[str]) -> Task:
        render = self.reading.render_of(self.operator)
        left_out = set(self.unknown)
        fields: dict[str, Any] = {}
        for key in (*SPEC_FIELDS, "requires", "outputs"):
            missing: list[Any] = []
            value = said.get(key)
            if not (key == "hours" and callable(value)):  # which is a function of ours, no template
                value = known(value, render, missing)
            fields[key] = None if value is UNKNOWN else value
            left_out |= {key} if missing else set()
        now = datetime.now(UTC)
        zone = dag.timezone if (dag := self.operator.get_dag()) else None
        fields["deadline"], _ = task_deadline(name, fields["deadline"], self.reading.started or now, zone, now)
        if is_function(self.operator):
            payload: dict[str, str] = {"function": "planned"}
            arguments = [said.get("op_args"), said.get("op_kwargs"), _mapped_arguments(self.operator)]
            inputs = self._arguments(arguments, others, sources)
            outputs = {RESULT: _known_artifact(name, fields["outputs"])}
        else:
            comes = "run" in mapped.arguments(self.operator) or is_authors_own(self.operator)
            run = known(said.get("run"), render)
            # Of one that comes later any other will do: what it is decides nothing.
            payload = {"run": "true" if run is UNKNOWN or (run is None and comes) else command_of(name, run)}
            inputs = self._inputs(name, said.get("inputs"), render, others, sources, left_out)
            outputs = artifacts(name, fields["outputs"])
        task = build_task(name, fields, inputs=inputs, outputs=outputs, **payload)
        return remembered(task, left_out, self.reading.earlier.get(name))

    def _inputs(
        self, task: str, said: Any, render: Render, others: Mapping[str, _Instances], sources: set[str],
        left_out: set[str],
    ) -> dict[str, Any]:  # fmt: skip
        found: dict[str, Any] = {}
        whole = said if isinstance(said, Mapping) else plain(task, "inputs", known(said, render))
        if whole is UNKNOWN:
            left_out.add("inputs")
        elif whole is not None and not isinstance(whole, Mapping):
            raise SpecError(f"Task.{task}: inputs: {whole!r} is not a mapping from names to artifacts")
        for name, value in whole.items() if isinstance(whole, Mapping) else ():
            if references := list(_references(value)):
                sources.update(operator.task_id for operator, _ in references)
                outputs = _outputs(references, others)
                several = len(outputs) > 1
                found |= {f"{name}_{number}" if several else name: one for number, one in enumerate(outputs)}
                continue
            missing: list[Any] = []
            part = known(value, render, missing)
            left_out.update({"inputs"} if missing else ())
            if part is UNKNOWN:
                part = value if isinstance(value, str) and _bucket_is_known(value) else None
            where = f"Task.{task}: inputs.{name}"
            for number, one in enumerate(part if isinstance(part, list) else [part]):
                if one is not None and not (isinstance(one, Mapping) and not one):
                    key = f"{name}_{number}" if isinstance(part, list) else name
                    given = as_artifact(only_output(where, one))  # what was mapped over has come
                    found[key] = artifact(where, given) if isinstance(given, Mapping) else given
        return found

    def _arguments(
        self, arguments: Sequence[Any], others: Mapping[str, _Instances], sources: set[str]
    ) -> dict[str, OutputRef]:
        references = [reference for argument in arguments for reference in _references(argument)]
        sources.update(operator.task_id for operator, _ in references)
        return {f"arg_{number}": one for number, one in enumerate(_outputs(references, others))}


def remembered(task: Task, left_out: set[str], earlier: Task | None) -> Task:
    """A task with what an earlier plan knew of it, where that is not known now."""
    if earlier is None or not left_out:
        return task
    changes = {PLANNED_FIELDS[name]: getattr(earlier, PLANNED_FIELDS[name]) for name in left_out & set(PLANNED_FIELDS)}
    if "inputs" in left_out:
        given = {name: source for name, source in earlier.inputs.items() if isinstance(source, Artifact)}
        changes["inputs"] = {**given, **task.inputs}
    if "outputs" in left_out:
        changes["outputs"] = {**task.outputs, **earlier.outputs}
    return task.model_copy(update=changes)


def _as_made(operator: Any, context: Any) -> list[Mapping[str, Any]] | None:
    """The fields of a mapped operator's instances as its class makes them; only one if planning need not tell them
    apart, None if only the run will tell.
    """
    instances = mapped.expanded(operator, context)
    if instances is None:
        return None
    try:
        found: list[Mapping[str, Any]] = [parameters(operator.unmap(one)) for one in instances]
    except Exception:  # noqa: BLE001 - the author's: a value that is not known yet may be more than it can take
        return None
    alike = all(one.get(field) == found[0].get(field) for one in found for field in mapped.DECIDING)
    return found[:1] if alike else found


def parameters(operator: Any) -> Mapping[str, Any]:
    """What the author wrote for an operator, mapped or not."""
    if operator.is_mapped:
        defaults, _ = get_merged_defaults(operator.dag, operator.task_group, None, None)
        ours = {name: value for name, value in defaults.items() if name in (*FIELDS, "outputs", "sky")}
        said = {**ours, **operator.partial_kwargs}
        if is_function(operator):
            said |= {"python_callable": operator.python_callable, "outputs": {"size_gb": said.get("output_gb")}}
        return said | {"secrets": _secret_names(said.get("secrets"))}
    said = {name: unwrapped(getattr(operator, name, None)) for name in FIELDS}
    outputs = operator.declared_outputs
    said["secrets"] = _secret_names(said["secrets"])
    return said | {"outputs": outputs[RESULT] if is_function(operator) else outputs}


def _secret_names(secrets: Any) -> Any:
    return tuple(secrets) if isinstance(secrets, Mapping) else secrets


def _mapped_arguments(operator: Any) -> Any:
    return operator._get_specified_expand_input().value if operator.is_mapped else None


def _known_artifact(name: str, said: Any) -> Artifact:
    return artifact(f"Task.{name}: output_gb", {key: part for key, part in (said or {}).items() if part is not None})


def _bucket_is_known(uri: str) -> bool:
    """Whether what stands before a template in a URI says where the data lie: ``s3://bucket/{{ ds }}``."""
    scheme, found, rest = uri.partition("{{")[0].partition("://")
    return bool(scheme and found and "/" in rest)


def _references(value: Any) -> Iterator[tuple[Any, str]]:
    """The outputs of Sky tasks that a value refers to; what comes from other tasks is data we know nothing of."""
    for operator, key in XComArg.iter_xcom_references(value):
        if is_sky(operator):
            yield operator, key


def _outputs(references: Sequence[tuple[Any, str]], others: Mapping[str, _Instances]) -> list[OutputRef]:
    """The outputs meant, each once. A key of a function's value is its one output; so is a command's whole value."""
    found: dict[OutputRef, None] = {}
    for operator, key in references:
        if operator.task_id not in others:
            continue  # a file is parsed: the other task is looked at by itself
        producer = others[operator.task_id]
        has = [RESULT] if is_function(operator) else list(artifacts(operator.task_id, producer.output_names))
        meant = [key] if key in has else has if is_function(operator) or key == RETURN_VALUE else []
        found |= {OutputRef(task=name, output=output): None for name in producer.fields for output in meant}
    return list(found)
