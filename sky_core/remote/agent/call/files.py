"""The files that came along with a call: local modules that it imports while it runs, and what those read."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

FOLDER = "SKY_CALL_FILES"  # the variable that says where they lie
ABSENT = (
    "Of the files beside a module there are here: all of a package, up to 4 MB, and beside a script (or of a larger "
    "package) those whose names stand in its functions. Read others where the call is made, and pass what they hold."
)


def lay_out(files: Mapping[str, bytes]) -> None:
    """Let modules be found among these files, by their places in a folder, where the machine has none of that name."""
    folder = tempfile.mkdtemp(prefix="skyloom-call-")
    atexit.register(_remove, folder, os.getpid())
    for place, content in files.items():
        path = Path(folder, place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    os.environ[FOLDER] = folder
    sys.path.append(folder)


def missing_from(error: BaseException) -> bool:
    """Whether an error is about a file that did not come along."""
    name, folder = getattr(error, "filename", None), os.environ.get(FOLDER)
    return isinstance(error, FileNotFoundError) and bool(folder) and f"{name}".startswith(f"{folder}/")


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # and not in a copy of it
        shutil.rmtree(folder, ignore_errors=True)
