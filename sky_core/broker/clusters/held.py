"""A cluster that is there as long as a block of a program: up when it begins, gone when it is left, however."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from sky_core.broker.broker import Broker
from sky_core.broker.clusters.living import LOOK_S, NOT_NEEDED, Living
from sky_core.broker.clusters.stay import refuse_no_package
from sky_core.broker.clusters.tunnel import Tunnel
from sky_core.broker.interest import UNTIL_SILENT, Waiter
from sky_core.broker.runner import new_key
from sky_core.errors import JobCancelled, SkyloomError, StoreTrouble
from sky_core.spec import Objective, Pipeline, Task

if TYPE_CHECKING:
    from sky_core.planner import Plan


class HeldCluster:
    """Brings a cluster up, leads to it, and takes it down; ``with`` or ``async with``.

    Args:
        task: Made by :func:`sky_core.broker.clusters.stay.cluster_task`.
        broker: Opens the broker when the cluster is brought up.
        say: Told in lines what happens, the plan and its price among them.

    """

    def __init__(
        self,
        task: Task,
        broker: Callable[[], Broker] = Broker.open,
        objective: Objective | None = None,
        say: Callable[[str], object] = print,
    ) -> None:
        self._task, self._open, self._objective, self._say = task, broker, objective, say
        self._tunnel: Tunnel | None = None
        self._stopped = threading.Event()
        self._waiter = Waiter(Waiter.this_process().who, {UNTIL_SILENT: True})
        self._key = ""
        self._living: Living | None = None
        self._left = threading.Event()
        self._telling: threading.Thread | None = None

    @property
    def address(self) -> str:
        """What the engine's client connects to; "" when the cluster is not up.

        It is a port of this host, and stays the same when the cluster goes on elsewhere.
        """
        return self._tunnel.address if self._tunnel is not None else ""

    @property
    def job_id(self) -> str:
        """The cluster's job; "" before it is submitted."""
        return self._living.job_id if self._living is not None else ""

    def up(self) -> None:
        """Plan, launch and wait until all machines have joined.

        Raises:
            SpecError: if what the cluster gets has no engine in it.
            SkyloomError: what :meth:`Broker.plan` and :meth:`Broker.submit` raise.
            JobFailed, TaskFailed: if it does not come about.
        """
        refuse_no_package(self._task)
        broker = self._broker = self._open()
        self._key = new_key(self._task.name)
        try:
            plan = broker.plan(self._key, Pipeline(name=self._task.name, tasks=(self._task,)), self._objective)
            self._say(told(plan, self._task))
            self._waiter.renew(broker.store, broker.settings, broker.store.job_id(self._key))
            living = self._living = self._of(broker.submit(self._key, self._task, self._key).id)
            tunnel = self._tunnel = Tunnel(broker.settings, living.job_id, self._waiter.who, holds=True)
            job = living.watch(lambda job: bool(tunnel.address) or tunnel.over or self._stopped.is_set())
            broker.raise_for(job)
            if self._stopped.is_set():
                raise JobCancelled(f"{self._task.name}: nobody waits for it any more")
            if not tunnel.address:
                raise SkyloomError(f"{self._task.name}: what was to lead to the cluster has ended")
            self._say(f"{self._task.name}: ready at {tunnel.address} (job {living.job_id})")
            self._keep_telling(living)
        except BaseException as left:
            self.down(f"it was left before it was ready: {str(left) or type(left).__name__}")
            raise

    def down(self, why: str = NOT_NEEDED) -> None:
        """End the cluster and wait until its machines are gone."""
        self._left.set()
        if self._telling is not None:
            self._telling.join()
        tunnel, self._tunnel = self._tunnel, None
        found = self._broker.store.find_job(self._key) if self._key else None  # submit itself may have been left
        if found is not None:
            self._living = self._living or self._of(found.id)
            if not self._living.take_down(why, tunnel if tunnel is not None and tunnel.address else None).over:
                self._say(f"{self._task.name}: its machines are being taken down")
        if tunnel is not None:
            tunnel.close()

    def __enter__(self) -> HeldCluster:
        self.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()

    async def __aenter__(self) -> HeldCluster:
        rising = asyncio.ensure_future(asyncio.to_thread(self.up))
        try:
            await asyncio.shield(rising)
        except asyncio.CancelledError:
            self._stopped.set()
            with contextlib.suppress(Exception):
                await rising
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.to_thread(self.down))

    def _keep_telling(self, living: Living) -> None:
        """Say what happens while the block goes on, such as the loss of a machine, as soon as the store has it."""
        self._left.clear()

        def tell() -> None:
            over = False
            while not (over or self._left.is_set()):
                try:
                    over = living.watch(lambda job: self._left.is_set()).over
                except StoreTrouble:  # it may pass; the tunnel says so
                    self._left.wait(LOOK_S)

        context = contextvars.copy_context()  # the logger of a run of Prefect's is the present context's
        self._telling = threading.Thread(target=lambda: context.run(tell), name="cluster", daemon=True)
        self._telling.start()

    def _of(self, job_id: str) -> Living:
        return Living(self._broker, job_id, self._waiter, lambda text: self._say(f"{self._task.name}: {text}"))


def told(plan: Plan, task: Task) -> str:
    """Where a cluster will be, and what it costs."""
    at = plan.placements[task.name]
    machines = f"{at.num_nodes} machines" if at.num_nodes > 1 else "a machine"
    usd = at.price * at.num_nodes
    more = f", up to {at.changing} more on spot, ${at.changing_price:.4f} each" if at.changing else ""
    assert task.engine is not None
    return f"{task.name}: {task.engine.name} on {machines} of {at.machine}, ${usd:.4f} an hour{more}"
