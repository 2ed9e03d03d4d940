"""Many calls of a cloud at once: a gang of sixteen machines is to take no longer than one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

THREADS = 16

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def at_once(call: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """Call for all items, so many at a time; all have ended when the first error is raised."""
    if len(items) < 2:
        return [call(item) for item in items]
    with ThreadPoolExecutor(min(THREADS, len(items))) as pool:
        return list(pool.map(call, items))
