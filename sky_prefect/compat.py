"""Prefect's private parts that we use, in one place. Verified on 3.7.7 and 3.9.1.

The public way to create a task run takes an API call of 130 ms; the task engine's own takes 0.4 ms. A task run's
custom state while its function runs elsewhere can only be shown through the event that the engine itself emits.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Any
from uuid import uuid4

from prefect import Task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import RunInput, State, TaskRun
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture
from prefect.task_engine import _create_task_run_locally, run_task_async, run_task_sync
from prefect.utilities.engine import emit_task_run_state_change_event
from rich.console import Console


def create_task_run(
    task: Task[..., Any],
    parameters: dict[str, Any],
    wait_for: Iterable[PrefectFuture[Any]] | None,
    dependencies: dict[str, set[RunInput]] | None,
) -> TaskRun:
    """A task run in the present flow run's context, without asking the server."""
    return _create_task_run_locally(
        task, id=uuid4(), parameters=parameters, wait_for=wait_for, extra_task_inputs=dependencies
    )


def upstreams(run: TaskRun) -> tuple[set[Any], set[Any]]:
    """Ids of the task runs whose data is read here, and of those that are only waited for."""
    inputs = {
        name: {found.id for found in sources if found.input_type == "task_run"}
        for name, sources in run.task_inputs.items()
        if name != "__parents__"
    }
    order = inputs.pop("wait_for", set())
    return set().union(*inputs.values()), order


def show_state(run: TaskRun, state: State[Any], context: Context) -> None:
    """Let the UI show a state; the task engine's own record of the run is not changed by it."""
    before, run.state = run.state, state
    context.copy().run(emit_task_run_state_change_event, task_run=run, initial_state=before, validated_state=state)


def show_first_state(run: TaskRun, context: Context) -> None:
    """Tell of a new task run, as the engine does of one that it has created itself."""
    assert run.state is not None
    context.copy().run(emit_task_run_state_change_event, task_run=run, initial_state=None, validated_state=run.state)


def create_artifact(key: str, markdown: str) -> None:
    """Keep an artifact of the present run. Untold, Prefect's function gives a coroutine in an async flow."""
    create: Any = create_markdown_artifact
    create(key=key, markdown=markdown, _sync=True)


def run_task(
    task: Task[..., Any], run: TaskRun, parameters: dict[str, Any], wait_for: Any, cancelled: threading.Event
) -> State[Any]:
    """Run a task in this thread with all that Prefect does around its function; returns the final state.

    Once ``cancelled`` is set, the engine begins no further try.
    """
    engine: Any = run_task_async if task.isasync else run_task_sync
    state = engine(
        task, task_run=run, parameters=parameters, wait_for=wait_for, return_type="state",
        context={"cancel_event": cancelled},
    )  # fmt: skip
    found: State[Any] = asyncio.run(state) if task.isasync else state
    return found


@functools.cache  # once in a process
def on_delay(tell: Callable[[Task[..., Any]], None]) -> None:
    """Let every ``task.delay`` tell first: Prefect has no hook where a background task is sent off."""
    send = Task.apply_async

    @functools.wraps(send)
    def apply_async(self: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
        tell(self)
        return send(self, *args, **kwargs)

    Task.apply_async = apply_async  # type: ignore[method-assign]


def outlive_the_console() -> None:
    """Let Prefect's logging go on without its console once nobody reads that any more.

    A worker reads what its flow runs log. Where it was killed, the next line would end the flow's process, too: rich
    answers a broken pipe with SystemExit.
    """
    for name in (None, "prefect", "prefect.flow_runs", "prefect.task_runs"):
        for handler in logging.getLogger(name).handlers:
            console = getattr(handler, "console", None)
            if isinstance(console, Console):
                console.on_broken_pipe = functools.partial(setattr, console, "quiet", True)  # type: ignore[method-assign]


def rescheduled(left_by: type[BaseException] | None) -> bool:
    """Whether a flow run's process ends for the run to be begun again in another one.

    So a Kubernetes work pool does with a pod that is taken away: ``prefect flow-run execute`` schedules the run anew
    and ends the process with SIGTERM.
    """
    behavior = os.environ.get("PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR", "").lower()
    return left_by is not None and issubclass(left_by, TerminationSignal) and behavior == "reschedule"
