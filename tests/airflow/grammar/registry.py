"""Small DAGs, each for one piece of Airflow's grammar. A case builds its tasks from a :class:`~.kit.Kit`; the task
``result`` is compared between the DAG of Sky tasks and that of plain ones, and so are the states of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.airflow.grammar.kit import Kit

SECRET = "".join(("open", "sesame"))  # in parts: sources travel with calls, which are kept in the store
Build = Callable[[Kit], Any]


@dataclass(frozen=True)
class Case:
    """One DAG.

    Attributes:
        dag: Its DAG's arguments.
        conf: What its run is triggered with.
        right: The result, where Airflow's own tasks cannot have one.
        answer: What a person answers who is asked.
    """

    build: Build
    dag: Mapping[str, Any] = field(default_factory=dict)
    conf: Mapping[str, Any] | None = None
    right: Any = None
    alike: bool = True
    answer: str = ""


CASES: dict[str, Case] = {}


def case(*, conf: Mapping[str, Any] | None = None, answer: str = "", **dag: Any) -> Callable[[Build], Build]:
    """Register a case; ``dag`` are its DAG's arguments."""

    def register(build: Build) -> Build:
        CASES[build.__name__] = Case(build, dag, conf, answer=answer)
        return build

    return register


def sky_only(right: Any, *, answer: str = "", **dag: Any) -> Callable[[Build], Build]:
    """Register a case that Airflow's own tasks fail at, with the result it has to have."""

    def register(build: Build) -> Build:
        CASES[build.__name__] = Case(build, dag, right=right, alike=False, answer=answer)
        return build

    return register
