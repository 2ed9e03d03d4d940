"""One job of a flow run: a call handed to the broker and followed to its end, its events shown in Prefect."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect.client.schemas.objects import State, StateType, TaskRun

from sky_core.broker import Broker
from sky_core.broker.calls import pack
from sky_core.broker.tries import resumable_key
from sky_core.errors import JobCancelled, StoreTrouble, TransferError
from sky_core.events import EventKind
from sky_core.job.narrate import describe
from sky_core.store import Event, Job
from sky_prefect import compat
from sky_prefect.needs import build_task, with_secrets
from sky_prefect.remote.packing import Logger, Sealed, explained
from sky_prefect.remote.values import Values
from sky_prefect.reports import tell_event
from sky_prefect.wanting import waiter_of
from sky_prefect.window import Node

# Which of a job's events change the state that Prefect's UI shows.
STATE_NAMES: Mapping[EventKind, str] = {"launching": "Provisioning", "recovering": "Recovering", "started": "Running"}


@dataclass(frozen=True)
class Calls:
    """What the calls of a flow run have in common.

    Attributes:
        plan_key: The key of the run's plan.
        stopped: Set once the flow run is over: nobody waits any more.
        left: Set before that if another process goes on with the flow run, and will find its jobs.
    """

    broker: Broker
    plan_key: str
    stopped: threading.Event
    values: Values
    left: threading.Event = field(default_factory=threading.Event)


def run_job(
    calls: Calls,
    stem: str,
    name: str,
    needs: Mapping[str, Any],
    waiting: TaskRun,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    on_event: Callable[[Event], None],
    on_log: Callable[[str], None],
) -> tuple[Job, bool]:
    """Make a call on a machine; returns its job, which has succeeded, and whether it was over before.

    Left in any other way than by its return (a time-out, Ctrl-C, a cancelled flow, an error of a log handler), it
    cancels the job at once: nobody waits for it any more. Only a store that is away for too long leaves it running, and
    a flow run that goes on in another process.

    Args:
        stem: What the keys of its tries begin with.
        name: The task's, in the plan.
        waiting: The task run that waits for it.

    Raises:
        TaskFailed, JobFailed, JobCancelled: as the job ended.
        Exception: what the function itself has raised.
    """
    broker = calls.broker
    gone = JobCancelled(f"{name}: the flow run ended before this task")
    if calls.stopped.is_set():
        raise gone
    sealed = Sealed()
    payload, inputs = pack(function, args, kwargs, plain=sealed.for_machine, lies=calls.values.reference)
    sha = broker.store.put_payload(payload)
    task = build_task(name, with_secrets(needs, sealed.values), function=sha, inputs=inputs)
    key = resumable_key(broker.store, stem)
    before = broker.store.find_job(key)
    try:
        job = broker.submit(key, task, calls.plan_key)
        job = broker.watch(
            job.id, on_event=on_event, on_log=on_log, stop=calls.stopped.is_set, waiter=waiter_of(waiting)
        )
        if not job.over:
            raise gone
    except StoreTrouble:
        raise  # the job goes on, and a retry finds it
    except BaseException as left:
        if calls.left.is_set():
            raise
        if found := broker.store.find_job(key):  # by its key: the interruption may have hit submit itself
            broker.cancel(found.id, f"Prefect does not wait for it any more: {str(left) or type(left).__name__}")
        raise
    if own := _own_error(broker, job):
        raise explained(own)
    broker.raise_for(job)
    return job, before is not None and before.over


def _own_error(broker: Broker, job: Job) -> Exception | None:
    """What the function itself has raised, if it could be sent here: flows catch it, retry conditions look at it."""
    if job.state != "failed" or job.result.get("exit_code") is None or "value" not in job.result:
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


def teller(nodes: Sequence[Node], logger: Logger) -> Callable[[Event], None]:
    """Logs a job's events, and shows in Prefect's UI how far those are who wait for it."""

    def on_event(event: Event) -> None:
        said = describe(event)
        logger.info(said)
        name = STATE_NAMES.get(event.kind)
        for node in nodes:
            tell_event(node.task_run, event)
            if name and (name != "Running" or len(nodes) == 1):  # several run each in its turn
                show_state(node, name, said)

    return on_event


def show_state(node: Node, name: str, said: str) -> None:
    state: State[Any] = State(type=StateType.RUNNING, name=name, message=said)
    compat.show_state(node.task_run, state, node.context)
