"""Making a pickled Python call on the machine: needs Python and cloudpickle, nothing else.

The payload is what ``sky_core.broker.calls.pack`` made: a line with the Python version, then a pickle of
``{"function", "args", "kwargs"}`` in which references to other tasks' results are persistent ids, the names of
inputs. A value travels as ``MAGIC`` and its pickle; any other input is given to the function as a path.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

MAGIC = b"skyloom value 1\n"
RESULT = "SKY_OUTPUT_RESULT"


def call(payload: Path) -> int:
    """Make the call and leave its value as the output ``result``; returns the exit code."""
    version, _, pickled = payload.read_bytes().partition(b"\n")
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if version.decode() != here:
        print(
            f"the function was pickled by Python {version.decode()}, this machine has {here}: "
            "let the task's image have the version that the flow or DAG runs on",
            file=sys.stderr,
        )
        return 1
    try:
        made = _Unpickler(io.BytesIO(pickled)).load()
        value = made["function"](*made["args"], **made["kwargs"])
        if inspect.isawaitable(value):
            value = asyncio.run(_awaited(value))
        _leave(value)
    except SystemExit as ending:
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:  # noqa: BLE001 - the user's own, shown in the log
        traceback.print_exc()
        return 1
    return 0


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        """The value of an input that is a function's result; the path of any other."""
        path = Path(os.environ[f"SKY_INPUT_{pid.upper()}"])
        return load(path.read_bytes()) if path.is_file() and _is_value(path) else path


def _is_value(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def load(data: bytes) -> Any:
    """The value in a result file."""
    return pickle.loads(data[len(MAGIC) :])  # noqa: S301 - our own task's value, checked by its manifest


def _leave(value: Any) -> None:
    import cloudpickle

    path = Path(os.environ[RESULT])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MAGIC + cloudpickle.dumps(value))


async def _awaited(value: Any) -> Any:
    return await value
