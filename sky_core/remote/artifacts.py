"""Artifacts as the driver and the engines see them: what is at a URL, and the value a function left there."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sky_core.errors import TooLarge, TransferError
from sky_core.remote.agent import call
from sky_core.remote.agent.data import artifacts, manifests
from sky_core.remote.agent.data.stores import Options

__all__ = ["Published", "fetch", "load_result", "read_object", "read_result", "remove", "resolve", "url_of"]

LARGEST_VALUE = 500_000_000  # bytes; a value goes through memory and the store's database
LARGEST_OBJECT = 16 << 20


@dataclass(frozen=True)
class Published:
    """A whole artifact. ``files`` maps each file's path to its size in bytes."""

    url: str
    kind: Literal["file", "folder"]
    size: int
    files: Mapping[str, int]


def url_of(bucket: str, run: str, task: str, output: str) -> str:
    """Where a task of a run publishes an output; ``bucket`` is a URL without a slash at its end."""
    return f"{bucket}/runs/{run}/{task}/{output}"


def resolve(url: str, options: Options) -> Published | None:
    """The artifact published under ``url``, or None if there is no whole one. ``options`` are fsspec's, by protocol.

    Raises:
        TransferError: if the store cannot be read.
    """
    with _errors(url):
        manifest = artifacts.read_manifest(url, options)
    if manifest is None:
        return None
    files = {file["path"]: file.get("size", 0) for file in manifest["files"]}
    return Published(url, manifest["kind"], manifest["bytes"], files)


def fetch(url: str, folder: Path, options: Options) -> Path:
    """Bring an artifact, or any file or folder, into ``folder`` and return its local path.

    Raises:
        TransferError: if there is nothing, or it does not match its manifest, or the store cannot be read.
    """
    with _errors(url):
        return artifacts.fetch(url, folder, options)[0]


def remove(url: str, job_id: str, options: Options) -> int | None:
    """Remove what a job has published under ``url``; its bytes, or None if it is not there any more.

    What another job has published there since stays, and so does whatever else lies below the URL.

    Raises:
        TransferError: if the store cannot be read or written.
    """
    with _errors(url):
        return artifacts.withdraw(url, job_id, options)


def read_object(url: str, options: Options) -> bytes | None:
    """The content of one small object, or None if there is none.

    Raises:
        TransferError: if the store cannot be read, or the object is not small.
    """
    with _errors(url):
        content = artifacts.read_object(url, options, LARGEST_OBJECT)
    return content


def read_result(url: str, options: Options) -> bytes:
    """What a function's task published under ``url``, as the bytes it is: :func:`load_result` makes a value of them.

    Raises:
        TooLarge: if it is more than goes through the store.
        TransferError: if there is none, or the object store cannot be read.
    """
    published = resolve(url, options)
    if published is not None and published.size > LARGEST_VALUE:
        raise TooLarge(
            f"the value at {url} has {published.size:,} bytes, more than {LARGEST_VALUE:,}",
            cure="write large data to an output and return what is small",
        )
    with tempfile.TemporaryDirectory(prefix="skyloom-") as folder:
        return fetch(url, Path(folder), options).read_bytes()


def load_result(content: bytes) -> Any:
    """The value in a result's bytes. Loading runs whatever code the machine put there: only for who asked for it.

    Raises:
        TransferError: if it cannot be loaded here.
        RemoteError: if the function raised something that could not be pickled.
        BaseException: whatever else the function raised.
    """
    try:
        kind, value = call.load(call.unpack("result", content))
    except Exception as error:
        raise TransferError(
            f"the function's value cannot be loaded: {type(error).__name__}: {error}",
            cure="the modules and the Python version that made it must be installed here too",
        ) from error
    return call.value_of(kind, value)


@contextlib.contextmanager
def _errors(url: str) -> Iterator[None]:
    """Whatever a store's client raises, as one error of ours."""
    try:
        yield
    except manifests.Corrupt as error:
        raise TransferError(f"{url}: {error}") from error
    except FileNotFoundError as error:
        raise TransferError(f"there is nothing at {url}") from error
    except Exception as error:
        raise TransferError(f"{url} cannot be read: {type(error).__name__}: {error}") from error
