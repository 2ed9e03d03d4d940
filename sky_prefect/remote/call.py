"""A task's function, run on the machine that the plan chose, while Prefect's engine waits for it here."""

from __future__ import annotations

import copy
import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, StateType
from prefect.logging import get_run_logger

from sky_core.broker import Broker
from sky_core.broker.calls import pack
from sky_core.errors import JobCancelled, StoreTrouble, TaskFailed, TransferError
from sky_core.events import EventKind
from sky_core.job.narrate import describe
from sky_core.store import Event, Job
from sky_prefect import compat
from sky_prefect.needs import build_task
from sky_prefect.remote.packing import explained, for_machine, log_line, ready
from sky_prefect.remote.values import Values
from sky_prefect.reports import tell_event
from sky_prefect.wanting import waiter_of
from sky_prefect.window import Node

# Which of a job's events change the state that Prefect's UI shows.
STATE_NAMES: Mapping[EventKind, str] = {"launching": "Provisioning", "recovering": "Recovering", "started": "Running"}


def remote_clone(node: Node, broker: Broker, plan_key: str, stopped: threading.Event, values: Values) -> Task[..., Any]:
    """The node's task with its function replaced by one that submits the call to the broker and waits.

    Task key, source, cache policy, hooks, retries and time-outs stay: the engine does not notice. Only a task whose
    job was cancelled is not tried again: whoever cancelled it does not want another job.
    """
    function = node.task.fn
    clone = copy.copy(node.task)

    @functools.wraps(function)
    def elsewhere(*args: Any, **kwargs: Any) -> Any:
        if node.refused is not None:
            clone.retries = 0  # a plan that cannot be made is not to be had by trying again
            raise node.refused
        try:
            for key in _keys(f"{plan_key}/{node.name}"):
                found = broker.store.find_job(broker.resumable_key(key))
                value = values.of(broker, call(node, broker, plan_key, key, stopped, values, function, args, kwargs))
                if not (found and found.over and isinstance(value, State) and value.is_failed()):
                    return value  # else an earlier try has returned that it failed: this one is to try anew
        except JobCancelled:
            clone.retries = 0
            raise

    clone.fn = elsewhere
    clone.isasync = clone.isgenerator = False
    return clone


def _keys(stem: str) -> Iterator[str]:
    """What the jobs of a task are called; one beyond the first is needed only after a state returned as failed."""
    yield stem
    yield from (f"{stem}/again-{number}" for number in itertools.count(1))


def call(
    node: Node,
    broker: Broker,
    plan_key: str,
    stem: str,
    stopped: threading.Event,
    values: Values,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Job:
    """Make one call on a machine; returns its job, which has succeeded.

    Left in any other way than by its return (a time-out, Ctrl-C, a cancelled flow, an error of a log handler), it
    cancels the job at once: nobody waits for it any more. Only a store that is away for too long leaves it running.

    Raises:
        TaskFailed, JobFailed, JobCancelled: as the job ended.
        Exception: what the function itself has raised.
    """
    assert node.needs is not None
    gone = JobCancelled(f"{node.name}: the flow run ended before this task")
    if stopped.is_set():
        raise gone
    payload, inputs = pack(ready(function), args, kwargs, plain=for_machine, lies=values.reference)
    sha = broker.store.put_payload(payload)
    task = build_task(node.name, node.needs, function=sha, inputs=inputs)
    key = broker.resumable_key(stem)
    try:
        job = broker.submit(key, task, plan_key)
        job = broker.watch(
            job.id, on_event=_teller(node), on_log=functools.partial(log_line, get_run_logger()), stop=stopped.is_set,
            waiter=waiter_of(node.task_run),
        )  # fmt: skip
        if not job.over:
            raise gone
    except StoreTrouble:
        raise  # the job goes on, and a retry finds it
    except BaseException as left:
        if found := broker.store.find_job(key):  # by its key: the interruption may have hit submit itself
            broker.cancel(found.id, f"Prefect does not wait for it any more: {str(left) or type(left).__name__}")
        raise
    try:
        broker.raise_for(job)
    except TaskFailed as failed:
        if own := _own_error(broker, job):
            raise explained(own) from failed
        raise
    return job


def _own_error(broker: Broker, job: Job) -> Exception | None:
    """What the function itself has raised, if it could be sent here: flows catch it, retry conditions look at it."""
    if "value" not in job.result:
        return None
    try:
        broker.value(job)
    except TransferError:
        return None
    except Exception as error:  # noqa: BLE001 - the user's
        return error
    except BaseException:  # noqa: BLE001, S110 - an exit there is a failure here
        pass
    return None


def _teller(node: Node) -> Callable[[Event], None]:
    """Logs a job's events, and shows in Prefect's UI how far it is."""
    logger = get_run_logger()

    def on_event(event: Event) -> None:
        logger.info(describe(event))
        tell_event(node.task_run, event)
        if name := STATE_NAMES.get(event.kind):
            state: State[Any] = State(type=StateType.RUNNING, name=name, message=describe(event))
            compat.show_state(node.task_run, state, node.context)

    return on_event
