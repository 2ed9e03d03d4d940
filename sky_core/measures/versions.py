"""Which versions a text such as ``">=3.3,<4"`` allows. ``"3.5"`` is every 3.5, as PEP 440 says of ``==3.5.*``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping

CLAUSE = re.compile(r"^(?P<how>>=|<=|==|!=|>|<|)\s*(?P<version>\d+(\.\d+)*)(\.\*)?$")
HOW: Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "": operator.eq, "!=": operator.ne,
    ">": operator.gt, "<": operator.lt,
}  # fmt: skip


def clauses(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """Comparison and numbers of each part.

    Raises:
        ValueError: if the text says no versions.
    """
    found = [CLAUSE.match(part.strip()) for part in text.split(",")]
    if any(match is None for match in found):
        raise ValueError(f"{text!r} says no versions: write e.g. '3.5' or '>=3.3,<4'")
    return [(match["how"], _numbers(match["version"])) for match in found if match is not None]


def allows(text: str, version: str) -> bool:
    """Whether it allows a version. No more parts are compared than are asked for: 3.5.5 is no more than 3.5."""
    numbers = _numbers(version)
    return all(HOW[how](numbers[: len(asked)], asked) for how, asked in clauses(text))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
