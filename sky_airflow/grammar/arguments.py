"""Arguments that Airflow gives a function by their names (``def train(ds, params)``), as far as they can travel."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from airflow.sdk.definitions.context import KNOWN_CONTEXT_KEYS

from sky_core.broker.calls.code import within
from sky_core.errors import SpecError

# What is plain data. The rest talks to Airflow, or is made of its classes.
TRAVELS = frozenset(
    {"ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz", "run_id", "logical_date", "data_interval_start",
     "data_interval_end", "params", "partition_key", "partition_date", "task_instance_key_str", "test_mode",
     "prev_data_interval_start_success", "prev_data_interval_end_success", "prev_start_date_success",
     "prev_end_date_success", "task_reschedule_count", "map_index_template", "templates_dict", "try_number"}
)  # fmt: skip

OF_FAILURES = frozenset({"exception", "reason"})  # only what is called once a task has failed gets them


def wanted(
    function: Callable[..., Any], args: Collection[Any], given: Mapping[str, Any], context: Mapping[str, Any]
) -> dict[str, Any]:
    """What of the context a function asks for by its parameters' names; all that can travel for ``**kwargs``."""
    parameters = inspect.signature(function).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    names = TRAVELS if takes_all else TRAVELS & _left(function, args, given)
    taken = set(list(parameters)[: len(args)])
    found = {name: context[name] for name in sorted(names - taken - set(given)) if name in context}
    return {name: getattr(value, "__wrapped__", value) for name, value in found.items()}  # some are looked up only now


# What a function asks of Airflow itself, and how it comes along instead.
ASKED = {
    "get_current_context": "'{{ run_id }}', or a parameter called ds, params or the like",
    "Variable": "'{{ var.value.name }}'",
    "Connection": "'{{ conn.name.host }}', or secrets={…}",
    "BaseHook": "'{{ conn.name.host }}', or secrets={…}",
}


def refuse_what_stays(
    task_id: str, function: Callable[..., Any], args: Collection[Any], given: Mapping[str, Any]
) -> None:
    """See that a function asks for nothing that only Airflow's own processes have.

    Raises:
        SpecError: naming the argument, or what it asks of Airflow while it runs.
    """
    for name in sorted(_asked(function)):
        raise SpecError(
            f"Task.{task_id}: {name}: it is Airflow's to answer, and the function runs elsewhere",
            cure=f"pass what it needs of it as an argument: {ASKED[name]}",
        )
    for name in sorted(_left(function, args, given) & (KNOWN_CONTEXT_KEYS - TRAVELS - OF_FAILURES)):
        # ``ti=None`` asks for it as well: that is how type checkers are kept content.
        if inspect.signature(function).parameters[name].default in (inspect.Parameter.empty, None):
            raise SpecError(
                f"Task.{task_id}: argument {name}: it stays in Airflow, and the function runs elsewhere",
                cure="pass what it needs of it as an argument, which may be a template such as '{{ run_id }}'",
            )


def _asked(function: Callable[..., Any]) -> set[str]:
    """What a function, or one of its own module that it calls, names of :data:`ASKED`, whoever imports that."""
    found: set[str] = set()
    seen: list[Any] = []
    todo = [inspect.unwrap(function)]
    while todo:
        one = todo.pop()
        of_file = getattr(one, "__globals__", {})
        codes = list(within(one.__code__)) if hasattr(one, "__code__") else []
        seen.append(one)
        for code in codes:
            asked_inside = any(module.startswith("airflow.") for module in code.co_names)
            for name in code.co_names:
                meant = of_file.get(name)
                module = getattr(meant, "__module__", None) or ""
                if name in ASKED and (asked_inside or module.startswith("airflow.")):
                    found.add(name)
                elif inspect.isfunction(meant) and module == one.__module__ and meant not in seen + todo:
                    todo.append(meant)
    return found


def _left(function: Callable[..., Any], args: Collection[Any], given: Mapping[str, Any]) -> set[str]:
    """The parameters that the call leaves open."""
    names = list(inspect.signature(function).parameters)
    return set(names[len(args) :]) - set(given)
