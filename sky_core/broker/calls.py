"""Python calls that travel: a function and its arguments, pickled so that a machine with only Python and cloudpickle
can make the call, with references to other tasks' results in place of their values.
"""

from __future__ import annotations

import copyreg
import functools
import operator
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sky_core.broker.beside import carried
from sky_core.broker.local import is_local
from sky_core.remote.agent.call import Carried
from sky_core.spec import Artifact

RESULT = "result"  # the output under which a function's value is published
# What a module's import left in it: of no use elsewhere, and not always to be pickled.
IMPORT_STATE = frozenset({"__builtins__", "__loader__", "__spec__", "__cached__", "__path__"})

# What lru_cache and cache make of a function, which pickle takes for something that is found by its name.
CACHED: Any = type(functools.cache(len))
CACHE_INFO = functools._CacheInfo

NO_STAND_INS: Mapping[type, type] = {}


@dataclass(frozen=True)
class Reference:
    """The value of a finished Python task, left in the cloud where it was made.

    Attributes:
        job_id: The job that made it.
        artifact: Where it lies.
    """

    job_id: str
    artifact: Artifact


def pack(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    plain: Callable[[Any], Any] | None = None,
    stand_ins: Mapping[type, type] = NO_STAND_INS,
    lies: Callable[[Any], Reference | None] | None = None,
    modules: Mapping[str, Carried] | None = None,
) -> tuple[bytes, dict[str, Artifact]]:
    """Pickle a call. Every :class:`Reference` among the arguments, however deep, becomes an input of the task.

    Local modules (:mod:`sky_core.broker.local`) travel by value, and those that are imported only while the call runs
    as their sources. ``plain`` may replace an object by one that the
    machine can unpickle (an engine's own list type, say); it returns its argument otherwise. ``stand_ins`` are classes
    that travel whole in place of an engine's, which the machine lacks. ``lies`` knows objects that lie in a cloud
    already, and are sent as references to there. ``modules`` stand for those of an engine that functions import while
    they run, where the machine has none of that name. Any number of threads may pack at once.

    Returns:
        The payload (:mod:`sky_core.remote.agent.call`), and the inputs by name.

    Raises:
        SpecError: if the function or an argument cannot be pickled.
    """
    from sky_core.remote import functions

    inputs: dict[str, Artifact] = {}
    names: dict[str, str] = {}
    travelling: list[types.FunctionType] = []

    class Pickler(functions.CallPickler):
        def persistent_id(self, obj: Any) -> tuple[str, Any] | None:
            reference = obj if isinstance(obj, Reference) else lies(obj) if lies is not None else None
            if reference is None:
                return super().persistent_id(obj)
            name = names.setdefault(reference.job_id, f"arg_{len(names)}")
            inputs[name] = reference.artifact
            return super().persistent_id(functions.InputValue(name))

        def reducer_override(self, obj: Any) -> Any:
            if plain is not None:
                replaced = plain(obj)
                if replaced is not obj:
                    return operator.getitem, ((replaced,), 0)
            if isinstance(obj, type) and obj in stand_ins:
                return _class_by_value(stand_ins[obj])
            if isinstance(obj, types.FunctionType) and (obj.__module__ == "__main__" or is_local(obj.__module__ or "")):
                travelling.append(obj)
            reduced = _reduce_by_value(self, obj) or _reduce_as_it_is(obj)
            return super().reducer_override(obj) if reduced is None else reduced

    def coming() -> Mapping[str, Carried]:
        return {**(modules or {}), **carried(travelling)}

    return functions.pack(function, args, kwargs, Pickler, coming), inputs


def _reduce_by_value(pickler: Any, obj: Any) -> Any:
    """How a local module, function or class is pickled whole; None for anything else.

    cloudpickle's own switch for this, ``register_pickle_by_value``, belongs to the whole process: what one thread
    registers and unregisters, another's pickle is missing. So each object is decided here, with the two private
    functions of cloudpickle 3 that its registry would lead to.
    """

    if isinstance(obj, types.ModuleType):
        if not is_local(obj.__name__):
            return None
        state = {name: value for name, value in vars(obj).items() if name not in IMPORT_STATE}
        return types.ModuleType, (obj.__name__,), state  # the state comes second: modules may refer to each other
    if isinstance(obj, types.FunctionType) and is_local(obj.__module__ or ""):
        return pickler._dynamic_function_reduce(obj)
    if isinstance(obj, CACHED) and (obj.__module__ == "__main__" or is_local(obj.__module__ or "")):
        said = obj.cache_parameters()
        state = {name: value for name, value in vars(obj).items() if name != "cache_parameters"}
        return CACHED, (obj.__wrapped__, said["maxsize"], said["typed"], CACHE_INFO), state
    if isinstance(obj, type) and is_local(obj.__module__ or ""):
        return _class_by_value(obj)
    return None


def _class_by_value(cls: type) -> Any:
    from cloudpickle import cloudpickle

    return cloudpickle._dynamic_class_reduce(cls)


def _reduce_as_it_is(obj: Any) -> tuple[Any, ...] | None:
    """How an error with an ``__init__`` of its own is pickled: to be made anew from what is in it, since its
    ``__init__`` may ask for more than it has handed on. None for anything else, and for one that says how itself."""
    kind: Any = type(obj)
    if not isinstance(obj, BaseException) or kind.__reduce__ != BaseException.__reduce__:
        return None
    if not isinstance(kind.__init__, types.FunctionType):
        return None  # Python's own keep what they need in C, and load as they are
    return copyreg.__newobj__, (kind, *obj.args), vars(obj)  # type: ignore[attr-defined]
