"""The objects that hold a manifest's files: one each, and for a large file one for each piece of it.

A piece is named by its content, so that it is whole or not there, is sent once whatever goes wrong on the way, and
need not be sent again where the generation before has it: an entry or piece with ``in`` lies in that sibling's folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .manifests import Manifest, key_of

PIECE = 8 << 20  # bytes
WHOLE = 64 << 20  # bytes; a file of up to that is one object, which anybody can read
LEAST_SHARED = 1 << 20  # bytes; smaller ones are sent each time: no generation should hang on another for so little


@dataclass(frozen=True)
class Load:
    """One object: all of a file, or a piece of it.

    Attributes:
        path: Where the object lies in its store.
        shared: It is another generation's.
        start: Where it begins in the file, which has other pieces; None if it is all of it.
    """

    file: Manifest
    path: str
    about: Manifest
    shared: bool
    start: int | None = None


def loads(prefix: str, manifest: Manifest) -> Iterator[Load]:
    """The objects of a manifest's files, whose own lie below ``prefix``."""
    beside = prefix.rpartition("/")[0]
    for file in manifest["files"]:
        start = 0
        for piece in file.get("pieces", ()):
            where = f"{beside}/{piece['in']}" if "in" in piece else prefix
            yield Load(file, f"{where}/{piece_key(piece)}", piece, "in" in piece, start)
            start += piece["size"]
        if "pieces" not in file and "link" not in file:
            where = f"{beside}/{file['in']}" if "in" in file else prefix
            yield Load(file, f"{where}/{key_of(file)}", file, "in" in file)


def piece_key(piece: Manifest) -> str:
    """The name of a piece's object. No file's begins like that, see :func:`.manifests.object_key`."""
    return f"%pieces/{piece['sha256']}"


def cut(file: Path) -> list[dict[str, Any]]:
    """Size and hash of each piece of a file."""
    found: list[dict[str, Any]] = []
    with file.open("rb") as source:
        while True:
            content = source.read(PIECE)
            if not content:
                return found
            found.append({"size": len(content), "sha256": hashlib.sha256(content).hexdigest()})


def sharing(manifest: Manifest, before: Manifest, name: str) -> Manifest:
    """The manifest, with ``in`` wherever the one before, whose own objects lie in the folder ``name``, has the same."""
    there: dict[tuple[str, bool], Manifest] = {}
    for load in loads("", before):
        whole = load.start is None
        key = {"key": key_of(load.file)} if whole else {}
        there[load.about.get("sha256", ""), whole] = {"in": load.about.get("in", name), **key}

    def shared(about: Manifest, whole: bool) -> Manifest:
        large = about.get("size", 0) >= LEAST_SHARED
        found = there.get((about.get("sha256", "-"), whole)) if large else None
        return {**about, **found} if found else about

    files = [
        {**file, "pieces": [shared(piece, False) for piece in file["pieces"]]} if "pieces" in file
        else shared(file, True)
        for file in manifest["files"]
    ]  # fmt: skip
    return {**manifest, "files": files}


def borrowed(manifests: list[Manifest]) -> Mapping[str, set[str]]:
    """What these manifests have in the folders of others: names of objects, by folder."""
    found: dict[str, set[str]] = {}
    for manifest in manifests:
        for load in loads("", manifest):
            if load.shared:
                key = key_of(load.file) if load.start is None else piece_key(load.about)
                found.setdefault(load.about["in"], set()).add(key)
    return found
