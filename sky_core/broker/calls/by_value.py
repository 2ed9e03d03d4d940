"""How objects of local code are pickled whole, and others that pickle takes for something found by its name.

cloudpickle's own switch for this, ``register_pickle_by_value``, belongs to the whole process: what one thread registers
and unregisters, another's pickle is missing. So each object is decided here, with the two private functions of
cloudpickle 3 that its registry would lead to.
"""

from __future__ import annotations

import copyreg
import functools
import types
from contextvars import ContextVar
from typing import Any

from sky_core.broker.calls import remade
from sky_core.broker.calls.files import Files
from sky_core.broker.calls.local import is_local, is_ours

# What a module's import left in it: of no use elsewhere, and not always to be pickled.
IMPORT_STATE = frozenset({"__builtins__", "__loader__", "__spec__", "__cached__", "__path__"})

# What lru_cache and cache make of a function, which pickle takes for something that is found by its name.
CACHED: Any = type(functools.cache(len))
CACHE_INFO = functools._CacheInfo
DISPATCHING = frozenset({"registry", "dispatch", "register", "_clear_cache"})  # what singledispatch adds to a function


def travels(obj: Any) -> bool:
    """Whether a function or class is to be sent whole: it is a script's or a local module's."""
    return obj.__module__ == "__main__" or is_local(obj.__module__ or "")


def reduced(pickler: Any, obj: Any, files: Files | None) -> tuple[Any, ...] | None:
    """How an object is pickled by value; None for anything that pickle or cloudpickle know how to pickle.

    Args:
        files: Takes note of what the call may want to read.
    """
    if isinstance(obj, types.FunctionType):
        if not travels(obj):
            return None
        return _dispatching(obj) if vars(obj).keys() >= DISPATCHING else function_by_value(pickler, obj, files)
    if isinstance(obj, type):
        return class_by_value(obj) if is_local(obj.__module__ or "") else None
    if isinstance(obj, CACHED):
        return _cached(obj) if travels(obj) else None
    if isinstance(obj, types.ModuleType):
        return _module(obj, files) if is_local(obj.__name__) else None
    if isinstance(obj, ContextVar):
        return _context_variable(obj)
    return _error_as_it_is(obj) if isinstance(obj, BaseException) else None


def function_by_value(pickler: Any, function: types.FunctionType, files: Files | None) -> tuple[Any, ...]:
    """A function, with the globals that it uses."""
    made: tuple[Any, ...] = pickler._dynamic_function_reduce(function)
    if files is not None and not is_ours(function.__module__ or ""):
        _, (_, base, *_), (_, slots), *_ = made
        files.see(function, slots["__globals__"], base)
    return made


def class_by_value(cls: type) -> tuple[Any, ...]:
    """A class, with its methods."""
    from cloudpickle import cloudpickle

    made: tuple[Any, ...] = cloudpickle._dynamic_class_reduce(cls)
    return made


def _module(module: types.ModuleType, files: Files | None) -> tuple[Any, ...]:
    state = {name: value for name, value in vars(module).items() if name not in IMPORT_STATE}
    if files is not None:
        files.see_module(module, state)
    return types.ModuleType, (module.__name__,), state  # the state comes second: modules may refer to each other


def _cached(function: Any) -> tuple[Any, ...]:
    said = function.cache_parameters()
    state = {name: value for name, value in vars(function).items() if name != "cache_parameters"}
    return CACHED, (function.__wrapped__, said["maxsize"], said["typed"], CACHE_INFO), state


def _dispatching(function: Any) -> tuple[Any, ...]:
    """A function of ``singledispatch``, whose cache cannot be pickled: made anew, its implementations registered."""
    state = {name: value for name, value in vars(function).items() if name not in DISPATCHING}
    state |= {name: getattr(function, name) for name in functools.WRAPPER_ASSIGNMENTS if hasattr(function, name)}
    return remade.dispatching, (), (list(function.registry.items()), state), None, None, remade.register


def _context_variable(variable: ContextVar[Any]) -> tuple[Any, ...]:
    """One of that name, with the present value as its default: so it has it in every thread there."""
    try:
        return functools.partial(ContextVar, default=variable.get()), (variable.name,)
    except LookupError:
        return ContextVar, (variable.name,)


def _error_as_it_is(error: BaseException) -> tuple[Any, ...] | None:
    """An error with an ``__init__`` of its own is to be made anew from what is in it, since its ``__init__`` may ask
    for more than it has handed on. None for one that says how itself."""
    kind: Any = type(error)
    if kind.__reduce__ != BaseException.__reduce__ or not isinstance(kind.__init__, types.FunctionType):
        return None  # Python's own keep what they need in C, and load as they are
    return copyreg.__newobj__, (kind, *error.args), vars(error)  # type: ignore[attr-defined]
