"""A call as the payload of a job."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from types import FunctionType
from typing import Any

from sky_core.broker.calls.beside import imported_later
from sky_core.broker.calls.by_value import class_by_value, reduced, travels
from sky_core.broker.calls.culprit import culprit
from sky_core.broker.calls.files import Files
from sky_core.broker.calls.local import is_ours
from sky_core.spec import Artifact

RESULT = "result"  # the output under which a function's value is published
NO_STAND_INS: Mapping[type, type] = {}
NO_FILES: Mapping[str, bytes] = {}


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
    files: Mapping[str, bytes] = NO_FILES,
    elsewhere: bool = True,
) -> tuple[bytes, dict[str, Artifact]]:
    """Pickle a call. Every :class:`Reference` among the arguments, however deep, becomes an input of the task.

    Local modules travel by value, and those that are imported only while the call runs as files. ``plain`` may replace
    an object by one that the machine can unpickle (an engine's own list type, say); it returns its argument otherwise.
    ``stand_ins`` are classes that travel whole in place of an engine's, which the machine lacks. ``lies`` knows objects
    that lie in a cloud already, and are sent as references to there. ``files`` go along, by their place: modules that
    stand for those of an engine, where the machine has none of that name. Of a call that is made on this host
    (``elsewhere=False``) no files go along: what it reads is here. Any number of threads may pack at once.

    Returns:
        The payload (:mod:`sky_core.remote.agent.call`), and the inputs by name.

    Raises:
        SpecError: if the function or an argument cannot be pickled.
    """
    from sky_core.remote import functions

    inputs: dict[str, Artifact] = {}
    names: dict[str, str] = {}
    travelling: list[FunctionType] = []
    beside = Files() if elsewhere else None

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
                return class_by_value(stand_ins[obj])
            if isinstance(obj, FunctionType) and travels(obj) and not is_ours(obj.__module__):
                travelling.append(obj)
            if beside and isinstance(obj, PurePath) and (moved := beside.path(obj)):
                return moved.__reduce__()
            found = reduced(self, obj, beside)
            return super().reducer_override(obj) if found is None else found

    def coming() -> Mapping[str, bytes]:
        return {**files, **beside.found(imported_later(travelling))} if beside else {}

    def blamed(fits: Callable[[Any], bool]) -> str:
        return culprit(fits, function, args, kwargs)

    return functions.pack(function, args, kwargs, Pickler, coming, blamed), inputs
