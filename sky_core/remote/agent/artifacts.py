"""Artifacts in an object store: published whole or not at all.

Below an artifact's URL lie the data, in a folder of its own for each attempt, and ``manifest.json``, which names
that folder and every file's hash and is written last. Who finds no manifest finds no artifact; two attempts that
publish at once leave one whole artifact or the other.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .stores import Options, connect, download, patiently, read, upload, write
from .trees import Corrupt, describe

MANIFEST = "manifest.json"


def publish(source: Path, url: str, attempt: int, options: Options) -> dict[str, Any]:
    """Publish a file or folder under ``url`` and return its manifest.

    Raises:
        FileNotFoundError: if there is nothing at ``source``.
        ValueError: if a symbolic link leads out of the folder.
    """
    manifest = {**describe(source), "data": f"attempt-{attempt}"}
    filesystem, path = connect(url, options)
    folder = source.parent if manifest["kind"] == "file" else source
    upload(filesystem, folder, f"{path}/{manifest['data']}", manifest)
    write(filesystem, f"{path}/{MANIFEST}", json.dumps(manifest).encode())
    return manifest


def read_manifest(url: str, options: Options) -> dict[str, Any] | None:
    """The manifest of the artifact published under ``url``, or None if there is none.

    Raises:
        Corrupt: if it is not readable as a manifest.
    """
    filesystem, path = connect(url, options)
    try:
        content = read(filesystem, f"{path}/{MANIFEST}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        manifest: dict[str, Any] = json.loads(content)
    except ValueError:
        raise Corrupt(f"{url}/{MANIFEST} is not JSON") from None
    return manifest


def fetch(url: str, folder: Path, options: Options) -> tuple[Path, int]:
    """Bring an artifact, or any file or folder, into ``folder``; return its local path and size in bytes.

    A file keeps its name. A folder's content is put directly into ``folder``.

    Raises:
        FileNotFoundError: if there is nothing at ``url``.
        Corrupt: if an artifact does not match its manifest.
    """
    manifest = read_manifest(url, options)
    filesystem, path = connect(url, options)
    if manifest is None:
        return _fetch_plain(filesystem, path, folder, url)
    download(filesystem, f"{path}/{manifest['data']}", folder, manifest)
    local = folder / manifest["files"][0]["path"] if manifest["kind"] == "file" else folder
    return local, manifest["bytes"]


def _fetch_plain(filesystem: Any, path: str, folder: Path, url: str) -> tuple[Path, int]:
    try:
        about = patiently(lambda: filesystem.info(path))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is nothing at {url}") from None
    if about["type"] == "file":  # adlfs cannot "find" a single file
        files = [{"path": path.rpartition("/")[2], "size": about["size"]}]
        download(filesystem, path.rpartition("/")[0], folder, {"files": files, "folders": []})
        return folder / files[0]["path"], about["size"]
    found = patiently(lambda: filesystem.find(path, detail=True))
    files = [
        {"path": os.path.relpath(name, path), "size": about["size"]}
        for name, about in found.items()
        if not name.endswith("/")  # what consoles leave to show an empty folder
    ]
    download(filesystem, path, folder, {"files": files, "folders": []})
    return folder, sum(file["size"] for file in files)
