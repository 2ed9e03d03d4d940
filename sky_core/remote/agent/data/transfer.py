"""The process that moves data: reads requests on stdin, one JSON object a line, and answers each with one.

It runs under a Python that has obstore, or fsspec and what else a store needs. The storage options (secret) are the
first line, so that they are in no file, environment or command line. It ends when its stdin does, or its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from . import artifacts, generations, mirror
from .generations import Generation
from .stores import NOT_TRANSIENT, Ledger, Options

M_MMAP_THRESHOLD, LARGE_BUFFER = -3, 1 << 20  # mallopt(3)


def main() -> None:
    """Serve requests until the end of stdin."""
    _give_back_memory()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    options = json.loads(sys.stdin.readline() or "{}")
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"answer": perform(request, options)}
        except Exception as error:  # noqa: BLE001 - whatever a store's client raises is told to the supervisor
            # What was lent has ended, and is lent anew: no refusal, though libraries call it one.
            final = isinstance(error, NOT_TRANSIENT) and "expired" not in str(error).lower()
            answer = {"error": f"{type(error).__name__}: {error}", "final": final}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _give_back_memory() -> None:
    """Return large buffers to the system when they are freed: glibc would come to keep some for each thread."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BUFFER)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def perform(request: dict[str, Any], options: Options) -> Any:
    """Do what a request asks for; its ``do`` names the deed."""
    if request["do"] in ("bring", "send back"):
        return mirror.answer(request, options)
    deed = request.pop("do")
    if deed == "fetch":
        path, size = artifacts.fetch(request["url"], Path(request["folder"]), options)
        return {"path": str(path), "bytes": size}
    warnings: list[str] = []
    if deed == "publish":
        source = Path(request["source"])
        ledger = Ledger(source.with_name(f".{source.name}.{request['version']}.sent"))
        url, version = request["url"], request["version"]
        manifest = artifacts.publish(source, url, version, options, warnings.append, ledger)
        return {"bytes": manifest["bytes"], "warnings": warnings}
    if deed == "save":
        generation, folder = Generation(request["attempt"], request["number"]), Path(request["folder"])
        ledger = Ledger(folder.with_name(f".{folder.name}.sent"))
        size = generations.save(folder, request["url"], generation, request["keep"], options, warnings.append, ledger)
        return {"bytes": size, "warnings": warnings}
    if deed == "restore":
        restored = generations.restore(Path(request["folder"]), request["urls"], options)
        number = restored.generation.number if restored.generation else None
        return {"number": number, "bytes": restored.size, "skipped": restored.skipped}
    if deed == "write":
        artifacts.write_object(request["url"], request["content"].encode(), options)
        return None
    raise ValueError(f"no such deed: {deed}")
