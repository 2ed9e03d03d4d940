"""Reading a published artifact from where the driver or an engine runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sky_core.errors import TransferError
from sky_core.remote.agent import artifacts
from sky_core.remote.agent.call import MAGIC
from sky_core.remote.agent.trees import Corrupt


def read_value(url: str, options: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The pickled value of a Python task.

    Raises:
        TransferError: if there is no such value, or it does not match its manifest.
    """
    with TemporaryDirectory() as folder:
        try:
            path, _ = artifacts.fetch(url, Path(folder), options)
            data = path.read_bytes()
        except (OSError, Corrupt) as error:
            raise TransferError(f"{url}: {error}") from error
    if not data.startswith(MAGIC):
        raise TransferError(f"{url} is not the value of a Python task")
    return data[len(MAGIC) :]
