"""A Prefect task runner that plans before it runs.

``submit`` only buffers. What has been submitted is planned as a whole, together with what already runs, when the
flow waits for a result, when nothing has been submitted for a while, or at the flow's end. Prefect's own engine
runs every task here; only the functions of tasks that ask for cloud resources run elsewhere.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from contextvars import copy_context
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import FlowRun, RunInput
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.states import Pending
from prefect.task_runners import TaskRunner

from sky_core.broker import Broker
from sky_core.planner import Plan
from sky_core.planner.view.page import plan_markdown, plan_page
from sky_core.planner.view.table import plan_text
from sky_core.spec import Objective, Pipeline
from sky_prefect import compat
from sky_prefect.futures import SkyFuture
from sky_prefect.needs import needs_of
from sky_prefect.remote import fetch, remote_clone
from sky_prefect.window import Node, node_name, pipeline_of

THREADS = 256  # of the engine: each waits for one task


class DryRun(Exception):
    """Ends a flow at the point where its first window would have been planned."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__("dry run")
        self.pipeline = pipeline


class SkyTaskRunner(TaskRunner[SkyFuture]):
    """Runs each task on the cloud where the whole flow is cheapest (or fastest).

    Args:
        minimize: ``"cost"``, ``"time"`` or ``"cost*time"``.
        deadline: For the whole flow: hours, a duration such as ``"6h"``, or an aware datetime.
        budget_usd: For the whole flow.
        resources: Needs by task name, over those of the tasks' own ``@resources``.
        debounce_s: How long after the last submission the window closes by itself.
        dry_run: End the flow with :class:`DryRun` when its first window closes; nothing is planned or launched.

    Raises:
        SpecError: for limits that cannot be meant.
    """

    def __init__(
        self,
        minimize: str = "cost",
        deadline: Any = None,
        budget_usd: float | None = None,
        resources: Mapping[str, Mapping[str, Any]] | None = None,
        debounce_s: float = 0.5,
        dry_run: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Prefect leaves it without types
        self.objective = Objective(minimize=minimize, deadline=deadline, budget_usd=budget_usd)
        self.resources = dict(resources or {})
        self.debounce_s = debounce_s
        self.dry_run = dry_run

    def duplicate(self) -> SkyTaskRunner:
        """A fresh runner with the same settings: Prefect starts one for every attempt of a flow run."""
        return type(self)(
            self.objective.minimize, self.objective.deadline, self.objective.budget_usd, self.resources,
            self.debounce_s, self.dry_run,
        )  # fmt: skip

    def __enter__(self) -> SkyTaskRunner:
        super().__enter__()
        # Entered wherever a context is hydrated, so nothing here may cost anything.
        self._lock = threading.RLock()
        self._pool = concurrent.futures.ThreadPoolExecutor(THREADS, thread_name_prefix="sky")
        self._stopped = threading.Event()
        self._timer: threading.Timer | None = None
        self._nodes: dict[UUID, Node] = {}
        self._buffer: list[Node] = []
        self._ordinals: Counter[str] = Counter()
        self._flow_run: FlowRun | None = None
        self._broker: Broker | None = None
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        # A flow that raised ends here without an exception: only its run's state tells.
        failed = exc_type is not None or self._stopped.is_set() or self._flow_failed()
        if not failed:
            self._flush()
            concurrent.futures.wait([node.future.wrapped_future for node in self._nodes.values()])
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if not failed:
            self._report_bill()
        super().__exit__(exc_type, exc_value, traceback)

    def _flow_failed(self) -> bool:
        state = self._flow_run.state if self._flow_run else None
        return state is not None and (state.is_failed() or state.is_crashed() or state.is_cancelling())

    @property
    def broker(self) -> Broker:
        """The broker of this process's Skyloom home, opened on first use."""
        if self._broker is None:
            self._broker = Broker.open()
        return self._broker

    @property
    def plan_key(self) -> str:
        """The key of this flow run's plan: the same when the run is retried or re-attached to."""
        assert self._flow_run is not None
        return f"prefect/{self._flow_run.id}"

    def submit(
        self,
        task: Task[..., Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> SkyFuture:
        """Buffer a task for the next plan; returns its future at once.

        Raises:
            SpecError: if the task's needs cannot be meant.
        """
        context = FlowRunContext.get()
        self._flow_run = context.flow_run if context else self._flow_run
        run = compat.create_task_run(task, parameters, wait_for, dependencies)
        data, order = compat.upstreams(run)
        future = SkyFuture(task_run_id=run.id, wrapped_future=concurrent.futures.Future())
        future.demand = self._flush
        future.fetch = lambda reference: fetch(self.broker, reference)
        with self._lock:
            name = node_name(task.name, self._ordinals[task.name])
            needs = needs_of(task, self.resources)
            node = Node(name, task, parameters, wait_for, run, copy_context(), future, needs, data, order)
            self._ordinals[task.name] += 1
            self._nodes[run.id] = node
            self._buffer.append(node)
            compat.show_state(run, Pending(name="Buffered"), node.context)
            self._restart_timer()
        return future

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.dry_run:
            self._timer = threading.Timer(self.debounce_s, self._flush)
            self._timer.daemon = True
            self._timer.start()

    def _flush(self) -> None:
        """Close the window: plan what is buffered with what runs already, and start it."""
        with self._lock:
            window, self._buffer = self._buffer, []
            if not window or self._stopped.is_set():
                return
            try:
                window[0].context.copy().run(self._plan, window)
            except DryRun:
                raise
            except Exception as error:  # noqa: BLE001 - whatever planning says is every waiting task's answer
                for node in window:
                    node.future.wrapped_future.set_exception(error)
                return
            for node in window:  # in the order of submission, so that waiting threads cannot starve their upstreams
                self._pool.submit(node.context.run, self._run, node)

    def _plan(self, window: list[Node]) -> None:
        assert self._flow_run is not None
        flow = FlowRunContext.get()
        name = flow.flow.name if flow and flow.flow else "flow"
        pipeline = pipeline_of(name, self._nodes)
        if pipeline is None:
            return
        if self.dry_run:
            self._stopped.set()
            raise DryRun(pipeline)
        plan = self.broker.plan(self.plan_key, pipeline, self.objective)
        get_run_logger().info("\n%s", plan_text(plan))
        self._artifact("skyloom-plan", plan_markdown(plan, self._page(plan)))
        for node in window:
            if node.needs is not None:
                machine = plan.placements[node.name].machine
                compat.show_state(node.task_run, Pending(name="Planned", message=machine), node.context)

    def _page(self, plan: Plan) -> Path | None:
        """Where the plan's page lies, if it could be written: Prefect shows no HTML of ours."""
        path = self.broker.settings.home / "pages" / f"{self.plan_key.replace('/', '_')}.html"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(plan_page(plan), encoding="utf-8")
        except OSError as error:
            get_run_logger().warning("the plan's page could not be written: %s", error)
            return None
        return path

    def _run(self, node: Node) -> None:
        task = node.task if node.needs is None else remote_clone(node, self.broker, self.plan_key, self._stopped)
        upstream = [self._nodes[i].future.wrapped_future for i in node.data | node.order if i in self._nodes]
        concurrent.futures.wait(upstream)
        try:
            state = compat.run_task(task, node.task_run, self._parameters(node), node.wait_for)
            node.future.wrapped_future.set_result(state)
        except BaseException as error:  # noqa: BLE001 - the future carries it to whoever asks
            node.future.wrapped_future.set_exception(error)

    def _parameters(self, node: Node) -> dict[str, Any]:
        """A task that runs here gets values; one that runs in a cloud gets references and loads them there."""
        if node.needs is not None:
            return node.parameters
        return {name: _resolved(value) for name, value in node.parameters.items()}

    def _report_bill(self) -> None:
        if self._broker is None or not any(node.needs is not None for node in self._nodes.values()):
            return
        bill = self._broker.bill(self.plan_key)
        rows = "\n".join(f"| {line.task} | {line.compute_usd:.4f} | {line.egress_usd:.4f} |" for line in bill.lines)
        context = next(iter(self._nodes.values())).context.copy()
        context.run(self._artifact, "skyloom-bill", f"| task | compute $ | egress $ |\n|---|---|---|\n{rows}\n\n"
                                                    f"Total: ${bill.usd:.4f}")  # fmt: skip
        context.run(lambda: get_run_logger().info("bill: $%.4f", bill.usd))

    def _artifact(self, key: str, markdown: str) -> None:
        try:
            create_markdown_artifact(key=key, markdown=markdown)
        except Exception as error:  # noqa: BLE001 - a picture of the plan must not end the flow
            get_run_logger().warning("the artifact %s could not be kept: %s", key, error)


def _resolved(value: Any) -> Any:
    """Futures of cloud tasks become their values; lists of them too. The rest is left to Prefect."""
    if isinstance(value, SkyFuture):
        return value.result()
    if isinstance(value, list | tuple) and any(isinstance(item, SkyFuture) for item in value):
        return (
            type(value)(_resolved(item) for item in value) if type(value) in (list, tuple) else [*map(_resolved, value)]
        )
    return value
