"""Arguments that Airflow gives a function by their names (``def train(ds, params)``), as far as they can travel."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from airflow.sdk.definitions.context import KNOWN_CONTEXT_KEYS

from sky_core.errors import SpecError

# What is plain data. The rest talks to Airflow, or is made of its classes.
TRAVELS = frozenset(
    {"ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz", "run_id", "logical_date", "data_interval_start",
     "data_interval_end", "params", "partition_key", "partition_date", "task_instance_key_str", "test_mode",
     "prev_data_interval_start_success", "prev_data_interval_end_success", "prev_start_date_success",
     "prev_end_date_success", "task_reschedule_count", "map_index_template", "templates_dict", "try_number"}
)  # fmt: skip


def wanted(
    function: Callable[..., Any], args: Collection[Any], given: Mapping[str, Any], context: Mapping[str, Any]
) -> dict[str, Any]:
    """What of the context a function asks for by its parameters' names; all that can travel for ``**kwargs``."""
    parameters = inspect.signature(function).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    names = TRAVELS if takes_all else TRAVELS & _left(function, args, given)
    taken = set(list(parameters)[: len(args)])
    found = {name: context[name] for name in sorted(names - taken - set(given)) if name in context}
    return {name: _plain(value) for name, value in found.items()}


def refuse_what_stays(
    task_id: str, function: Callable[..., Any], args: Collection[Any], given: Mapping[str, Any]
) -> None:
    """See that a function asks for nothing that only Airflow's own processes have.

    Raises:
        SpecError: naming the argument.
    """
    for name in sorted(_left(function, args, given) & (KNOWN_CONTEXT_KEYS - TRAVELS)):
        if inspect.signature(function).parameters[name].default is inspect.Parameter.empty:
            raise SpecError(
                f"Task.{task_id}: argument {name}: it stays in Airflow, and the function runs elsewhere",
                cure="pass what it needs of it as an argument, which may be a template such as '{{ run_id }}'",
            )


def _left(function: Callable[..., Any], args: Collection[Any], given: Mapping[str, Any]) -> set[str]:
    """The parameters that the call leaves open."""
    names = list(inspect.signature(function).parameters)
    return set(names[len(args) :]) - set(given)


def _plain(value: Any) -> Any:
    """Airflow's moments as Python's own, which every machine can read."""
    value = getattr(value, "__wrapped__", value)  # looked up only now
    return datetime.fromisoformat(value.isoformat()) if isinstance(value, datetime) else value
