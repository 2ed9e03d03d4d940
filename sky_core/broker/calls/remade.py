"""What makes things anew on a machine; it travels by value, since there is nothing of ours there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def dispatching() -> Any:
    """A function of ``singledispatch`` without implementations."""

    def unknown(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    return functools.singledispatch(unknown)


def register(function: Any, state: tuple[Sequence[tuple[type, Callable[..., Any]]], Mapping[str, Any]]) -> None:
    """Give such a function its implementations, by type, and its attributes."""
    implementations, attributes = state
    for kind, implementation in implementations:
        function.register(kind, implementation)
    for name, value in attributes.items():
        setattr(function, name, value)
