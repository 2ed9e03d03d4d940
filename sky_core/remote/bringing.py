"""Bring one artifact to this host, in a process of its own: no cloud's SDK is loaded into an engine's.

python -m sky_core.remote.bringing URI FOLDER      answers in JSON: {"path": …}, or {"error": …}
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from sky_core.clouds import connect
from sky_core.config import Settings
from sky_core.errors import SkyloomError, TransferError
from sky_core.facts import schemes
from sky_core.remote.artifacts import fetch


def bring(uri: str, folder: Path, environ: dict[str, str] | None = None) -> Path:
    """The local path of a copy of what is at a URI.

    Args:
        folder: Where to put it.
        environ: The variables that lead to the settings; None for this process's.

    Raises:
        TransferError: if it cannot be brought.
    """
    command = [sys.executable, "-m", "sky_core.remote.bringing", uri, str(folder)]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=False)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise TransferError(f"{uri}: whoever was to bring it ended with exit code {done.returncode}") from None
    if "error" in answer:
        raise TransferError(answer["error"])
    return Path(answer["path"])


def _bring(uri: str, folder: Path, settings: Settings) -> Path:
    owner = schemes().get(uri.partition("://")[0])
    options = {}
    if owner is not None:
        reached = dict(connect(owner.name, settings).storage_options())
        options = {scheme: reached for scheme, facts in schemes().items() if facts.name == owner.name}
    return fetch(uri, folder, options)


def _main(uri: str, folder: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what SDKs print goes to the log
    with answers:
        try:
            json.dump({"path": str(_bring(uri, Path(folder), Settings.load()))}, answers)
        except SkyloomError as error:
            json.dump({"error": str(error)}, answers)


if __name__ == "__main__":
    _main(*sys.argv[1:])
