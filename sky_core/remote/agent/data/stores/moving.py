"""Moving whole trees between a store and the disk: in parallel, each file checked, again after what may pass."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ..manifests import Corrupt, Manifest
from ..pieces import Load, loads
from ..trees import PERMISSIONS, digest, local_path
from .base import NOT_TRANSIENT, Store
from .ledger import Ledger

PARALLEL = 8
PIECES_AT_ONCE = threading.BoundedSemaphore(5)  # each takes its size twice in memory, and is sent again if cut off
TRIES = 4

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def parallel(work: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Do the work for all items, several at a time; the first error is raised after the rest has ended."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(lambda item: patiently(lambda: work(item)), items))


def patiently(call: Callable[[], Answer]) -> Answer:
    """Call again after an error that may pass, a few times, ever later."""
    for number in range(TRIES):
        try:
            return call()
        except NOT_TRANSIENT:
            raise
        except Exception:
            if number == TRIES - 1:
                raise
            time.sleep(0.5 * 2**number)
    raise AssertionError("not reached")


def upload(store: Store, folder: Path, prefix: str, manifest: Manifest, ledger: Ledger | None = None) -> None:
    """Send a manifest's files from ``folder`` to below ``prefix``, but for what the ledger has."""

    def send(load: Load) -> None:
        if ledger is not None and ledger.has(load.path, load.about):
            return
        file = folder / load.file["path"]
        if load.start is None:
            store.send(file, load.path)
        else:
            with PIECES_AT_ONCE:
                store.write(load.path, _part(file, load.start, load.about["size"]))
        if ledger is not None:
            ledger.add(load.path, load.about)

    once = {load.path: load for load in loads(prefix, manifest) if not load.shared}
    parallel(send, once.values())


def download(store: Store, prefix: str, folder: Path, manifest: Manifest) -> None:
    """Fetch a manifest's files from below ``prefix`` into ``folder``; check what the manifest tells of them.

    What an earlier call has left there, and is as it should be, is not fetched again.

    Raises:
        Corrupt: if a file is missing or differs from the manifest, or a path or link leads out of ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in manifest["folders"]:
        local_path(folder, path).mkdir(parents=True, exist_ok=True)
    for file in manifest["files"]:
        local_path(folder, file["path"]).parent.mkdir(parents=True, exist_ok=True)
        if "pieces" in file:
            with _free(folder, file["path"]).open("ab") as target:
                target.truncate(file["size"])

    def fetch(load: Load) -> None:
        target = _free(folder, load.file["path"])
        if _is_there(target, load):
            return
        try:
            if load.start is not None:
                with PIECES_AT_ONCE:
                    _place(target, load, store.read(load.path))
                return
            store.fetch(load.path, target, load.about["size"])
        except FileNotFoundError:
            raise Corrupt(f"{load.path} is missing") from None
        about = load.about
        if target.stat().st_size != about["size"] or ("sha256" in about and digest(target) != about["sha256"]):
            raise _differing(load)

    parallel(fetch, loads(prefix, manifest))
    for file in manifest["files"]:
        if "mode" in file:
            local_path(folder, file["path"]).chmod(file["mode"] & PERMISSIONS)
    # Links last, so that no download goes through one.
    _make_links(folder, {file["path"]: file["link"] for file in manifest["files"] if "link" in file})


def _is_there(target: Path, load: Load) -> bool:
    """Whether the disk has what the object would bring."""
    wanted: str | None = load.about.get("sha256")
    size: int = load.about["size"]
    if wanted is None or not target.is_file() or not os.access(target, os.R_OK):
        return False
    about = target.stat()
    if load.start is None:
        return about.st_size == size and digest(target) == wanted
    written = about.st_blocks * 512 > load.start  # else nothing can have been written there in turn: spare the reading
    return written and _sha256(_part(target, load.start, size)) == wanted


def _place(target: Path, load: Load, content: bytes) -> None:
    """Write a piece where it belongs, once it is known to be right."""
    if len(content) != load.about["size"] or _sha256(content) != load.about["sha256"]:
        raise _differing(load)
    with target.open("r+b") as file:
        os.pwrite(file.fileno(), content, load.start or 0)


def _part(file: Path, start: int, size: int) -> bytes:
    with file.open("rb") as source:
        source.seek(start)
        return source.read(size)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _differing(load: Load) -> Corrupt:
    return Corrupt(f"{load.path} differs from what it should be")


def _make_links(folder: Path, links: Mapping[str, str]) -> None:
    """Make links that lead to where they say, and nowhere else by way of each other."""
    made = []
    for path, target in links.items():
        link = _free(folder, path)
        link.symlink_to(target)
        made.append(link)
    home = os.path.realpath(folder)
    outside = [link for link in made if os.path.commonpath([home, os.path.realpath(link)]) != home]
    for link in outside:
        link.unlink()
    if outside:
        raise Corrupt(f"the link {outside[0].name!r} leads out of its folder by way of another")


def _free(folder: Path, path: str) -> Path:
    """Where an entry goes; a link that an earlier fetch has left there is removed, lest it be written through."""
    target = local_path(folder, path)
    if target.is_symlink():
        target.unlink()
    return target


def read(store: Store, path: str) -> bytes:
    """A small object's content."""
    return patiently(lambda: store.read(path))


def write(store: Store, path: str, content: bytes) -> None:
    """Write a small object at once: a reader sees all of it or none."""
    patiently(lambda: store.write(path, content))


def names(store: Store, path: str) -> list[str]:
    """Names of what lies directly below ``path``; none if there is no such folder."""
    try:
        return patiently(lambda: store.names(path))
    except FileNotFoundError:
        return []


def remove(store: Store, path: str) -> None:
    """Delete whatever lies at or below ``path``."""
    patiently(lambda: store.remove(path))
