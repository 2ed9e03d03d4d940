"""When the tasks of a flow run begin: each once its upstreams are done, cloud tasks while there is room."""

from __future__ import annotations

import concurrent.futures
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
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
        self._ready: deque[Node] = deque()  # cloud tasks for which there is no room yet
        self._nodes: list[Node] = []
        self._pool = ThreadPoolExecutor(sys.maxsize, thread_name_prefix="sky")

    def add(self, node: Node, upstreams: Iterable[Node]) -> None:
        """Begin a node once those are done."""
        with self._lock:
            self._nodes.append(node)
        ahead = [up.future.wrapped_future for up in upstreams]
        left = len(ahead)
        if not left:
            self._begin(node)
            return
        lock = threading.Lock()

        def one_done(_: Future[Any]) -> None:
            nonlocal left
            with lock:
                left -= 1
                last = left == 0
            if last:
                self._begin(node)

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

    def _begin(self, node: Node) -> None:
        with self._lock:
            if node.needs is not None and node.machines > self._room:
                self._ready.append(node)
                return
            self._room -= node.machines
        try:
            self._pool.submit(node.context.run, self._work, node).add_done_callback(partial(self._left, node))
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

    def _left(self, node: Node, _: Future[Any]) -> None:
        """A node's machines are free: for the next that is ready, and for as many as there is room for."""
        with self._lock:
            self._room += node.machines
            ready, self._ready = self._ready, deque()
        for other in ready:
            self._begin(other)
