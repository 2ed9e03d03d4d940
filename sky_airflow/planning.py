"""The plan of a DAG run: made by whichever task comes first, with what is known by then, and made anew by a task that
turns out to need something else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.sdk import DAG
from airflow.sdk.definitions.param import process_params

from sky_airflow.dags import Reading, pipeline_of
from sky_airflow.grammar.limits import as_agreed, objective_of, still_to_be_met
from sky_airflow.grammar.naming import instance_name, task_name
from sky_airflow.grammar.templates import Render, rendering
from sky_core.spec import Artifact, Objective, Pipeline, Task

if TYPE_CHECKING:
    from airflow.sdk import Context

    from sky_core.broker import Broker
    from sky_core.planner.plan import Plan
    from sky_core.store.records import StoredPlan

TOLD = "sky_job"  # the XCom of each Sky task that says which its job and plan are
# What a task may turn out to need other than was planned.
_NEEDS = ("resources", "num_nodes", "hours", "checkpoint", "deadline", "max_attempts", "budget_usd", "outputs")


def plan_stem(context: Context) -> str:
    """What the keys of a DAG run's plan and jobs begin with."""
    run = context["dag_run"]
    return f"airflow/{run.dag_id}/{run.run_id}"


class Asked(NamedTuple):
    """What a DAG run's plan is to be made of.

    Attributes:
        name: Of the task that asks, in the plan.
        late: What is to be said of a deadline that has passed; "" as a rule.
    """

    key: str
    pipeline: Pipeline
    objective: Objective | None
    name: str
    late: str


def asked(broker: Broker, context: Context, task_id: str, truth: Task | None = None) -> Asked:
    """What is known by now of a DAG run, and what its plan has to keep to.

    Args:
        truth: The task as it will be submitted, everything in it rendered; None for one that is not ours.
    """
    run, dag, map_index = context["dag_run"], context["dag"], context["ti"].map_index
    key = f"{plan_stem(context)}/{run.clear_number}"
    found = broker.store.plan(key)
    earlier, forecast = _earlier(broker, found, f"airflow/{run.dag_id}/")
    started = run.start_date or datetime.now(UTC)
    reading = Reading(lambda operator: _rendering(operator, context), {task_id: context}, earlier, forecast, started)
    pipeline, name = pipeline_of(dag, reading), task_id
    if truth is not None:
        pipeline, name = with_truth(pipeline, task_id, map_index, truth)
    limits = objective_of(dag, started, _rendering(dag.get_task(task_id), context), run.logical_date)
    objective, late = still_to_be_met(limits if found is None else as_agreed(limits, found.plan))
    return Asked(key, pipeline, objective, name, late)


def make_plan(broker: Broker, context: Context, task_id: str, truth: Task | None = None) -> tuple[str, Plan, str]:
    """Make sure the DAG run has a plan that fits this task; log it.

    Returns:
        The plan's key, the plan, and the task's name in it.
    """
    meant = asked(broker, context, task_id, truth)
    plan = broker.plan(meant.key, meant.pipeline, meant.objective)
    log_plan(plan, meant.late)
    return meant.key, plan, meant.name


def log_plan(plan: Plan, late: str = "") -> None:
    """Show a plan in the task's log."""
    from sky_core.planner.view.table import plan_text

    log = logging.getLogger("airflow.task")
    if late:
        log.warning(late)
    log.info("\n%s", plan_text(plan))


def tell_plan(context: Context, key: str, sky_conn_id: str | None, **more: str) -> None:
    """Leave in XCom, for people and for the plan's page, where a task's plan is to be found."""
    where = {} if sky_conn_id is None else {"sky_conn_id": sky_conn_id}
    context["ti"].xcom_push(key=TOLD, value={"plan": key, **where, **more})


def draft_reading(dag: DAG, now: datetime) -> Reading:
    """What is known of a DAG that does not run: its parameters' defaults, and today's date."""
    return Reading(lambda operator: rendering(operator, draft_context(dag, operator, now)))


def draft_context(dag: DAG, operator: Any, now: datetime) -> Mapping[str, Any]:
    """What a run of the DAG that began now would tell its templates."""
    from airflow.sdk.execution_time.context import MacrosAccessor

    params = process_params(dag, operator, None, suppress_exception=True)
    run = SimpleNamespace(dag_id=dag.dag_id, run_id="draft", conf={}, logical_date=now, start_date=now)
    moments = dict.fromkeys(("logical_date", "data_interval_start", "data_interval_end"), now)
    return {
        "dag": dag, "dag_run": run, "run_id": run.run_id, "params": params, "macros": MacrosAccessor(), **moments,
        "ds": f"{now:%Y-%m-%d}", "ds_nodash": f"{now:%Y%m%d}", "ts": now.isoformat(),
        "ts_nodash": f"{now:%Y%m%dT%H%M%S}",
    }  # fmt: skip


def with_truth(pipeline: Pipeline, task_id: str, map_index: int | None, truth: Task) -> tuple[Pipeline, str]:
    """The pipeline with one task as it has turned out to be, and its name there.

    An instance that differs from what was planned for all becomes a task of its own.
    """
    names = {task.name: task for task in pipeline.tasks}
    name = instance = instance_name(task_id, map_index) if map_index is not None and map_index >= 0 else ""
    if name not in names:
        name = task_name(task_id)
    planned = names[name]
    known = {field: getattr(truth, field) for field in _NEEDS}
    references = {key: source for key, source in planned.inputs.items() if not isinstance(source, Artifact)}
    given = {key: source for key, source in truth.inputs.items() if isinstance(source, Artifact)}
    # A reference stands for one input, or for the several that its instances have made.
    given = {key: source for key, source in given.items() if not _is_of(key, references)}
    meant = planned.model_copy(update={**known, "inputs": {**references, **given}})
    if _same(meant, planned):
        return pipeline, name
    tasks = [meant if task.name == name else task for task in pipeline.tasks]
    order = list(pipeline.order)
    if instance and name != instance:
        name = instance
        tasks = [*pipeline.tasks, meant.model_copy(update={"name": name})]
        order += [tuple(name if end == planned.name else end for end in edge) for edge in order if planned.name in edge]  # type: ignore[misc]
    return Pipeline(name=pipeline.name, tasks=tuple(tasks), order=tuple(sorted(set(order)))), name


def _is_of(key: str, references: Mapping[str, Any]) -> bool:
    stem, _, number = key.rpartition("_")
    return key in references or (number.isdigit() and (stem in references or f"{stem}_0" in references))


def _same(one: Task, other: Task) -> bool:
    fields = (*_NEEDS, "inputs")
    return all(getattr(one, field) == getattr(other, field) for field in fields)


def _rendering(operator: Any, context: Context) -> Render:
    """Renders a sibling's templates: with the run's context, and the parameters of its own."""
    run = context["dag_run"]
    params = process_params(context["dag"], operator, getattr(run, "conf", None), suppress_exception=True)
    return rendering(operator, {**context, "params": params})


def _earlier(broker: Broker, found: StoredPlan | None, dag_prefix: str) -> tuple[dict[str, Task], bool]:
    """The tasks of this run's plan as far as it is made; else those of the DAG's last run, as a forecast (True)."""
    last = found
    if last is None:
        others = broker.store.plan_keys(prefix=dag_prefix)
        last = broker.store.plan(others[-1]) if others else None
    tasks = Pipeline.model_validate_json(last.pipeline).tasks if last else ()
    return {task.name: task for task in tasks}, found is None
