"""A Prefect task runner that plans before it runs.

``submit`` only buffers. What has been submitted is planned as a whole, together with what already runs, when the
flow waits for a result, when nothing has been submitted for a while, or at the flow's end. Prefect's own engine
runs every task here; only the functions of tasks that ask for cloud resources run elsewhere.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any
from uuid import UUID, uuid4

from prefect import Task
from prefect.client.schemas.objects import FlowRun, RunInput, State
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.states import Pending
from prefect.task_runners import TaskRunner

from sky_core.broker import Broker
from sky_core.errors import SkyloomError, SpecError
from sky_core.planner import Plan
from sky_core.planner.view.table import plan_text
from sky_core.spec import Objective, Pipeline
from sky_prefect import compat, reports
from sky_prefect.blocks.config import SkyloomConfig, lasting, settings_of
from sky_prefect.futures import SkyFuture
from sky_prefect.needs import needs_of
from sky_prefect.planning.batches import gather
from sky_prefect.planning.forecast import last_run, with_rest
from sky_prefect.remote.call import remote_clone
from sky_prefect.remote.job import Calls
from sky_prefect.remote.values import Values, for_a_machine, without_reference
from sky_prefect.schedule import Schedule
from sky_prefect.window import Node, node_name, pipeline_of


class DryRun(BaseException):
    """Ends a flow at the point where its first window would have been planned; no error that a flow may catch."""


class SkyTaskRunner(TaskRunner[SkyFuture]):
    """Runs each task on the cloud where the whole flow is cheapest (or fastest).

    Args:
        minimize: ``"cost"``, ``"time"`` or ``"cost*time"``.
        deadline: For the whole flow: hours, a duration such as ``"6h"``, or an aware datetime.
        budget_usd: For the whole flow.
        resources: Needs by task name, over those of the tasks' own ``@resources``.
        debounce_s: How long after the last submission the window closes by itself.
        max_machines: How many machines the flow run may have at the same time. Where there are more like tasks than
            that, they share so many, one after the other; other tasks wait for a machine to end.
        config: Which Skyloom is used, and what logs in to the clouds: a ``SkyloomConfig`` block or its name; None for
            what the environment says.
        dry_run: End the flow with :class:`DryRun` when its first window closes; nothing is planned or launched, and
            ``drafted`` has the pipeline.

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
        max_machines: int | None = None,
        dry_run: bool = False,
        config: SkyloomConfig | str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Prefect leaves it without types
        self.objective = Objective(minimize=minimize, deadline=deadline, budget_usd=budget_usd)
        self.resources = dict(resources or {})
        self.debounce_s = debounce_s
        if max_machines is not None and max_machines < 1:
            raise SpecError(f"SkyTaskRunner.max_machines: {max_machines} lets no task run; give 1 or more, or None")
        self.max_machines = max_machines
        self.dry_run = dry_run
        self.config = config
        self.drafted: list[Pipeline] = []  # by dry runs, also by those of duplicates

    def duplicate(self) -> SkyTaskRunner:
        """A fresh runner with the same settings: Prefect starts one for every attempt of a flow run."""
        copy = type(self)(
            self.objective.minimize, self.objective.deadline, self.objective.budget_usd, self.resources,
            self.debounce_s, self.max_machines, self.dry_run, self.config,
        )  # fmt: skip
        copy.drafted = self.drafted
        return copy

    def __enter__(self) -> SkyTaskRunner:
        super().__enter__()
        # Entered wherever a context is hydrated, so nothing here may cost anything.
        self._lock = threading.RLock()
        self._schedule = Schedule(self._run, self.max_machines)
        self._values = Values()
        self._stopped, self._left = threading.Event(), threading.Event()
        self._timer: threading.Timer | None = None
        self._nodes: dict[UUID, Node] = {}
        self._buffer: list[Node] = []
        self._ordinals: Counter[str] = Counter()
        self._flow_run: FlowRun | None = None
        self._alone = uuid4()  # what names the plan where there is no flow run
        self._broker: Broker | None = None
        self._past: Pipeline | None = None  # what the last run has done, looked up when it is needed
        self._looked_back = False
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        # A flow that raised ends here without an exception: only its run's state tells.
        failed = exc_type is not None or self._flow_failed() or bool(self.drafted)
        if not failed:
            self._flush()
            self._schedule.wait()
        if compat.rescheduled(exc_type):
            self._left.set()
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()
        self._schedule.close()
        if not failed:
            self._report_bill()
        super().__exit__(exc_type, exc_value, traceback)

    def _flow_failed(self) -> bool:
        state = self._flow_run.state if self._flow_run else None
        return state is not None and (state.is_failed() or state.is_crashed() or state.is_cancelling())

    @property
    def broker(self) -> Broker:
        """The broker of the block's or this process's Skyloom home, opened on first use.

        Raises:
            SkyloomError: if its settings cannot be used here.
        """
        if self._broker is None:
            compat.outlive_the_console()
            self._broker = Broker.open(lasting(settings_of(self.config)))
        return self._broker

    @property
    def plan_key(self) -> str:
        """The key of this flow run's plan: the same when the run is retried or re-attached to."""
        return f"prefect/{self._flow_run.id if self._flow_run else self._alone}"

    def submit(
        self,
        task: Task[..., Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> SkyFuture:
        """Buffer a cloud task for the next plan, or begin one that runs here; returns its future at once.

        Raises:
            SpecError: if the task's needs cannot be meant.
        """
        context = FlowRunContext.get()
        self._flow_run = context.flow_run if context else self._flow_run
        run = compat.create_task_run(task, parameters, wait_for, dependencies)
        data, order = compat.upstreams(run)
        future = SkyFuture(task_run_id=run.id, wrapped_future=Future())
        future.demand = self._flush
        with self._lock:
            name = self._name(task.name)
            needs = needs_of(task, self.resources)
            node = Node(name, task, parameters, wait_for, run, copy_context(), future, needs, data, order)
            if self.max_machines is not None and node.machines > self.max_machines:
                raise SpecError(f"Task.{name}: num_nodes: {node.machines}, but max_machines is {self.max_machines}")
            self._nodes[run.id] = node
            if needs is None and not self.dry_run:
                compat.show_first_state(run, node.context)
                self._begin([node])
            else:
                self._buffer.append(node)
                compat.show_state(run, Pending(name="Buffered"), node.context)
                self._restart_timer()
        return future

    def _begin(self, nodes: Sequence[Node]) -> None:
        ahead = set().union(*(node.data | node.order for node in nodes))
        self._schedule.add(nodes, [self._nodes[i] for i in ahead if i in self._nodes])

    def _name(self, stem: str) -> str:
        """A name that no other task has: that of its first node, or with its ordinal."""
        name = node_name(stem, self._ordinals[stem])
        self._ordinals[stem] += 1
        return name

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
            if self.drafted:
                raise DryRun  # again, if the flow has caught the first: no task here will ever have a value
            window, self._buffer = self._buffer, []
            if not window or self._stopped.is_set():
                return
            try:
                window[0].context.copy().run(self._plan, window)
            except Exception as error:  # noqa: BLE001 - whatever planning says is every waiting task's answer
                for node in window:
                    node.refused = error
            units: dict[Hashable, list[Node]] = {}
            for node in window:
                units.setdefault(node.batch or node, []).append(node)
            for unit in units.values():
                self._begin(unit)

    def _plan(self, window: list[Node]) -> None:
        flow = FlowRunContext.get()
        name = flow.flow.name if flow and flow.flow else "flow"
        if self.max_machines is not None:
            gather(window, self._nodes, self.max_machines, self._name)
        pipeline = pipeline_of(name, self._nodes)
        if pipeline is None:
            return
        if self.dry_run:
            self.drafted.append(pipeline)
            raise DryRun
        plan = self._planned(pipeline)
        logger = reports.run_logger(self.logger)
        logger.info("\n%s", plan_text(plan))
        reports.show_plan(plan, self.broker.settings.home / "pages" / f"{self.plan_key.replace('/', '_')}.html", logger)
        for node in window:
            if node.needs is not None:
                machine = plan.placements[node.planned].machine
                compat.show_state(node.task_run, Pending(name="Planned", message=machine), node.context)

    def _planned(self, pipeline: Pipeline) -> Plan:
        """The plan of what has been submitted and, as far as the last run tells, of what will be."""
        if not self._looked_back:
            self._past, self._looked_back = last_run(self.broker.store, pipeline.name, self.plan_key), True
        foreseen = with_rest(pipeline, self._past)
        if foreseen != pipeline:
            try:
                return self.broker.plan(self.plan_key, foreseen, self.objective)
            except SkyloomError as error:  # what the last run did need not be possible today, nor be done again
                self.logger.info("planned without what the last run did after this: %s", error)
                self._past = None
        return self.broker.plan(self.plan_key, pipeline, self.objective)

    def _run(self, node: Node) -> State[Any]:
        for_a_machine.set(node.needs is not None)  # in the node's own context
        task = node.task
        if node.needs is not None:
            task = remote_clone(node, Calls(self.broker, self.plan_key, self._stopped, self._values, self._left))
        try:
            state = compat.run_task(task, node.task_run, node.parameters, node.wait_for, self._stopped)
        finally:
            if node.batch:
                node.batch.lots.leave(node)
        return without_reference(state, self.broker) if node.needs is not None else state

    def _report_bill(self) -> None:
        first = next((node for node in self._nodes.values() if node.needs is not None), None)
        if self._broker is None or first is None:
            return
        kept = self._broker.store.plan(self.plan_key)
        plan = Plan.model_validate_json(kept.plan) if kept else None
        reports.show_bill(self._broker.bill(self.plan_key), plan, self.logger, first.context)
