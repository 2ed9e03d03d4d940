"""Checkpoints in an object store, by generation; one that was not uploaded whole is never restored.

Below the checkpoint's URL: ``data/<name>/…`` holds a generation's files, ``generations/<name>.json`` its manifest
with every file's hash, written when all files are there, and ``latest.json`` says which is the newest and how large
(for planning a move; restoring reads the manifests). Names sort by attempt, then by number: what a machine believed
lost still uploads comes behind what its successor has saved.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .manifests import Corrupt, Manifest, parse
from .pieces import borrowed, sharing
from .stores import Ledger, Options, Store, connect, download, names, patiently, read, remove, upload, write
from .trees import Warn, describe

ENDING = ".json"


@dataclass(frozen=True, order=True)
class Generation:
    """The name of a generation: the ``number``-th of the job, saved by its ``attempt``-th attempt."""

    attempt: int
    number: int

    def __str__(self) -> str:
        return f"{self.attempt:06}-{self.number:08}"

    @classmethod
    def parse(cls, name: str) -> Generation:
        """The inverse of ``str``.

        Raises:
            ValueError: for other names.
        """
        attempt, number = name.split("-")
        return cls(int(attempt), int(number))


@dataclass(frozen=True)
class Restored:
    """What :func:`restore` found. ``generation`` is None when there was no whole checkpoint."""

    generation: Generation | None = None
    size: int = 0
    skipped: tuple[str, ...] = ()


def save(
    folder: Path,
    url: str,
    generation: Generation,
    keep: int,
    options: Options,
    warn: Warn = lambda text: None,
    ledger: Ledger | None = None,
) -> int:
    """Upload a folder as a generation, then remove all but the newest ``keep``; return its size in bytes.

    What the attempt's generation before has of large files is not sent again. Another attempt's is: a machine that was
    believed lost, and is not, may remove its own generations at any time.

    Args:
        warn: Is told of each entry that is left out or does not travel as it is.
        ledger: What of this generation has arrived before; closed when all has.
    """
    manifest: Manifest = describe(folder, warn)
    store, path = connect(url, options)
    whole = _listed(store, path)
    before = [one for one in whole if one.attempt == generation.attempt and one < generation][:1]
    with contextlib.suppress(Corrupt, FileNotFoundError):
        for one in before:
            manifest = sharing(manifest, _read(store, path, one), str(one))
    upload(store, folder, f"{path}/data/{generation}", manifest, ledger)
    write(store, f"{path}/generations/{generation}{ENDING}", json.dumps(manifest).encode())
    if ledger is not None:
        ledger.close()
    size: int = manifest["bytes"]
    latest = {"attempt": generation.attempt, "generation": generation.number, "bytes": size}
    write(store, f"{path}/latest.json", json.dumps(latest).encode())
    _prune(store, path, generation, keep)
    return size


def _prune(store: Store, path: str, newest: Generation, keep: int) -> None:
    """Remove old generations, manifest first, and what unfinished uploads before ``newest`` left."""
    whole = _listed(store, path)
    kept = {generation for generation in whole if generation >= newest} | set(whole[:keep])
    for generation in whole:
        if generation not in kept:
            remove(store, f"{path}/generations/{generation}{ENDING}")
    try:
        needed = borrowed([_read(store, path, generation) for generation in kept])
    except (Corrupt, FileNotFoundError):
        return  # what cannot be read may need any of it
    for name in names(store, f"{path}/data"):
        with contextlib.suppress(ValueError):
            generation = Generation.parse(name)
            if generation < newest and generation not in kept:
                _clear(store, f"{path}/data/{name}", needed.get(name, set()))


def _clear(store: Store, path: str, needed: set[str]) -> None:
    """Remove a generation's objects but for those that later ones need."""
    if not needed:
        remove(store, path)
        return
    found = patiently(lambda: store.find(path))
    patiently(lambda: store.delete([f"{path}/{key}" for key in found if key not in needed]))


def _read(store: Store, path: str, generation: Generation) -> Manifest:
    """A generation's manifest.

    Raises:
        Corrupt, FileNotFoundError: if it is none of ours, or not there any more.
    """
    return parse(read(store, f"{path}/generations/{generation}{ENDING}"))


def restore(folder: Path, urls: Sequence[str], options: Options) -> Restored:
    """Bring the newest whole generation of all these URLs into ``folder``, which is replaced.

    A generation that does not match its manifest is skipped; the next older one is tried.
    """
    found: list[tuple[Generation, str]] = []
    for url in dict.fromkeys(urls):
        store, path = connect(url, options)
        found += [(generation, url) for generation in _listed(store, path)]
    skipped = []
    for generation, url in sorted(found, reverse=True):
        try:
            size = _fetch(folder, url, generation, options)
        except (Corrupt, FileNotFoundError) as error:
            skipped.append(f"generation {generation.number} of attempt {generation.attempt}: {error}")
        else:
            return Restored(generation, size, tuple(skipped))
    return Restored(skipped=tuple(skipped))


def _fetch(folder: Path, url: str, generation: Generation, options: Options) -> int:
    store, path = connect(url, options)
    manifest = _read(store, path, generation)
    fresh = folder.with_name(folder.name + ".restoring")
    shutil.rmtree(fresh, ignore_errors=True)
    download(store, f"{path}/data/{generation}", fresh, manifest)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    size: int = manifest["bytes"]
    return size


def _listed(store: Store, path: str) -> list[Generation]:
    """The generations that have a manifest, newest first."""
    found = []
    for name in names(store, f"{path}/generations"):
        if name.endswith(ENDING):
            with contextlib.suppress(ValueError):
                found.append(Generation.parse(name[: -len(ENDING)]))
    return sorted(found, reverse=True)
