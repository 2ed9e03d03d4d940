"""Which tasks of a window share a machine, one after the other, where there may be fewer machines than tasks.

A machine takes a minute or two to boot and is paid for meanwhile. Where ``max_machines`` lets only some of many like
tasks run at a time, the others would each wait for a machine of their own; instead as many batches are made as there
may be machines, and each is planned, launched and billed as one task.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sky_prefect.needs import timed
from sky_prefect.remote.lots import Lots
from sky_prefect.window import Batch, Node, nearest_clouds

ALONE = frozenset({"checkpoint", "deadline", "budget_usd", "engine", "elastic", "max_attempts", "restarts",
                   "restart_on", "keep", "cluster"})  # fmt: skip
"""What is said of one task and its machine, and cannot be said of several that share one."""


def gather(window: Sequence[Node], nodes: Mapping[UUID, Node], machines: int, name: Callable[[str], str]) -> None:
    """Put nodes of a window into batches where there are more of a kind than there may be machines.

    Nodes are of a kind if they make the same call with the same needs, at the same distance from the window's begin. A
    batch begins when all that any of its nodes waits for is done, so those in it wait for the same cloud tasks and
    batches: none can wait for another of its own batch, and a map over a map keeps its batches apart.

    Args:
        nodes: All nodes of the flow run so far.
        name: From what a batch would be called to a name that no other task has.
    """
    waiting = {node.task_run.id: node for node in window if node.needs is not None}
    above = {i: nearest_clouds(node, nodes) for i, node in waiting.items()}
    while waiting:
        ready = [node for i, node in waiting.items() if not any(up.task_run.id in waiting for up in above[i])]
        for alike in _by(ready, _kind):
            size = math.ceil(len(alike) / machines)
            if size == 1 or not _may_share(alike[0]):
                continue
            for together in _by(alike, lambda node: frozenset(up.planned for up in above[node.task_run.id])):
                for start in range(0, len(together), size):
                    _batch(together[start : start + size], name)
        for node in ready:
            del waiting[node.task_run.id]


def _kind(node: Node) -> tuple[Any, ...]:
    return node.task.name, id(node.task.fn), repr(sorted((node.needs or {}).items()))


def _may_share(node: Node) -> bool:
    """Whether the node's task says nothing that holds for one machine and one call only."""
    return node.machines == 1 and node.task.timeout_seconds is None and not ALONE & set(node.needs or {})


def _batch(members: Sequence[Node], name: Callable[[str], str]) -> None:
    if len(members) < 2:
        return
    needs = dict(members[0].needs or {})
    needs |= {"hours": timed(needs["hours"], len(members))} if needs.get("hours") is not None else {}
    needs |= {"output_gb": needs["output_gb"] * len(members)} if needs.get("output_gb") is not None else {}
    stem = re.sub(r"\[\d+\]$", "", members[0].name)
    batch = Batch(name(f"{stem}.x{len(members)}"), needs, tuple(members), Lots(members))
    for node in members:
        node.batch = batch


def _by(nodes: Iterable[Node], key: Callable[[Node], Any]) -> list[list[Node]]:
    """The nodes in groups with the same key, in the order in which they came."""
    groups: dict[Any, list[Node]] = defaultdict(list)
    for node in nodes:
        groups[key(node)].append(node)
    return list(groups.values())
