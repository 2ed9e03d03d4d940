"""What a manifest may say, checked before a byte of it is believed: any machine may have written it.

A file's object is called as the file, except for names that one of the stores cannot hold or would change (control
characters, bytes that are not UTF-8, ``?``, ``%``, a dot at the end, great length). Those are percent-encoded, and the
manifest's entry has the object's name as ``key``. A large file is in :mod:`.pieces`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

LONGEST_KEY = 512  # bytes; every store takes 1,024, and the artifact's own URL needs some of them
MEANT_BY_STORES = "%?#\\*"
SHA256 = re.compile(r"[0-9a-f]{64}")
SIBLING = re.compile(r"\d{6}-\d{8}")  # a generation's folder

Manifest = Mapping[str, Any]


class Corrupt(Exception):
    """Stored data does not match its manifest, or the manifest asks for what none of ours would."""


def object_key(path: str) -> str:
    """The name of a file's object, below the artifact's data: different paths have different keys."""
    segments = path.split("/")
    ends_badly = any(segment[-1:] in (".", " ") for segment in segments)
    if path.isprintable() and not ends_badly and not set(MEANT_BY_STORES) & set(path):
        key = path
    else:
        key = re.sub(r"\.(?=/|$)", "%2E", quote(os.fsencode(path), safe="/"))
    if len(key.encode()) > LONGEST_KEY:
        return f"%long/{hashlib.sha256(os.fsencode(path)).hexdigest()}"
    return key


def key_of(file: Manifest) -> str:
    """The name of the object that holds an entry's content."""
    key: str = file.get("key", file["path"])
    return key


def parse(content: bytes) -> Manifest:
    """A manifest whose paths, links, sizes and modes are such that they can be followed.

    Raises:
        Corrupt: if it is not JSON, or not such a manifest.
    """
    try:
        said = json.loads(content)
    except ValueError:
        raise Corrupt("the manifest is not JSON") from None
    try:
        _check(said)
    except (KeyError, TypeError, AttributeError) as error:
        raise Corrupt(f"the manifest is not one of ours: {type(error).__name__}: {error}") from None
    checked: Manifest = said
    return checked


def _check(said: Any) -> None:
    _demand(said["kind"] in ("file", "folder"), "it has an unknown kind")
    _demand(_is_size(said["bytes"]), "its size is no size")
    _demand("data" not in said or _is_inside(said["data"]), f"its data {said.get('data')!r} leads out of its folder")
    _demand(said["kind"] == "folder" or [*map(_is_file, said["files"])] == [True], "it is of one file and has not one")
    for path in said["folders"]:
        _demand(_is_inside(path), f"the path {path!r} leads out of its folder")
    for file in said["files"]:
        _check_entry(file)
    paths = [*said["folders"], *(file["path"] for file in said["files"])]
    taken = {file["path"] for file in said["files"]}
    _demand(len(paths) == len(set(paths)), "it names a path twice")
    for path in paths:
        parents = path.split("/")[:-1]
        _demand(
            not any("/".join(parents[: n + 1]) in taken for n in range(len(parents))),
            f"the path {path!r} leads through a file or a link",
        )


def _check_entry(file: Manifest) -> None:
    path = file["path"]
    _demand(_is_inside(path), f"the path {path!r} leads out of its folder")
    if "link" in file:
        target = os.path.normpath(os.path.join(os.path.dirname(path), file["link"]))
        inside = target == os.curdir or _is_inside(target)
        _demand(inside and "\0" not in file["link"], f"the link {path!r} leads out of its folder")
        return
    _demand(_is_inside(key_of(file)), f"the object of {path!r} leads out of its folder")
    _demand(_is_size(file["size"]), f"the size of {path!r} is no size")
    _demand("sha256" not in file or bool(SHA256.fullmatch(file["sha256"])), f"the hash of {path!r} is no hash")
    pieces = file.get("pieces", [])
    _demand(
        all(_is_size(one["size"]) and SHA256.fullmatch(one["sha256"]) for one in pieces), f"{path!r} is in no pieces"
    )
    _demand("pieces" not in file or sum(one["size"] for one in pieces) == file["size"], f"{path!r} lacks a piece")
    beside = [one["in"] for one in [file, *pieces] if "in" in one]
    _demand(all(SIBLING.fullmatch(one) for one in beside), f"the object of {path!r} leads out of its folder")
    _demand("mode" not in file or _is_size(file["mode"]), f"the mode of {path!r} is no mode")


def _is_file(file: Manifest) -> bool:
    return "link" not in file


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_inside(path: str) -> bool:
    """Whether a relative path stays in its folder, by its own words."""
    segments = path.split("/")
    return "\0" not in path and not any(segment in ("", ".", "..") for segment in segments)


def _demand(condition: bool, complaint: str) -> None:
    if not condition:
        raise Corrupt(complaint)
