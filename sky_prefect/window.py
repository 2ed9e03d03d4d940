"""The tasks of a flow run as they are submitted, and the pipeline they amount to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect import Task
from prefect.client.schemas.objects import TaskRun

from sky_core.engine_kit import nearest_ours
from sky_core.spec import OutputRef, Pipeline
from sky_prefect.futures import SkyFuture
from sky_prefect.needs import build_task
from sky_prefect.remote.lots import Lots


@dataclass(eq=False)
class Node:
    """One submitted task.

    Attributes:
        name: ``train`` or ``train[2]``: the task's name and ordinal within the flow run, the same when it is retried.
        needs: What it asks of the clouds; None for a task that runs where the flow runs.
        data: Task runs whose values it reads.
        order: Task runs it only waits for.
        refused: Why it could not be planned, if so: what the task fails with.
        batch: Those with which it shares a machine, if so.
    """

    name: str
    task: Task[..., Any]
    parameters: dict[str, Any]
    wait_for: Iterable[Any] | None
    task_run: TaskRun
    context: Context
    future: SkyFuture
    needs: Mapping[str, Any] | None
    data: set[UUID]
    order: set[UUID]
    refused: Exception | None = None
    batch: Batch | None = None

    @property
    def machines(self) -> int:
        """How many machines it, or its batch, occupies while it runs."""
        return 0 if self.needs is None else self.needs.get("num_nodes") or 1

    @property
    def planned(self) -> str:
        """What its place is called in the plan: its own name, or its batch's."""
        return self.batch.name if self.batch else self.name


@dataclass(eq=False)
class Batch:
    """Tasks that one machine runs one after the other: one task of the plan, and one job.

    Attributes:
        needs: Those of its tasks, with the hours and the output of all of them.
    """

    name: str
    needs: Mapping[str, Any]
    nodes: tuple[Node, ...]
    lots: Lots


def node_name(task: str, ordinal: int) -> str:
    """``train`` for the first call, ``train[1]`` for the second; a name that the spec allows for any of Prefect's."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", task)
    name = plain if plain[:1].isalpha() else f"task-{plain}"
    return f"{name}[{ordinal}]" if ordinal else name


def pipeline_of(flow: str, nodes: Mapping[UUID, Node]) -> Pipeline | None:
    """All cloud tasks submitted so far with the edges between them; None if there are none.

    A value that goes straight from one cloud task to another is a data edge. What passes through a task that runs
    where the flow runs is an order edge: that task fetches the value itself.
    """
    units: dict[str, list[Node]] = {}
    for node in nodes.values():
        if node.needs is not None:
            units.setdefault(node.planned, []).append(node)
    tasks, order = [], set()
    for name, members in units.items():
        needs = members[0].batch.needs if members[0].batch else members[0].needs
        sources = {up.planned: up for node in members for up in _named(nodes, node.data) if up.needs is not None}
        inputs = {f"arg_{number}": OutputRef(task=up, output="result") for number, up in enumerate(sources)}
        above = {up.planned for node in members for up in nearest_clouds(node, nodes)}
        order |= {(up, name) for up in above - set(sources)}
        tasks.append(build_task(name, needs or {}, inputs=inputs))
    return Pipeline(name=flow, tasks=tuple(tasks), order=tuple(sorted(order))) if tasks else None


def nearest_clouds(node: Node, nodes: Mapping[UUID, Node]) -> set[Node]:
    """The nearest cloud tasks that a node waits for, looking through those that run where the flow runs."""
    return nearest_ours(node, lambda of: _named(nodes, of.data | of.order), lambda of: of.needs is not None)


def _named(nodes: Mapping[UUID, Node], ids: Iterable[UUID]) -> list[Node]:
    return sorted((nodes[i] for i in ids if i in nodes), key=lambda node: node.name)
