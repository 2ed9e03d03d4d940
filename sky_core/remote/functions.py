"""Python calls as jobs: pack a call for :class:`~sky_core.remote.executor.JobRequest`, read what it returned.

Example:
    >>> payload = pack(train, (InputValue("images"),), {"epochs": 10})  # doctest: +SKIP
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import cloudpickle

from sky_core.errors import SpecError
from sky_core.remote.agent import call
from sky_core.remote.agent.call import RESULT, RemoteError

UNSENT = (pickle.PicklingError, TypeError, AttributeError, RecursionError, ValueError)  # what pickling raises

__all__ = ["RESULT", "CallPickler", "InputValue", "RemoteError", "pack"]


@dataclass(frozen=True)
class InputValue:
    """Stands for a task's input among a call's arguments, at any depth.

    The function gets the value if the input is another function's result, else the local path (``pathlib.Path``)
    of the file or folder.
    """

    name: str


class CallPickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles a call; :class:`InputValue` goes as a reference, pendulum's moments as they are and as Python's own."""

    def persistent_id(self, obj: Any) -> tuple[str, Any] | None:
        if isinstance(obj, InputValue):
            return call.INPUT, obj.name
        if isinstance(obj, MOMENTS) and type(obj).__module__.partition(".")[0] == "pendulum":
            return call.RICHER, (pickle.dumps(obj), plain_moment(obj))
        return None


MOMENTS = (date, time, timedelta, tzinfo)  # a datetime is a date


def plain_moment(value: Any) -> Any:
    """Python's own form of a moment, a span or a time zone of pendulum's, which engines hand out and machines lack."""
    if isinstance(value, timedelta):
        return timedelta(seconds=value.total_seconds())
    if isinstance(value, ZoneInfo) and value.key != "UTC":
        return ZoneInfo(value.key)
    if isinstance(value, tzinfo):
        return timezone(value.utcoffset(None) or timedelta())
    kind = datetime if isinstance(value, datetime) else date if isinstance(value, date) else time
    return kind.fromisoformat(value.isoformat())


def pack(
    function: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    pickler: type[CallPickler] = CallPickler,
    files: Callable[[], Mapping[str, bytes]] = dict,
    culprit: Callable[[Callable[[Any], bool]], str] = lambda fits: "",
) -> bytes:
    """A call as a job's payload. The job must have an output named ``result`` (:data:`RESULT`) if its value is wanted.

    Args:
        pickler: May know further references.
        files: Asked once the call is pickled: what is to lie there while it runs, by its place in a folder that modules
            are found in.
        culprit: Asked where it cannot be pickled, with a test of single objects: what is to blame.

    Raises:
        SpecError: if the function or an argument cannot be pickled.
    """
    buffer = io.BytesIO()
    try:
        pickler(buffer).dump((function, tuple(args), dict(kwargs or {})))
    except UNSENT as error:

        def fits(thing: Any) -> bool:
            try:
                pickler(io.BytesIO()).dump(thing)
            except UNSENT:
                return False
            return True

        name, blamed = getattr(function, "__qualname__", repr(function)), culprit(fits)
        raise SpecError(
            f"the call of {name} cannot be sent to another machine: {f'{blamed}: ' if blamed else ''}{error}",
            cure="open files, locks, connections and the like inside the function instead of passing them in",
        ) from error
    return call.pack("call", pickle.dumps(dict(files())) + buffer.getvalue())
