"""What calls come to: values and exceptions, how they are packed, and what becomes of them where they are wanted."""

from __future__ import annotations

import inspect
import pickle
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

from .files import ABSENT, missing_from
from .packing import WrongPython, pack
from .raised import RemoteError, loaded_chain, noted, packed_chain

RESULT = "result"  # the output that a function's value or exception is written to
RAISED = "[skyloom] the call has raised:"
"""A line of the job's log: what follows is the traceback, and what the process says at its end."""

Answer = tuple[str, Any]
"""What came of a call: its kind, and the value, exception or text."""


def load(data: bytes) -> Answer:
    """What came of a call, from a packed result's pickle."""
    kind, value = pickle.loads(data)  # noqa: S301 - written by our own task, checked against its manifest
    return kind, loaded_chain(value) if kind == "error" else value


def value_of(kind: str, value: Any) -> Any:
    """A result's value, or its exception raised.

    Raises:
        RemoteError: if the function raised something that could not be pickled.
        BaseException: whatever else it raised.
    """
    if kind == "error":
        raise value
    if kind == "failure":
        raise RemoteError(value)
    return value


def answer_of(made: Callable[[], Any]) -> tuple[Answer, int]:
    """What a call answered, and the exit code for it. An exception's traceback is printed, and is a note of it."""
    try:
        return ("value", _whole(made())), 0
    except SystemExit as error:
        if error.code in (None, 0):
            return ("value", None), 0
        if isinstance(error.code, int):
            return ("error", error), error.code
        print(error.code, file=sys.stderr)
        return ("error", error), 1
    except WrongPython as error:
        print(f"[skyloom] {error}", file=sys.stderr)
        return ("failure", str(error)), 1
    except BaseException as error:  # noqa: BLE001 - the user's code may raise anything; all of it is an answer
        if missing_from(error):
            noted(error, ABSENT)
        said = _traceback(error)
        sys.stdout.flush()  # what it has printed came before
        print(RAISED, said, sep="\n", file=sys.stderr, flush=True)
        noted(error, f"On the machine:\n{said}")
        return ("error", error), 1


def _traceback(error: BaseException) -> str:
    """An exception's traceback from where it left the user's code, with what led to it."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_globals.get("__package__") == __package__:
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame)).rstrip()


def packed(answer: Answer) -> tuple[bytes, bool]:
    """A packed result with that answer, and True; with a text and False in place of a value that cannot be pickled."""
    import cloudpickle

    kind, value = answer
    meant = True
    try:
        data = cloudpickle.dumps((kind, packed_chain(value) if kind == "error" else value))
    except Exception as error:  # noqa: BLE001 - anything can go wrong in somebody's __reduce__
        meant = False
        text = f"the function's value, a {type(value).__name__}, cannot be pickled: {error}"
        print(f"[skyloom] {text}", file=sys.stderr)
        data = cloudpickle.dumps(("failure", text))
    return pack("result", data), meant


def _whole(value: Any) -> Any:
    """What a call comes to: a coroutine's value, all that a generator gives in a list; anything else is itself."""
    if inspect.isawaitable(value):
        import asyncio  # few functions need it, and it takes as long to import as all else here

        return asyncio.run(_awaited(value))
    if inspect.isasyncgen(value):
        import asyncio

        return asyncio.run(_listed(value))
    return list(value) if inspect.isgenerator(value) else value


async def _awaited(value: Any) -> Any:
    return await value


async def _listed(values: AsyncIterator[Any]) -> list[Any]:
    return [value async for value in values]
