"""A package index for machines that have no way out: wheels made anew from what is installed on this host.

An installed distribution's RECORD lists its files; zipped together they are a wheel again (PEP 427).
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from sky_sandbox.machines.pythons import cache

ROOTS = ("obstore", "fsspec", "s3fs", "gcsfs", "adlfs")  # what moves data; of these, those that are installed here


def wheels(roots: Iterable[str] = ROOTS) -> Path:
    """A folder with a wheel of each of these packages, and of all that they need, in the versions of this host."""
    needed = _closure(roots)
    versions = sorted(f"{name}=={one.version}" for name, one in needed.items())
    digest = hashlib.sha256("\n".join([sys.version, *versions]).encode()).hexdigest()[:12]
    folder = cache() / f"wheels-{digest}"
    if not folder.exists():
        new = folder.with_name(f"{folder.name}.{os.getpid()}")
        new.mkdir(parents=True)
        for one in needed.values():
            _pack(one, new)
        if not folder.exists():
            new.rename(folder)
    return folder


def _closure(roots: Iterable[str]) -> dict[str, metadata.Distribution]:
    """These packages and all that they need, as installed, by normalized name."""
    found: dict[str, metadata.Distribution] = {}
    left, seen = [Requirement(root) for root in roots], set()
    while left:
        wanted = left.pop()
        name = _normal(wanted.name)
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # a cloud that is not used here, or an extra
            continue
        extras = ("", "async", *wanted.extras)
        for line in found[name].requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                left.append(needed)
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pack(one: metadata.Distribution, folder: Path) -> None:
    told = one.read_text("WHEEL") or ""
    tags = re.findall(r"^Tag: (\S+)-(\S+)-(\S+)$", told, re.MULTILINE)
    tag = "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True)) if tags else "py3-none-any"
    name = re.sub(r"[-_.]+", "_", one.metadata["Name"])
    with zipfile.ZipFile(folder / f"{name}-{one.version}-{tag}.whl", "w", zipfile.ZIP_STORED) as archive:
        for file in one.files or ():
            inside = not file.parts[0].startswith("..") and "__pycache__" not in file.parts
            local = Path(str(one.locate_file(file)))
            if inside and local.is_file() and file.name not in ("INSTALLER", "REQUESTED", "direct_url.json"):
                archive.write(local, str(file))
