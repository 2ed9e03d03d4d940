"""Moving whole trees between a store and the disk: in parallel, each file checked, again after what may pass."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from ..manifests import Corrupt, Manifest, key_of
from ..trees import PERMISSIONS, digest, local_path
from .base import NOT_TRANSIENT, Store
from .ledger import Ledger

PARALLEL = 8
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
    """Send a manifest's files from ``folder`` to below ``prefix``, but for those that the ledger has."""

    def send(file: Manifest) -> None:
        path = f"{prefix}/{key_of(file)}"
        if ledger is None or not ledger.has(path, file):
            store.send(folder / file["path"], path)
            if ledger is not None:
                ledger.add(path, file)

    parallel(send, [file for file in manifest["files"] if "link" not in file])


def download(store: Store, prefix: str, folder: Path, manifest: Manifest) -> None:
    """Fetch a manifest's files from below ``prefix`` into ``folder``; check what the manifest tells of them.

    Raises:
        Corrupt: if a file is missing or differs from the manifest, or a path or link leads out of ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in manifest["folders"]:
        local_path(folder, path).mkdir(parents=True, exist_ok=True)
    for file in manifest["files"]:
        local_path(folder, file["path"]).parent.mkdir(parents=True, exist_ok=True)

    def fetch(file: Mapping[str, Any]) -> None:
        target = _free(folder, file["path"])
        try:
            store.fetch(f"{prefix}/{key_of(file)}", target, file["size"])
        except FileNotFoundError:
            raise Corrupt(f"{prefix}/{key_of(file)} is missing") from None
        if target.stat().st_size != file["size"] or ("sha256" in file and digest(target) != file["sha256"]):
            raise Corrupt(f"{prefix}/{key_of(file)} differs from what it should be")
        if "mode" in file:
            target.chmod(file["mode"] & PERMISSIONS)

    parallel(fetch, [file for file in manifest["files"] if "link" not in file])
    # Links last, so that no download goes through one.
    _make_links(folder, {file["path"]: file["link"] for file in manifest["files"] if "link" in file})


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
