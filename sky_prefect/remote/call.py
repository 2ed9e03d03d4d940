"""A task's function, run on the machine that the plan chose, while Prefect's engine waits for it here."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from sky_core.errors import JobCancelled
from sky_prefect.needs import with_secrets
from sky_prefect.remote.job import Calls, run_job, teller
from sky_prefect.remote.packing import Listener, ready
from sky_prefect.remote.together import made_together
from sky_prefect.window import Node


def remote_clone(node: Node, calls: Calls) -> Task[..., Any]:
    """The node's task with its function replaced by one that submits the call to the broker and waits.

    Task key, source, cache policy, hooks, retries and time-outs stay: the engine does not notice. Only a task whose
    job was cancelled is not tried again: whoever cancelled it does not want another job.
    """
    function = node.task.fn
    clone = copy.copy(node.task)
    made = made_together if node.batch else _made_alone

    @functools.wraps(function)
    def elsewhere(*args: Any, **kwargs: Any) -> Any:
        if node.refused is not None:
            clone.retries = 0  # a plan that cannot be made is not to be had by trying again
            raise node.refused
        try:
            return made(node, calls, function, args, kwargs)
        except JobCancelled:
            clone.retries = 0
            raise

    clone.fn = elsewhere
    clone.isasync = clone.isgenerator = False
    return clone


def _made_alone(
    node: Node, calls: Calls, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """What a call on a machine of its own comes to."""
    assert node.needs is not None
    log = get_run_logger()
    sent, secrets = ready(function)
    for stem in _stems(f"{calls.plan_key}/{node.name}"):
        job, found = run_job(
            calls, stem, node.name, with_secrets(node.needs, secrets), node.task_run, sent, args, kwargs,
            on_event=teller([node], log), on_log=Listener(log).hear,
        )  # fmt: skip
        value = calls.values.of(calls.broker, job)
        if not (found and isinstance(value, State) and value.is_failed()):
            return value  # else an earlier try has returned that it failed: this one is to try anew


def _stems(stem: str) -> Iterator[str]:
    """What the jobs of a task are called; one beyond the first is needed only after a state returned as failed."""
    yield stem
    yield from (f"{stem}/again-{number}" for number in itertools.count(1))
