"""Files and folders as manifests: what is there, how large, with which hash."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

UNFINISHED = ".tmp"  # a file or folder of this ending is being written and will be renamed
CHUNK = 1 << 20

Signature = Mapping[str, "tuple[int, int, int]"]
Manifest = Mapping[str, Any]


class Corrupt(Exception):
    """Stored data does not match its manifest."""


def signature(folder: Path) -> Signature:
    """Size, modification time (ns) and inode of every file: equal when nothing was written in between."""
    found = {}
    for path in sorted(walk(folder)):
        try:
            about = (folder / path).lstat()
        except FileNotFoundError:
            continue  # removed while we look: the next signature will differ
        found[path] = (about.st_size, about.st_mtime_ns, about.st_ino)
    return found


def walk(folder: Path) -> list[str]:
    """Relative paths of all files and symbolic links, except unfinished ones and those in unfinished folders."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _unfinished(name)]
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        names = [*files, *links]
        found += [os.path.relpath(os.path.join(parent, name), folder) for name in names if not _unfinished(name)]
    return found


def _unfinished(name: str) -> bool:
    return name.endswith(UNFINISHED)


def describe(source: Path) -> dict[str, Any]:
    """The manifest of a file or a folder.

    ``{"kind": "file" | "folder", "bytes": total, "files": [{"path", "size", "sha256", "mode"} | {"path", "link"}],
    "folders": [empty ones]}``; a file is one entry with its own name as path.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if a symbolic link leads out of the folder.
    """
    if source.is_file():
        files = [_entry(source.parent, source.name)]
        return {"kind": "file", "bytes": files[0]["size"], "files": files, "folders": []}
    if not source.is_dir():
        raise FileNotFoundError(f"there is nothing at {source}")
    files = [_entry(source, path) for path in sorted(walk(source))]
    empty = [os.path.relpath(parent, source) for parent, folders, names in os.walk(source) if not folders and not names]
    folders = sorted(path for path in empty if path != os.curdir and not _unfinished(path))
    return {"kind": "folder", "bytes": sum(file.get("size", 0) for file in files), "files": files, "folders": folders}


def _entry(folder: Path, path: str) -> dict[str, Any]:
    local = folder / path
    if local.is_symlink():
        inside = os.path.realpath(folder) + os.sep
        if not os.path.realpath(local).startswith(inside) or os.path.isabs(os.readlink(local)):
            raise ValueError(f"the symbolic link {path} leads out of its folder")
        return {"path": path, "link": os.readlink(local)}
    about = local.stat()
    return {"path": path, "size": about.st_size, "sha256": digest(local), "mode": about.st_mode & 0o777}


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK)
            if not chunk:
                return hasher.hexdigest()
            hasher.update(chunk)


def copy(source: Path, target: Path) -> None:
    """Copy a folder's files into a fresh folder ``target``, unfinished ones left out."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("*" + UNFINISHED))


def local_path(folder: Path, path: str) -> Path:
    """Where a manifest's entry lies below ``folder``.

    Raises:
        Corrupt: if the path leads out of the folder.
    """
    target = Path(os.path.normpath(folder / path))
    if folder not in target.parents:
        raise Corrupt(f"the path {path!r} leads out of its folder")
    return target
