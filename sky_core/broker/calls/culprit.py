"""Which part of a call cannot be pickled, said so that its author finds it."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sky_core.broker.calls.by_value import travels

HOLDERS = ("__wrapped__", "__func__", "func", "fn", "function")  # attributes in which something keeps a function


def culprit(
    fits: Callable[[Any], bool], function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> str:
    """The part that does not fit through pickle, such as "the global 'LOCK' of flow.py"; "" if none does alone."""
    named = {f"argument {number}": value for number, value in enumerate(args, 1)}
    named |= {f"the argument {name!r}": value for name, value in kwargs.items()}
    for name, value in named.items():
        if not fits(value):
            return name
    return next(_within(function, fits, set()), "")


def _within(thing: Any, fits: Callable[[Any], bool], seen: set[int]) -> Iterator[str]:
    """What a function uses that does not fit; first what is in the functions that it calls."""
    function = _function_of(thing)
    if function is None or id(function) in seen:
        return
    seen.add(id(function))
    with suppress(ValueError, TypeError):
        used = inspect.getclosurevars(function)
        where = function.__globals__.get("__file__") or function.__module__
        parts = {f"the global {name!r} of {where}": value for name, value in used.globals.items()}
        parts |= {f"{name!r}, which {function.__qualname__} has around it": one for name, one in used.nonlocals.items()}
        parts |= {f"a default of {function.__qualname__}": one for one in function.__defaults__ or ()}
        for name, value in parts.items():
            if id(value) in seen or fits(value):
                continue
            yield from _within(value, fits, seen)
            yield f"{name}, which is of type {type(value).__qualname__}"


def _function_of(thing: Any) -> types.FunctionType | None:
    """The local function that something is, or keeps."""
    for _ in range(10):
        if isinstance(thing, types.FunctionType):
            return thing if travels(thing) else None
        thing = next((held for name in HOLDERS if callable(held := getattr(thing, name, None))), None)
    return None
