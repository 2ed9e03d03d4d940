"""What engines share: their DAGs, seen through the tasks that are not ours."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)


def nearest_ours(node: Node, parents: Callable[[Node], Iterable[Node]], ours: Callable[[Node], bool]) -> set[Node]:
    """The nearest tasks of ours upstream, looking through those of others; each is looked at once."""
    found: set[Node] = set()
    seen: set[Node] = set()
    ahead = [*parents(node)]
    while ahead:
        up = ahead.pop()
        if up in seen:
            continue
        seen.add(up)
        if ours(up):
            found.add(up)
        else:
            ahead += parents(up)
    return found
