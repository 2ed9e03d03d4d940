"""Whatever fsspec has a filesystem for: this machine's disk, and stores or logins that obstore does not know.

A cloud's filesystem costs seconds of processor time to import; it is imported where it is used.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .base import Options, Place, place_of

# gcsfs would make a gRPC call of up to 60 s to find out whether a bucket is zonal; ours never are.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


def filesystem(place: Place) -> Any:
    """fsspec's filesystem for a place."""
    import fsspec

    return fsspec.filesystem(place.kind, use_listings_cache=False, **_spelled(place.kind, dict(place.options)))


def make_bucket(url: str, options: Options) -> None:
    """Make the bucket of a URL if need be; obstore makes none."""
    place = place_of(url, options)
    found = filesystem(place)
    if not found.exists(place.bucket):
        with contextlib.suppress(FileExistsError):  # somebody else was faster
            found.mkdir(place.bucket)


def _spelled(kind: str, options: dict[str, Any]) -> Mapping[str, Any]:
    """fsspec's options for what a cloud has lent in its own form: a token, a signature, the name of an identity.

    The libraries come with the filesystem's package; which these are is known only where one is used.
    """
    if kind == "gs" and "access_token" in options:
        login = importlib.import_module("google.oauth2.credentials").Credentials(options.pop("access_token"))
        return {**options, "token": login}
    if kind == "abfs" and "identity" in options:
        kind_of = importlib.import_module("azure.identity.aio").ManagedIdentityCredential
        login = kind_of(identity_config={"resource_id": options.pop("identity")})
        return {**options, "credential": login}
    if kind == "abfs" and "endpoint" in options:
        endpoint, signature = options.pop("endpoint"), options.pop("sas_token")
        return {**options, "connection_string": f"BlobEndpoint={endpoint};SharedAccessSignature={signature};"}
    return options


class Files:
    """A store that fsspec opens."""

    def __init__(self, place: Place) -> None:
        self._filesystem = filesystem(place)
        self.local = place.kind == "file"

    def read(self, path: str) -> bytes:
        content: bytes = self._filesystem.cat_file(path)
        return content

    def write(self, path: str, content: bytes) -> None:
        if not self.local:
            self._filesystem.pipe_file(path, content)
            return
        self._make_parent(path)
        new = f"{path}.{os.getpid()}.new"
        self._filesystem.pipe_file(new, content)
        os.replace(new, path)

    def send(self, file: Path, path: str) -> None:
        self._make_parent(path)
        self._filesystem.put_file(str(file), path)

    def fetch(self, path: str, file: Path, size: int) -> None:
        self._filesystem.get_file(path, str(file))

    def size(self, path: str) -> int | None:
        about = self._filesystem.info(path)
        return int(about["size"]) if about["type"] == "file" else None

    def find(self, path: str) -> dict[str, int]:
        found = self._filesystem.find(path, detail=True)
        return {os.path.relpath(name, path): about["size"] for name, about in found.items() if not name.endswith("/")}

    def names(self, path: str) -> list[str]:
        found = self._filesystem.ls(path, detail=False, refresh=True)
        return [entry.rstrip("/").rpartition("/")[2] for entry in found]

    def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                self._filesystem.rm_file(path)

    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.rm(path, recursive=True)

    def _make_parent(self, path: str) -> None:
        if self.local:
            self._filesystem.makedirs(os.path.dirname(path), exist_ok=True)
