"""Runs a pickled Python call as a job. Needs Python of the caller's minor version; cloudpickle comes along.

A *packed* file is one line ``skyloom-pickle <what> <major.minor>`` and a pickle. The call's file holds
``(function, args, kwargs)``, in which references to inputs stand as persistent ids, and a second pickle with the
modules that came along (:data:`Carried`); the result's file holds
``("value", value)`` (of a generator, the list of what it gave), ``("error", exception)`` or, where the exception
cannot be pickled, ``("failure", text)``.
"""

from __future__ import annotations

import copyreg
import inspect
import io
import os
import pickle
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

MAGIC = b"skyloom-pickle"
INPUT = "skyloom-input"  # persistent ids are (INPUT, name)
RESULT = "result"  # the output that a function's value or exception is written to


Carried = tuple[bool, str]
"""A module that came along with a call: whether it is a package, and its source."""
Answer = tuple[str, Any]
"""What a result's pickle holds: its kind, and the value, exception or text."""


class WrongPython(Exception):
    """The pickle was made by another minor version of Python."""


class RemoteError(Exception):
    """What a function raised on its machine and cannot be pickled: the message has its type and text."""


def pack(what: str, data: bytes) -> bytes:
    """A packed file's content."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return b" ".join([MAGIC, what.encode(), version.encode()]) + b"\n" + data


def python_of(content: bytes) -> str:
    """The minor version of Python that made a packed file, such as "3.12"."""
    return content.partition(b"\n")[0].split(b" ")[-1].decode()


def unpack(what: str, content: bytes) -> bytes:
    """The pickle in a packed file.

    Raises:
        ValueError: if this is no packed file of that kind.
        WrongPython: if another minor version of Python made it.
    """
    head, _, data = content.partition(b"\n")
    words = head.split(b" ")
    if len(words) != 3 or words[:2] != [MAGIC, what.encode()]:
        raise ValueError(f"not a packed {what}")
    theirs, ours = words[2].decode(), f"{sys.version_info.major}.{sys.version_info.minor}"
    if theirs != ours:
        raise WrongPython(
            f"this {what} was pickled by Python {theirs} and this is Python {ours} ({sys.executable}): "
            f"let python3 be {theirs} on PATH, as it was before setup"
        )
    return data


def load(data: bytes) -> Any:
    """What a packed result's pickle holds: its kind and value."""
    return pickle.loads(data)  # noqa: S301 - written by our own task, checked against its manifest


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


def main(payload: str) -> int:
    """Run the call in the file ``payload``; return the exit code. Write what came of it to the output ``result``."""
    _find_modules()
    answer, code = answer_of(lambda: _called(Path(payload)))
    content, meant = packed(answer)
    target = os.environ.get(f"SKY_OUTPUT_{RESULT.upper()}")
    first = os.environ.get(os.environ.get("SKY_RANK_VARIABLE", ""), "0") == "0"  # of all that a launcher has started
    if target and first:
        Path(target).write_bytes(content)
    return code if meant else code or 1


def _find_modules() -> None:
    """Let the call import what lies in its working folder, and cloudpickle: the machine's own or that in the zip."""
    sys.path.insert(0, os.getcwd())
    sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "vendor"))


def _called(payload: Path) -> Any:
    """What the function of the call in a file has returned."""
    packed_call = io.BytesIO(unpack("call", payload.read_bytes()))
    function, args, kwargs = CallUnpickler(packed_call).load()
    sys.meta_path.append(CarriedModules(pickle.load(packed_call)))  # noqa: S301 - our submitter's, as the call is
    _be_its_script(function)
    return function(*args, **kwargs)


def _be_its_script(function: Any) -> None:
    """Let ``__main__`` have what the function knows of the script it comes from: what the call itself pickles of that,
    for a file or another process, is looked up there."""
    function = inspect.unwrap(getattr(function, "func", function))
    if getattr(function, "__module__", None) == "__main__" and hasattr(function, "__globals__"):
        script = ModuleType("__main__")
        vars(script).update({name: value for name, value in function.__globals__.items() if not name.startswith("__")})
        sys.modules["__main__"] = script


def answer_of(made: Callable[[], Any]) -> tuple[Answer, int]:
    """What a call answered, and the exit code for it."""
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
        traceback.print_exc()
        return ("error", error), 1


def packed(answer: Answer) -> tuple[bytes, bool]:
    """A packed result with that answer, and True; with a text and False in place of a value that cannot be pickled."""
    meant = True
    try:
        data = _pickled(answer)
    except Exception as error:  # noqa: BLE001 - anything can go wrong in somebody's __reduce__
        kind, value = answer
        meant = kind != "value"
        if meant:
            text = "".join(traceback.format_exception_only(type(value), value)).strip()
        else:
            text = f"the function's value, a {type(value).__name__}, cannot be pickled: {error}"
            print(f"[skyloom] {text}", file=sys.stderr)
        data = _pickled(("failure", text))
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


class CarriedModules:
    """Finds the modules that came along with a call, where the machine has none of that name."""

    def __init__(self, modules: dict[str, Carried]) -> None:
        self._modules = modules

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """As importlib asks."""
        if name not in self._modules:
            return None
        return spec_from_loader(name, self, is_package=self._modules[name][0])  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """An ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run its source."""
        exec(compile(self.get_source(module.__name__), f"<{module.__name__}>", "exec"), module.__dict__)  # noqa: S102

    def get_source(self, name: str) -> str:
        """Its source, for tracebacks too."""
        return self._modules[name][1]


class CallUnpickler(pickle.Unpickler):
    """Loads a call, with the inputs' values in place of the references to them."""

    def persistent_load(self, pid: Any) -> Any:
        """A function's result as its value, any other input as its path."""
        kind, name = pid
        if kind != INPUT:
            raise pickle.UnpicklingError(f"unknown reference {pid!r}")
        path = Path(os.environ[f"SKY_INPUT_{name.upper()}"])
        return value_of(*load(unpack("result", path.read_bytes()))) if _is_result(path) else path


def _is_result(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _pickled(answer: Answer) -> bytes:
    import cloudpickle

    data: bytes = cloudpickle.dumps(answer)
    if answer[0] != "error":
        return data
    try:
        load(data)  # exceptions with arguments of their own often pickle but do not load
    except Exception:  # noqa: BLE001 - whatever their __init__ raises
        data = _pickled_as_they_are(answer)
        load(data)
    return data


def _pickled_as_they_are(answer: Answer) -> bytes:
    """With exceptions to be made anew from what is in them, not by their ``__init__``, which may ask for more."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            # An __init__ of Python's own keeps what it needs in C: such errors load as they are.
            if isinstance(obj, BaseException) and inspect.isfunction(type(obj).__init__):
                return copyreg.__newobj__, (type(obj), *obj.args), vars(obj)  # type: ignore[attr-defined]
            return super().reducer_override(obj)

    buffer = io.BytesIO()
    Pickler(buffer).dump(answer)
    return buffer.getvalue()
