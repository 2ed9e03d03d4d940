"""Background tasks (``task.delay``): served so that the functions of those that ask for it run in a cloud."""

from __future__ import annotations

import copy
import functools
import threading
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

from prefect import Task
from prefect.context import TaskRunContext
from prefect.task_worker import serve as serve_here

from sky_core.broker import Broker
from sky_core.spec import Objective
from sky_prefect.blocks.config import SkyloomConfig, settings_of
from sky_prefect.futures import SkyFuture
from sky_prefect.needs import needs_of
from sky_prefect.remote.call import remote_clone
from sky_prefect.remote.job import Calls
from sky_prefect.remote.values import Values
from sky_prefect.window import Node, node_name, pipeline_of


def serve(*tasks: Task[..., Any], config: SkyloomConfig | str | None = None, **options: Any) -> None:
    """Prefect's ``serve`` for background tasks, each planned and run by itself: those with ``@resources`` in a cloud.

    Args:
        config: Which Skyloom is used, as ``SkyTaskRunner`` takes it.
        options: As Prefect's own takes them: limit, status_server_port, timeout.
    """
    serve_here(
        *[in_a_cloud(task, config=config) if needs_of(task, {}) is not None else task for task in tasks], **options
    )


def in_a_cloud(
    task: Task[..., Any], objective: Objective | None = None, config: SkyloomConfig | str | None = None
) -> Task[..., Any]:
    """The task with its function replaced by one that plans a machine for each call, makes it there and waits."""
    needs = needs_of(task, {})
    clone, values = copy.copy(task), Values()

    @functools.wraps(task.fn)
    def elsewhere(*args: Any, **kwargs: Any) -> Any:
        context = TaskRunContext.get()
        assert context is not None  # Prefect's engine calls this
        run, broker = context.task_run, Broker.open(settings_of(config))
        future = SkyFuture(task_run_id=run.id, wrapped_future=Future())
        node = Node(node_name(task.name, 0), task, {}, None, run, copy_context(), future, needs, set(), set())
        pipeline = pipeline_of(task.name, {run.id: node})
        assert pipeline is not None
        key = f"prefect/{run.id}"
        broker.plan(key, pipeline, objective or Objective())
        return remote_clone(node, Calls(broker, key, threading.Event(), values)).fn(*args, **kwargs)

    clone.fn = elsewhere
    clone.isasync = clone.isgenerator = False
    return clone
