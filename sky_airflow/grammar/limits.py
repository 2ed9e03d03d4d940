"""Limits in time and money, as a DAG's author writes them: a time of day is one of the DAG's own time zone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from sky_airflow.grammar.fields import mapping
from sky_airflow.grammar.templates import UNKNOWN, Render, known, not_yet
from sky_core.errors import SpecError
from sky_core.spec import Objective, did_you_mean

ALERT = "alert"  # for a deadline: the one that the DAG's own DeadlineAlert tells


def objective_of(
    dag: DAG, started: datetime, render: Render = not_yet, logical: datetime | None = None
) -> Objective | None:
    """The DAG's own limits, ``default_args={"sky": {"minimize": …, "deadline": "06:00", "budget_usd": …}}``.

    Args:
        started: When the run began: a time of day is the next one after it, in the DAG's time zone.
        logical: The run's logical date, if it has one.

    Raises:
        SpecError: for limits that cannot be meant.
    """
    where = f"DAG {dag.dag_id}: sky"
    said = known(dag.default_args.get("sky"), render)
    if isinstance(said, str):
        said = mapping(where, said)
    if not said or said is UNKNOWN:
        return None
    for name in said:
        if name not in Objective.model_fields:
            raise SpecError(f"{where}: {name}: no such field", cure=did_you_mean(name, Objective.model_fields))
    if said.get("deadline") == ALERT:
        said["deadline"] = alerted(f"{where}.deadline", dag, started, logical)
    elif isinstance(said.get("deadline"), str):
        said["deadline"] = due(f"{where}.deadline", said["deadline"], started, dag.timezone)
    try:
        return Objective(**said)
    except SpecError as error:
        raise SpecError(str(error).replace("Objective:", f"{where}:", 1)) from None


def still_to_be_met(objective: Objective | None, now: datetime | None = None) -> tuple[Objective | None, str]:
    """An objective that can be planned for, and what is to be said of it.

    A deadline that has passed is late, not wrong: what is left then is to lose no more time.
    """
    deadline = objective.deadline if objective else None
    if objective is None or not isinstance(deadline, datetime) or deadline > (now or datetime.now(UTC)):
        return objective, ""
    late = f"the run's deadline {deadline.isoformat()} has passed: planned to be done as soon as can be"
    return objective.model_copy(update={"deadline": None, "minimize": "time"}), late


def lifted(objective: Objective | None, broken: str) -> Objective:
    """An objective without the limit that nothing keeps (as :class:`Infeasible` calls it): what is asked about.

    Without its deadline, what is left is to be late as little as can be.
    """
    gone = {"budget_usd": None} if broken == "budget_usd" else {"deadline": None, "minimize": "time"}
    return (objective or Objective()).model_copy(update=gone)


def as_agreed(objective: Objective | None, stored_plan: str) -> Objective | None:
    """An objective without the limits that the run's plan was made without: somebody has agreed to that."""
    if objective is None or (objective.deadline is None and objective.budget_usd is None):
        return objective
    goal = json.loads(stored_plan)["objective"]
    without = {name: None for name in ("deadline", "budget_usd") if goal.get(name) is None}
    return objective.model_copy(update=without | ({"minimize": goal["minimize"]} if without else {}))


def task_deadline(task: str, said: Any, after: datetime, zone: tzinfo | None, now: datetime) -> tuple[Any, str]:
    """One task's own deadline as its spec has it, and what is to be said of it: one that has passed holds no more.

    Raises:
        SpecError: for a time of day that does not exist.
    """
    where = f"Task.{task}: deadline"
    meant = due(where, said, after, zone) if isinstance(said, str) else said
    moment = meant
    if isinstance(meant, str):
        try:
            moment = datetime.fromisoformat(meant)
        except ValueError:
            return meant, ""  # a duration, or nonsense that the spec refuses
    if isinstance(moment, datetime) and moment.tzinfo is not None and moment <= now:
        return None, f"{where}: {moment.isoformat()} has passed: it is late, and led without a deadline"
    return meant, ""


def due(where: str, said: str, after: datetime, zone: tzinfo | None) -> Any:
    """The moment that a time of day means: the next one after ``after``; what is none stays as it is.

    ``06:00`` counts in the DAG's zone, on whatever side of a clock change; ``06:00+05:30`` in its own.

    Raises:
        SpecError: for a time of day that does not exist.
    """
    if ":" not in said or "-" in said.partition(":")[0] or "T" in said:
        return said  # a duration, or a date and time
    try:
        clock = time.fromisoformat(said.strip())
    except ValueError:
        raise SpecError(f"{where}: {said!r} is not a time of day") from None
    zone = clock.tzinfo or zone or UTC
    day = after.astimezone(zone).date()
    found = _at(day, clock, zone)
    return found if found > after else _at(day + timedelta(days=1), clock, zone)


def alerted(where: str, dag: DAG, started: datetime, logical: datetime | None) -> datetime:
    """The moment at which the first of the DAG's own deadlines passes for a run.

    Raises:
        SpecError: if it has none that its run's dates tell (one by the average of past runs is Airflow's to know).
    """
    alerts = [dag.deadline] if isinstance(dag.deadline, DeadlineAlert) else dag.deadline or ()
    moments = [(_begin(alert.reference, started, logical), alert.interval) for alert in alerts]
    found = [begin + interval for begin, interval in moments if begin and isinstance(interval, timedelta)]
    if not found:
        cure = "give the DAG a DeadlineAlert on its run's dates or on a date, or write a time here"
        raise SpecError(f"{where}: the DAG's own deadlines name no moment that is known when it begins", cure=cure)
    return min(found)


def _begin(reference: Any, started: datetime, logical: datetime | None) -> datetime | None:
    """What a deadline of Airflow's is counted from."""
    kind = reference.reference_name
    if kind == DeadlineReference.DAGRUN_QUEUED_AT.reference_name:
        return started
    if kind == DeadlineReference.DAGRUN_LOGICAL_DATE.reference_name:
        return logical or started
    fixed = reference.serialize_reference().get("datetime")
    return None if fixed is None else datetime.fromtimestamp(fixed, UTC)


def _at(day: Any, clock: time, zone: tzinfo) -> datetime:
    # By way of UTC, so that an hour that the clocks leave out becomes the one after it.
    return datetime.combine(day, clock.replace(tzinfo=None), tzinfo=zone).astimezone(UTC).astimezone(zone)


def refuse_own_limits(operator: Any, dag: DAG) -> None:
    """Limits are the whole run's, so one task may not have others than its DAG.

    Raises:
        SpecError: if it has.
    """
    own = operator.partial_kwargs.get("sky") if operator.is_mapped else operator.sky
    if not own or own == dag.default_args.get("sky"):
        return
    wrong = [name for name in own if name not in Objective.model_fields] if isinstance(own, Mapping) else []
    more = f"; {wrong[0]}: no such field, {did_you_mean(wrong[0], Objective.model_fields)}" if wrong else ""
    raise SpecError(
        f"Task.{operator.task_id}: sky: limits are those of a whole run{more}",
        cure=f'write DAG("{dag.dag_id}", default_args={{"sky": …}}); one task may have deadline=… and budget_usd=…',
    )
