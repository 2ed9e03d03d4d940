"""Tasks and their edges, and what their plan is to minimize."""

from __future__ import annotations

from datetime import UTC, datetime
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Literal

from pydantic import (
    Field,
    model_validator,
)

from sky_core.errors import SpecError
from sky_core.spec.data import OutputRef
from sky_core.spec.task import Task
from sky_core.spec.values import Deadline, Spec


class Objective(Spec):
    """What a plan minimizes, and within which limits (the whole pipeline's makespan, hours; its cost, USD).

    ``"cost*time"`` is Cloud-Conductor's value: the plan whose cost times makespan is least.
    """

    minimize: Literal["cost", "time", "cost*time"] = "cost"
    deadline: Deadline | None = None
    budget_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    def deadline_hours(self, now: datetime | None = None) -> float | None:
        """Hours from ``now`` to the deadline, or None.

        Raises:
            SpecError: if the deadline is in the past.
        """
        if self.deadline is None or isinstance(self.deadline, float):
            return self.deadline
        hours = (self.deadline - (now or datetime.now(UTC))).total_seconds() / 3600
        if hours <= 0:
            raise SpecError(f"Objective: deadline: {self.deadline.isoformat()} is in the past")
        return hours


class Pipeline(Spec):
    """Tasks and their edges: data edges from inputs that are outputs, order edges ``(upstream, downstream)``."""

    # As long as every database can find it by, in characters of four bytes.
    name: Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")] = "pipeline"
    tasks: tuple[Task, ...]
    order: tuple[tuple[str, str], ...] = ()

    @model_validator(mode="after")
    def _sound(self) -> Pipeline:
        if not self.tasks:
            raise ValueError("tasks: a pipeline needs at least one task")
        tasks: dict[str, Task] = {}
        for task in self.tasks:
            if task.name in tasks:
                raise ValueError(f"tasks: two tasks are called {task.name!r}")
            tasks[task.name] = task
        for task in self.tasks:
            for input_name, source in task.inputs.items():
                if isinstance(source, OutputRef):
                    _check_source(task, input_name, source, tasks.get(source.task))
        for edge in self.order:
            for end in edge:
                if end not in tasks:
                    raise ValueError(f"order: {edge[0]} >> {edge[1]} names {end!r}, which is no task of this pipeline")
        self._reject_cycle()
        return self

    def _reject_cycle(self) -> None:
        order: TopologicalSorter[str] = TopologicalSorter()
        for upstream, downstream in self.edges():
            order.add(downstream, upstream)
        try:
            order.prepare()
        except CycleError as error:
            raise ValueError(f"tasks: the pipeline has a cycle: {' -> '.join(error.args[1])}") from None

    def task(self, name: str) -> Task:
        """The task of that name."""
        return next(task for task in self.tasks if task.name == name)

    def data_edges(self) -> dict[tuple[str, str], float]:
        """GB that flow from each upstream to each downstream task; unknown sizes count 0."""
        edges: dict[tuple[str, str], float] = {}
        tasks = {task.name: task for task in self.tasks}
        for task in self.tasks:
            for source in task.inputs.values():
                if isinstance(source, OutputRef):
                    size = tasks[source.task].outputs[source.output].size_gb or 0.0
                    edges[source.task, task.name] = edges.get((source.task, task.name), 0.0) + size
        return edges

    def edges(self) -> list[tuple[str, str]]:
        """All edges, data and order, each once."""
        return list(dict.fromkeys([*self.data_edges(), *self.order]))


def _check_source(task: Task, input_name: str, source: OutputRef, producer: Task | None) -> None:
    where = f"tasks.{task.name}.inputs.{input_name}"
    if producer is None:
        raise ValueError(f"{where}: {source} is nobody's output: there is no task {source.task!r}")
    if source.output not in producer.outputs:
        raise ValueError(
            f"{where}: {source} is nobody's output: {source.task} has {sorted(producer.outputs) or 'no outputs'}"
        )
