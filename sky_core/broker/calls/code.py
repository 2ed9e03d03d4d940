"""What a function's compiled code holds: the code within it, and its texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any


def within(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of the functions in it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from within(const)


def texts(constants: Iterable[Any]) -> Iterator[str]:
    """The texts among constants, those in tuples and sets too."""
    for constant in constants:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple | frozenset):
            yield from texts(constant)
