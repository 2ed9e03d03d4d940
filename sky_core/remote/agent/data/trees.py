"""Files and folders as manifests: what is there, how large, with which hash.

What a job leaves behind is described after hours of work, so no single entry may cost the rest: a link or a file that
cannot travel as it is travels as well as it can, with a warning.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .manifests import Corrupt, object_key
from .pieces import WHOLE, cut

UNFINISHED = ".tmp"  # a file or folder of this ending is being written and will be renamed
CHUNK = 1 << 20
PERMISSIONS = 0o777  # what travels of a mode: no set-user-id, set-group-id or sticky bit

Signature = Mapping[str, "tuple[int, int, int]"]
Warn = Callable[[str], None]


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


def walk(folder: Path, warn: Warn | None = None) -> list[str]:
    """Relative paths of all files and symbolic links, except unfinished ones and those in unfinished folders."""
    found = []
    unreadable = None if warn is None else lambda error: warn(f"{error.filename} left out: {error.strerror}")
    for parent, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not _unfinished(name)]
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        names = [*files, *links]
        found += [os.path.relpath(os.path.join(parent, name), folder) for name in names if not _unfinished(name)]
    return found


def _unfinished(name: str) -> bool:
    return name.endswith(UNFINISHED)


def describe(source: Path, warn: Warn = lambda text: None) -> dict[str, Any]:
    """The manifest of a file or a folder.

    ``{"kind": "file" | "folder", "bytes": total, "files": [{"path", "size", "sha256", "mode"} | {"path", "link"}],
    "folders": [empty ones]}``; a file is one entry with its own name as path. Large ones have ``pieces`` for a hash.

    Args:
        warn: Is told of each entry that is left out or does not travel as it is.

    Raises:
        FileNotFoundError: if there is nothing.
        OSError: if a single file cannot be read.
    """
    if source.is_file():
        files = [_file(source.parent, source.name, warn)]
        return {"kind": "file", "bytes": files[0]["size"], "files": files, "folders": []}
    if not source.is_dir():
        raise FileNotFoundError(f"there is nothing at {source}")
    entries = [_entry(source, path, warn) for path in sorted(walk(source, warn))]
    files = [entry for entry in entries if entry is not None]
    empty = [os.path.relpath(parent, source) for parent, folders, names in os.walk(source) if not folders and not names]
    folders = sorted(path for path in empty if path != os.curdir and not _unfinished(path))
    return {"kind": "folder", "bytes": sum(file.get("size", 0) for file in files), "files": files, "folders": folders}


def _entry(folder: Path, path: str, warn: Warn) -> dict[str, Any] | None:
    """What the manifest says of one file or link; None, after a warning, if it cannot travel."""
    local = folder / path
    try:
        if local.is_symlink():
            link = inner_link(folder, path)
            if link is not None:
                return {"path": path, "link": link}
            if not local.is_file():
                warn(f"the symbolic link {path} leads out of its folder (to {os.readlink(local)}) or nowhere: left out")
                return None
            warn(f"the symbolic link {path} leads out of its folder: the file it leads to takes its place")
        elif not stat.S_ISREG(local.lstat().st_mode):
            warn(f"{path} is neither a file, a folder nor a link: left out")
            return None
        return _file(folder, path, warn)
    except OSError as error:
        warn(f"{path} cannot be read: left out: {error.strerror}")
        return None


def inner_link(folder: Path, path: str) -> str | None:
    """Where the link at ``path`` leads, as seen from the link; None if that is outside of ``folder``, or a circle.

    What the link itself says is kept where it holds in any folder: neither absolute nor by way of other links.
    """
    local, home = folder / path, os.path.realpath(folder)
    with contextlib.suppress(FileNotFoundError):  # it may lead to what is not there yet
        try:
            local.stat()
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise
    target, end = os.readlink(local), os.path.realpath(local)
    if end != home and not end.startswith(home + os.sep):
        return None
    spoken = os.path.normpath(os.path.join(os.path.dirname(path), target))
    by_way = os.path.join(home, os.path.dirname(spoken)).rstrip(os.sep)
    holds = not os.path.isabs(target) and os.path.normpath(target) == target and os.path.realpath(by_way) == by_way
    inside = spoken.split(os.sep)[0] != os.pardir
    return target if holds and inside else os.path.relpath(end, os.path.realpath(local.parent))


def _file(folder: Path, path: str, warn: Warn) -> dict[str, Any]:
    local = folder / path
    mode = local.stat().st_mode
    if mode & ~PERMISSIONS & 0o7777:
        warn(f"{path}: its set-user-id, set-group-id or sticky bit does not travel")
    if not os.access(local, os.R_OK):
        with contextlib.suppress(OSError):  # our own, write-only: it can be had
            local.chmod(mode | stat.S_IRUSR)
    entry = {"path": path, **_content(local), "mode": mode & PERMISSIONS}
    key = object_key(path)
    return entry if key == path else {**entry, "key": key}


def _content(local: Path) -> dict[str, Any]:
    """What tells a file's content from any other: its size, and its hash or those of its pieces."""
    if local.stat().st_size > WHOLE:
        pieces = cut(local)
        return {"size": sum(piece["size"] for piece in pieces), "pieces": pieces}
    sha256, size = _hashed(local)
    return {"size": size, "sha256": sha256}


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    return _hashed(path)[0]


def _hashed(path: Path) -> tuple[str, int]:
    hasher, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK)
            if not chunk:
                return hasher.hexdigest(), size
            hasher.update(chunk)
            size += len(chunk)


def copy(source: Path, target: Path) -> None:
    """Copy a folder's files into a fresh folder ``target``, unfinished ones left out.

    Links into ``source`` lead into the copy.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True, ignore=_left_out)
    for path in walk(target):
        if (source / path).is_symlink() and (link := inner_link(source, path)) is not None:
            (target / path).unlink()
            (target / path).symlink_to(link)


def _left_out(folder: str, names: list[str]) -> list[str]:
    """What is not copied: unfinished files, and what is no file (reading a pipe would never end)."""
    return [name for name in names if _unfinished(name) or _is_special(os.path.join(folder, name))]


def _is_special(path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
    return False


def local_path(folder: Path, path: str) -> Path:
    """Where a manifest's entry lies below ``folder``.

    Raises:
        Corrupt: if the path leads out of the folder, by its words or through a link that lies there.
    """
    target = Path(os.path.normpath(folder / path))
    home = os.path.realpath(folder)
    parent = os.path.realpath(target.parent)
    if folder not in target.parents or not (parent == home or parent.startswith(home + os.sep)):
        raise Corrupt(f"the path {path!r} leads out of its folder")
    return target
