"""Makes a packed call: where its modules are found, what its inputs are, where its answer goes."""

from __future__ import annotations

import inspect
import io
import os
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from .answers import RESULT, answer_of, load, packed, value_of
from .files import lay_out
from .packing import MAGIC, unpack

INPUT = "skyloom-input"  # persistent ids are (INPUT, name)
RICHER = "skyloom-richer"  # or (RICHER, (a pickle, what stands for its value where that cannot be loaded))


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
    sys.path.append(str(Path(__file__).absolute().parents[2] / "vendor"))


def _called(payload: Path) -> Any:
    """What the function of the call in a file has returned."""
    function, args, kwargs = loaded(unpack("call", payload.read_bytes()))
    _be_its_script(function)
    return function(*args, **kwargs)


def loaded(data: bytes) -> Any:
    """The function of a packed call's pickles, and its arguments; the files that came along are laid out before."""
    packed_call = io.BytesIO(data)
    lay_out(pickle.load(packed_call))  # noqa: S301 - our submitter's, as the call is
    return CallUnpickler(packed_call).load()


def _be_its_script(function: Any) -> None:
    """Let ``__main__`` have what the function knows of the script it comes from: what the call itself pickles of that,
    for a file or another process, is looked up there."""
    function = inspect.unwrap(getattr(function, "func", function))
    if getattr(function, "__module__", None) == "__main__" and hasattr(function, "__globals__"):
        script = ModuleType("__main__")
        vars(script).update({name: value for name, value in function.__globals__.items() if not name.startswith("__")})
        sys.modules["__main__"] = script


class CallUnpickler(pickle.Unpickler):
    """Loads a call, with the inputs' values in place of the references to them."""

    def persistent_load(self, pid: Any) -> Any:
        """A function's result as its value, any other input as its path; of two forms the richer, where it loads."""
        kind, said = pid
        if kind == RICHER:
            return _richer(*said)
        if kind != INPUT:
            raise pickle.UnpicklingError(f"unknown reference {pid!r}")
        path = Path(os.environ[f"SKY_INPUT_{said.upper()}"])
        return value_of(*load(unpack("result", path.read_bytes()))) if _is_result(path) else path


def _richer(data: bytes, plain: Any) -> Any:
    try:
        return pickle.loads(data)  # noqa: S301 - our submitter's, as the call is
    except Exception:  # noqa: BLE001 - its package is missing here, or is another version
        return plain


def _is_result(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
