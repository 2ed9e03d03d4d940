"""What a cloud has to allow whoever drives, as a list with purposes.

``docs/permissions.md`` prints the lists of the clouds, ``skyloom check --deep`` asks for what is on them, and the tests
drive the sandbox as somebody who may do this and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

# always: nothing goes without. optional: what it is for is done without, or not at all. user, role: for a login with
# keys of its own, and for one that is temporary itself. identity: where machine_identity is set.
When = Literal["always", "optional", "user", "role", "identity"]


@dataclass(frozen=True)
class Need:
    """What one purpose takes.

    Attributes:
        purpose: What it is for, in the words of the documents.
        actions: By the cloud's own names.
        when: In which case it is needed.
        data: Whether these are rights on data, which Azure's roles tell apart.
    """

    purpose: str
    actions: tuple[str, ...]
    when: When = "always"
    data: bool = False


def wanted(needs: Iterable[Need], *cases: When) -> list[str]:
    """The actions that are needed always and in these cases, in order, each once."""
    return sorted(set(_actions(needs, {"always", *cases})))


def _actions(needs: Iterable[Need], cases: set[When]) -> Iterator[str]:
    for need in needs:
        if need.when in cases and not need.data:
            yield from need.actions
