"""Mapped operators whose instances differ in what planning looks at: each is a task of the plan of its own.

Where ``expand()`` maps something else only (the command, a function's arguments), or values that the run will tell,
all instances share one task of the plan.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

# What decides where a task is placed, and what that costs.
DECIDING = frozenset(
    {"requires", "num_nodes", "hours", "checkpoint", "deadline", "inputs", "outputs", "max_attempts", "budget_usd"}
)


def varying(operator: Any) -> list[Mapping[str, Any]]:
    """The mapped arguments of each instance, by map index; one empty mapping if the plan need not tell them apart."""
    instances = _instances(operator._get_specified_expand_input().value) if operator.is_mapped else None
    if not instances or not any(DECIDING.intersection(own) for own in instances):
        return [{}]
    return instances


def names(operator: Any) -> list[str]:
    """What an operator's tasks are called in the plan, by map index: ``train``, or ``train[0]``, ``train[1]``, …"""
    count = len(varying(operator))
    return [operator.task_id] if count == 1 else [f"{operator.task_id}[{index}]" for index in range(count)]


def plan_name(operator: Any, map_index: int | None) -> str:
    """The name in the plan of one instance of an operator of the DAG."""
    found = names(operator)
    return found[map_index] if map_index is not None and len(found) > 1 else found[0]


def _instances(mapped: Any) -> list[Mapping[str, Any]] | None:
    """The instances in Airflow's order; None if only the run will tell."""
    if isinstance(mapped, Mapping):  # expand(): every combination, the last argument varying fastest
        choices: list[list[Any]] = []
        for value in mapped.values():
            found = _choices(value)
            if found is None:
                return None
            choices.append(found)
        return [dict(zip(mapped, values, strict=True)) for values in itertools.product(*choices)]
    if _is_written(mapped) and all(isinstance(item, Mapping) for item in mapped):  # expand_kwargs()
        return list(mapped)
    return None


def _choices(value: Any) -> list[Any] | None:
    if isinstance(value, Mapping):
        return list(value.items())
    return list(value) if _is_written(value) else None


def _is_written(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
