"""Mounts on the side of the store: a bucket's folder brought here, and what was written here brought there.

A copy with write-back, not a mounted filesystem: it needs no FUSE, works on every image, and a job's reads and writes
have the speed of its disk. What is in the bucket lags behind by one interval, and by nothing once the job has ended.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .artifacts import fetch
from .manifests import object_key
from .stores import Options, connect, patiently, upload
from .trees import Warn

Known = Mapping[str, Sequence[int]]  # size, time of change (ns) and inode of each file that the bucket has as it is


def bring(url: str, folder: Path, options: Options) -> tuple[Path, int, Known]:
    """What lies at ``url``, in ``folder``; nothing there is well.

    Returns:
        Its local path, its bytes, and what :func:`send_back` needs to know.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        local, size = fetch(url, folder, options)
    except FileNotFoundError:
        return folder, 0, {}
    return local, size, signature(folder)


def send_back(folder: Path, url: str, known: Known, options: Options, warn: Warn) -> tuple[int, Known]:
    """Bring to ``url`` what has changed in ``folder``, and remove there what was removed here.

    Returns:
        Bytes sent, and what the bucket has now. A file that is written to meanwhile is sent again the next time.
    """
    found = signature(folder)
    changed = [path for path, about in found.items() if list(known.get(path, ())) != about]
    files = []
    for path in changed:
        key = object_key(path)
        if key != path:
            warn(f"{path} is called {key} in the bucket, which takes no such name")
        files.append({"path": path, "key": key})
    store, prefix = connect(url, options)
    if files:
        upload(store, folder, prefix, {"files": files})
    gone = [f"{prefix}/{object_key(path)}" for path in known.keys() - found.keys()]
    if gone:
        patiently(lambda: store.delete(gone))
    return sum(found[path][0] for path in changed), found


def signature(folder: Path) -> dict[str, list[int]]:
    """Size, time of change (ns) and inode of every file below a folder; links count as what they lead to."""
    found: dict[str, list[int]] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with contextlib.suppress(OSError):  # removed while we look, or a link to nothing
                about = os.stat(path)
                if os.path.isfile(path):
                    found[os.path.relpath(path, folder)] = [about.st_size, about.st_mtime_ns, about.st_ino]
    return found


def answer(request: dict[str, Any], options: Options) -> Any:
    """Serve a request of the supervisor's, see :mod:`.transfer`."""
    folder, url = Path(request["folder"]), request["url"]
    if request["do"] == "bring":
        local, size, known = bring(url, folder, options)
        return {"path": str(local), "bytes": size, "known": known}
    warnings: list[str] = []
    size, known = send_back(folder, url, request["known"], options, warnings.append)
    return {"bytes": size, "known": known, "warnings": warnings}
