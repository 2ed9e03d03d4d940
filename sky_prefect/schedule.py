"""When the tasks of a flow run begin: each once its upstreams are done, cloud tasks while there is room."""

from __future__ import annotations

import concurrent.futures
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from prefect.client.schemas.objects import State

from sky_prefect.window import Node


class Schedule:
    """Runs nodes in threads of its own.

    A node takes a thread only once all it waits for is done, so that a wide DAG needs no more threads than tasks
    that really run, and there is always one for a task that another waits for.

    Args:
        run: Runs a node to its final state.
        machines: How many machines cloud tasks may have at the same time; None for any number.
    """

    def __init__(self, run: Callable[[Node], State[Any]], machines: int | None = None) -> None:
        self._run = run
        self._room = sys.maxsize if machines is None else machines
        self._lock = threading.RLock()
        self._ready: deque[Unit] = deque()  # cloud tasks for which there is no room yet
        self._nodes: list[Node] = []
        self._pool = ThreadPoolExecutor(sys.maxsize, thread_name_prefix="sky")

    def add(self, nodes: Sequence[Node], upstreams: Iterable[Node]) -> None:
        """Begin nodes, one or those that share a machine, once all those are done."""
        unit = Unit(nodes)
        with self._lock:
            self._nodes += nodes
        ahead = [up.future.wrapped_future for up in upstreams]
        left = len(ahead)
        if not left:
            self._begin(unit)
            return
        lock = threading.Lock()

        def one_done(_: Future[Any]) -> None:
            nonlocal left
            with lock:
                left -= 1
                last = left == 0
            if last:
                self._begin(unit)

        for future in ahead:
            future.add_done_callback(one_done)

    def wait(self) -> None:
        """Wait until every node is done, also those that are added meanwhile."""
        done = 0
        while done < len(self._nodes):
            waited = self._nodes[:]
            concurrent.futures.wait([node.future.wrapped_future for node in waited])
            done = len(waited)

    def close(self) -> None:
        """Begin nothing more, give up what has not begun, and wait for what has."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            nodes = self._nodes[:]
        for node in nodes:
            self._give_up(node)
        self._pool.shutdown(wait=True)

    def _begin(self, unit: Unit) -> None:
        with self._lock:
            if unit.machines > self._room:
                self._ready.append(unit)
                return
            self._room -= unit.machines
        for node in unit.nodes:
            try:
                self._pool.submit(node.context.run, self._work, node).add_done_callback(partial(self._left, unit))
            except RuntimeError:  # the flow run is over
                self._give_up(node)

    def _give_up(self, node: Node) -> None:
        """Cancel the future of a node that has not begun; whoever waits for it is told."""
        future = node.future.wrapped_future
        with self._lock:
            if not future.done() and future.cancel():
                future.set_running_or_notify_cancel()

    def _work(self, node: Node) -> None:
        future = node.future.wrapped_future
        with self._lock:
            if future.done():
                return
            future.set_running_or_notify_cancel()
        try:
            future.set_result(self._run(node))
        except BaseException as error:  # noqa: BLE001 - the future carries it to whoever asks
            future.set_exception(error)

    def _left(self, unit: Unit, _: Future[Any]) -> None:
        """A unit's machines are free after its last node: for the next that is ready, and as many as there is room for.

        Units that need none never have to wait, and make no room.
        """
        with self._lock:
            unit.left -= 1
            if unit.left or not unit.machines:
                return
            self._room += unit.machines
            ready, self._ready = self._ready, deque()
        for other in ready:
            self._begin(other)


class Unit:
    """Nodes that begin together, on the same machine if there are several."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.machines = nodes[0].machines
        self.left = len(nodes)
