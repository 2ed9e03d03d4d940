"""Mapped operators, and those of mapped task groups, whose instances differ in what planning looks at: each is a task
of the plan of its own.

Where something else only is mapped (the command, a function's arguments), all instances share one task of the plan.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk.definitions._internal.expandinput import MappedArgument
from airflow.sdk.definitions._internal.mixins import ResolveMixin

from sky_airflow.exchange import listed

# What decides where a task is placed, and what that costs.
DECIDING = frozenset(
    {"requires", "num_nodes", "hours", "checkpoint", "deadline", "inputs", "outputs", "max_attempts", "budget_usd"}
)
Fields = Mapping[str, Any]


def variants(operator: Any, fields: Fields, context: Any = None) -> list[Fields] | None:
    """The fields of each instance, by map index; or ``[fields]`` itself if the plan need not tell them apart.

    Args:
        fields: What the author wrote for all instances.
        context: Of an instance that runs: what other tasks have given to be mapped over is known by then.

    Returns:
        None if the instances differ and only the run will tell how.
    """
    if operator.is_mapped:
        return _expanded(operator, fields, context)
    group = operator.get_closest_mapped_task_group()
    if group is None or not any(_arguments(fields.get(field)) for field in DECIDING):
        return [fields]
    instances = _instances(group._expand_input.value, context)
    if instances is None:
        return None
    return [{field: _filled(value, own) for field, value in fields.items()} for own in instances]


def mapped_fields(operator: Any) -> frozenset[str]:
    """The fields that are mapped and decide where instances are placed; all that do, where the run will tell which."""
    if hasattr(operator, "op_kwargs_expand_input"):  # a function's arguments, whatever they are called
        return frozenset()
    return DECIDING & arguments(operator)


def arguments(operator: Any) -> frozenset[str]:
    """All that is mapped over by name; whatever there may be where only the run tells."""
    if not operator.is_mapped:
        return frozenset()
    mapped = operator._get_specified_expand_input().value
    if isinstance(mapped, Mapping):
        return frozenset(mapped)
    written = _is_written(mapped) and all(isinstance(item, Mapping) for item in mapped)
    return frozenset(key for item in mapped for key in item) if written else DECIDING | {"run"}


def _expanded(operator: Any, fields: Fields, context: Any) -> list[Fields] | None:
    if not mapped_fields(operator):  # a function's arguments, a command: one place does for all
        return [fields]
    instances = expanded(operator, context)
    return None if instances is None else [{**fields, **own} for own in instances]


def expanded(operator: Any, context: Any = None) -> list[Fields] | None:
    """What each instance of a mapped operator gets by ``expand``, by map index; None if only the run will tell."""
    return _instances(operator._get_specified_expand_input().value, context)


def _instances(mapped: Any, context: Any) -> list[Fields] | None:
    """The instances in Airflow's order; None if only the run will tell."""
    if isinstance(mapped, Mapping):  # expand(): every combination, the last argument varying fastest
        choices: list[list[Any]] = []
        for value in mapped.values():
            found = _choices(value, context)
            if found is None:
                return None
            choices.append(found)
        return [dict(zip(mapped, values, strict=True)) for values in itertools.product(*choices)]
    items = _choices(mapped, context)  # expand_kwargs()
    if items is None:
        return None
    items = [_resolved(item, context) for item in items]
    return items if all(isinstance(item, Mapping) for item in items) else None


def _choices(value: Any, context: Any) -> list[Any] | None:
    value = _resolved(value, context)
    if isinstance(value, Mapping):
        return list(value.items())
    return listed(value) if _is_written(value) else None


def _resolved(value: Any, context: Any) -> Any:
    return value.resolve(context) if isinstance(value, ResolveMixin) and context is not None else value


def _arguments(value: Any) -> list[MappedArgument]:
    if isinstance(value, MappedArgument):
        return [value]
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [found for item in items for found in _arguments(item)]


def _filled(value: Any, own: Fields) -> Any:
    if isinstance(value, MappedArgument):
        return own[value._key]
    if isinstance(value, Mapping):
        return {key: _filled(item, own) for key, item in value.items()}
    return [_filled(item, own) for item in value] if isinstance(value, list | tuple) else value


def _is_written(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
