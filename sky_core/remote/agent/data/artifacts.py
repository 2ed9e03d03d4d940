"""Artifacts in an object store: published whole or not at all.

Below an artifact's URL lie the data, in a folder of its own for each version, and ``manifest.json``, which names that
folder and every file's hash and is written last. Who finds no manifest finds no artifact; while a new version is being
published, and if it never gets there, the one before can be read. Two that publish at once leave one whole artifact or
the other.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path

from .manifests import Corrupt, Manifest, parse
from .stores import Ledger, NoBucket, Options, Store, connect, download, names, patiently, read, remove, upload, write
from .trees import Warn, describe, local_path

MANIFEST = "manifest.json"
STAMP = "%Y%m%dT%H%M%SZ"
STAMPED = re.compile(r"\d{8}T\d{6}Z(?=-)")
UNFINISHED_DAYS = 7  # after that long, what a publication has left without a manifest is nobody's
REPLACED_MEANWHILE = 3  # versions that may come while one is being fetched


def version(job_id: str, attempt: int) -> str:
    """A name for what an attempt of a job publishes, begun now. No other attempt or job has the same."""
    return f"{time.strftime(STAMP, time.gmtime())}-{_spelled(job_id)}-{attempt}"


def _spelled(job_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", job_id)


def publish(
    source: Path,
    url: str,
    name: str,
    options: Options,
    warn: Warn = lambda text: None,
    ledger: Ledger | None = None,
) -> Manifest:
    """Publish a file or folder under ``url`` and return its manifest.

    Args:
        name: From :func:`version`; asked again after a failure, with the same name, nothing is left behind.
        warn: Is told of each entry that is left out or does not travel as it is.
        ledger: What of this version has arrived before; closed when all has.

    Raises:
        FileNotFoundError: if there is nothing at ``source``.
    """
    store, path = connect(url, options)
    before = _present(store, path)
    data = f"{name}-again" if before is not None and before["data"] == str(name) else str(name)
    manifest = {**describe(source, warn), "data": data}
    folder = source.parent if manifest["kind"] == "file" else source
    upload(store, folder, f"{path}/{data}", manifest, ledger)
    replaced = _present(store, path)
    write(store, f"{path}/{MANIFEST}", json.dumps(manifest).encode())
    if ledger is not None:
        ledger.close()
    with contextlib.suppress(Exception):  # it is published; what is left over costs little
        _tidy(store, path, data, replaced)
    return manifest


def _present(store: Store, path: str) -> Manifest | None:
    """The manifest of the present version; None if there is none that can be read."""
    try:
        found = parse(read(store, f"{path}/{MANIFEST}"))
    except (FileNotFoundError, NotADirectoryError, Corrupt):
        return None
    return found if "data" in found else None


def _tidy(store: Store, path: str, present: str, replaced: Manifest | None) -> None:
    """Remove the version that was replaced, and what long ago was begun and never finished."""
    if replaced is not None and replaced["data"] != present:
        remove(store, f"{path}/{replaced['data']}")
    oldest = time.strftime(STAMP, time.gmtime(time.time() - UNFINISHED_DAYS * 86400))
    for name in names(store, path):
        stamp = STAMPED.match(name)
        if stamp and stamp[0] < oldest and name != present:
            remove(store, f"{path}/{name}")


def withdraw(url: str, job_id: str, options: Options) -> int | None:
    """Remove a job's version from ``url``, the manifest first; its bytes, or None if another one or none is there.

    Raises:
        Corrupt: if what is there is not readable as a manifest.
    """
    store, path = connect(url, options)
    present = read_manifest(url, options)
    if present is None:
        return None
    name = str(present["data"])
    if not re.fullmatch(rf"{STAMPED.pattern}-{re.escape(_spelled(job_id))}-\d+(-again)?", name):
        return None
    store.delete([f"{path}/{MANIFEST}"])
    remove(store, f"{path}/{name}")
    size: int = present["bytes"]
    return size


def read_manifest(url: str, options: Options) -> Manifest | None:
    """The manifest of the artifact published under ``url``, or None if there is none.

    A ``manifest.json`` that is JSON but names no data is somebody else's file.

    Raises:
        Corrupt: if it is not readable as a manifest.
    """
    store, path = connect(url, options)
    try:
        content = read(store, f"{path}/{MANIFEST}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    with contextlib.suppress(ValueError):
        said = json.loads(content)
        if not (isinstance(said, dict) and {"kind", "data", "files"} <= said.keys()):
            return None
    try:
        return parse(content)
    except Corrupt as error:
        raise Corrupt(f"{url}/{MANIFEST}: {error}") from None


def read_object(url: str, options: Options, limit: int) -> bytes | None:
    """The content of the one object at ``url``, or None if there is none.

    Raises:
        Corrupt: if it has more than ``limit`` bytes.
    """
    store, path = connect(url, options)
    try:
        size = patiently(lambda: store.size(path))
        if size is not None and size > limit:
            raise Corrupt(f"{url} has more than {limit:,} bytes")
        return None if size is None else read(store, path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_object(url: str, content: bytes, options: Options) -> None:
    """Replace the one object at ``url`` at once."""
    store, path = connect(url, options)
    write(store, path, content)


def fetch(url: str, folder: Path, options: Options) -> tuple[Path, int]:
    """Bring an artifact, or any file or folder, into ``folder``; return its local path and size in bytes.

    A file keeps its name. A folder's content is put directly into ``folder``. If a new version is published meanwhile,
    that one is fetched.

    Raises:
        FileNotFoundError: if there is nothing at ``url``.
        Corrupt: if an artifact does not match its manifest.
    """
    store, path = connect(url, options)
    manifest = read_manifest(url, options)
    for _ in range(REPLACED_MEANWHILE):
        if manifest is None:
            return _fetch_plain(store, path, folder, url)
        try:
            download(store, f"{path}/{manifest['data']}", folder, manifest)
            break
        except Corrupt:
            present = read_manifest(url, options)
            if present is None or present["data"] == manifest["data"]:
                raise
            _remove_local(folder, manifest)
            manifest = present
    else:
        raise Corrupt(f"{url} is replaced faster than it can be read")
    local = folder / manifest["files"][0]["path"] if manifest["kind"] == "file" else folder
    return local, manifest["bytes"]


def _remove_local(folder: Path, manifest: Manifest) -> None:
    """Remove what was fetched of a version that is no more."""
    for file in manifest["files"]:
        local_path(folder, file["path"]).unlink(missing_ok=True)


def _fetch_plain(store: Store, path: str, folder: Path, url: str) -> tuple[Path, int]:
    try:
        size = patiently(lambda: store.size(path))
    except NoBucket:
        raise
    except FileNotFoundError:
        raise FileNotFoundError(f"there is nothing at {url}") from None
    if size is not None:
        name = path.rpartition("/")[2]
        download(store, path.rpartition("/")[0], folder, {"files": [{"path": name, "size": size}], "folders": []})
        return folder / name, size
    found = patiently(lambda: store.find(path))
    files = [{"path": name, "size": size} for name, size in found.items()]
    download(store, path, folder, {"files": files, "folders": []})
    return folder, sum(found.values())
