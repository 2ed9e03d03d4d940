"""What the flows of this folder are made with: how they are registered, what runs in a cloud, what they note."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

from prefect import Flow, flow, task
from prefect.runtime import flow_run

from sky_prefect import resources

CASES: dict[str, Flow] = {}
NOTES: dict[UUID, list[str]] = defaultdict(list)

SMALL = {"cloud": "aws", "region": "us-east-1", "instance_type": "t3.small", "hours": 0.1}


def case(function: Any = None, **options: Any) -> Any:
    """Register a flow under its function's name."""
    if function is None:
        return lambda inner: case(inner, **options)
    made = flow(function, name=function.__name__, **options)
    CASES[function.__name__] = made
    return made


def cloud(function: Any = None, **options: Any) -> Any:
    """A task whose function runs in a cloud under Skyloom's runner, and in a thread under Prefect's."""
    if function is None:
        return lambda inner: cloud(inner, **options)
    return task(resources(**SMALL)(function), **options)


def note(text: str, run: UUID | None = None) -> None:
    """Keep what a hook or a callback, which run where the flow runs, has seen; of the present flow run, or of one."""
    NOTES[run or UUID(flow_run.id)].append(text)


class Mine(Exception):
    """An error whose ``__init__`` takes more than it hands on."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
