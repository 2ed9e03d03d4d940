"""What a function has raised, on its way: the exception, and those that it was raised from or while handling.

Pickle keeps an exception's arguments and attributes, but neither ``__cause__`` nor ``__context__``. So each one of the
chain is pickled by itself, with the numbers of those that it hangs on. Where one cannot be carried, a
:class:`RemoteError` with its text and its notes stands in its place.
"""

from __future__ import annotations

import copyreg
import inspect
import io
import pickle
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

MOST = 100  # exceptions in one chain; loops that handle an error while handling an error make long ones

Link = tuple[Any, Any, bool]
"""Of one exception: the numbers of its cause and of its context or None, and whether the context is to be hidden."""
Entry = tuple[bytes, Sequence[str], Sequence[Link]]
"""An exception's pickle, if it can be pickled; its text and its notes; the links of it and of those that it groups."""


class RemoteError(Exception):
    """What a function raised on its machine and cannot be pickled: the message has its type and text."""


def text_of(error: BaseException) -> str:
    """Its type and message, as at the end of a traceback; without its notes."""
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - somebody's __str__
        text = "<exception str() failed>"
    return f"{name}: {text}" if text else name


def noted(error: BaseException, text: str) -> None:
    """Add a note to an exception, where this Python and its class have any."""
    if text not in getattr(error, "__notes__", ()):
        with suppress(Exception):  # Python 3.10 has no notes, and a frozen class takes no attribute
            error.add_note(text)  # type: ignore[attr-defined,unused-ignore]


def packed_chain(error: BaseException) -> list[Entry]:
    """An exception with its chain, as plain data."""
    chain = [error]
    numbers = {id(error): 0}

    def number(one: BaseException | None) -> int | None:
        if one is not None and id(one) not in numbers and len(chain) < MOST:
            numbers[id(one)] = len(chain)
            chain.append(one)
        return numbers.get(id(one))

    entries: list[Entry] = []
    for one in chain:  # it grows meanwhile
        links = [
            (number(each.__cause__), number(each.__context__), each.__suppress_context__) for each in _grouped(one)
        ]
        texts = [text_of(one), *map(str, getattr(one, "__notes__", ()))]
        try:
            entries.append((_pickled(one), texts, links))
        except Exception:  # noqa: BLE001 - anything can go wrong in somebody's __reduce__
            entries.append((b"", texts, links))
    return entries


def loaded_chain(entries: Sequence[Entry]) -> BaseException:
    """The exception, hanging on its causes as it was raised.

    Raises:
        Exception: if the first exception cannot be loaded here.
    """
    chain = [_loaded(data, texts, must=not number) for number, (data, texts, _) in enumerate(entries)]
    for one, (_, _, links) in zip(chain, entries):  # noqa: B905 - Python 3.9
        for each, (cause, context, hidden) in zip(_grouped(one), links):  # noqa: B905
            each.__cause__ = None if cause is None else chain[cause]
            each.__context__ = None if context is None else chain[context]
            each.__suppress_context__ = hidden
    return chain[0]


def _loaded(data: bytes, texts: Sequence[str], must: bool) -> BaseException:
    error = None
    try:
        error = pickle.loads(data) if data else None  # noqa: S301 - as the whole result
    except Exception:  # its class may be on the machine only
        if must:
            raise
    if isinstance(error, BaseException):
        return error
    text, *notes = texts
    error = RemoteError(text)
    for note in notes:
        noted(error, note)
    return error


def _grouped(error: BaseException) -> Iterator[BaseException]:
    """An exception, and all those in it if it is a group; in the same order wherever it is."""
    seen, waiting = set(), [error]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            inner = getattr(one, "exceptions", ())
            waiting += [each for each in inner if isinstance(each, BaseException)] if isinstance(inner, tuple) else []


def _pickled(error: BaseException) -> bytes:
    import cloudpickle

    data: bytes = cloudpickle.dumps(error)
    try:
        pickle.loads(data)  # noqa: S301 - exceptions with arguments of their own often pickle but do not load
    except Exception:  # noqa: BLE001 - whatever their __init__ raises
        data = _pickled_as_it_is(error)
        pickle.loads(data)  # noqa: S301
    return data


def _pickled_as_it_is(error: BaseException) -> bytes:
    """To be made anew from what is in it, not by its ``__init__``, which may ask for more; so are those within it."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            # An __init__ of Python's own keeps what it needs in C: such errors load as they are.
            if isinstance(obj, BaseException) and inspect.isfunction(type(obj).__init__):
                return copyreg.__newobj__, (type(obj), *obj.args), vars(obj)  # type: ignore[attr-defined]
            return super().reducer_override(obj)

    buffer = io.BytesIO()
    Pickler(buffer).dump(error)
    return buffer.getvalue()
