"""Wheels made anew from what is installed on this host, for machines that have no way out.

An installed distribution's RECORD lists its files; zipped together they are a wheel again:
https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import sys
import threading
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from sky_sandbox.machines.pythons import cache

BY_THE_INSTALLER = frozenset({"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"})
INTERPRETER = re.compile(rb"#![^\n]*/python[0-9.]*\n")


def installed(name: str) -> metadata.Distribution | None:
    """A package as it is installed for this Python; None if it is not, or if its files lie elsewhere (editable)."""
    try:
        one = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    origin = json.loads(one.read_text("direct_url.json") or "{}")
    editable = origin.get("dir_info", {}).get("editable", False)
    return None if editable or one.read_text("RECORD") is None else one


def filename(one: metadata.Distribution) -> str:
    """What its wheel is called."""
    tags = re.findall(r"^Tag: (\S+)-(\S+)-(\S+?)\s*$", one.read_text("WHEEL") or "", re.MULTILINE)
    tag = "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True)) if tags else "py3-none-any"
    return f"{re.sub(r'[-_.]+', '_', one.metadata['Name'])}-{one.version}-{tag}.whl"


def packed(one: metadata.Distribution) -> Path:
    """Its wheel: the same bytes whenever it is made, and made once for what is installed."""
    digest = hashlib.sha256((one.read_text("RECORD") or "").encode()).hexdigest()[:12]
    kept = cache() / "wheels" / digest / filename(one)
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        new = kept.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        _pack(one, new)
        new.replace(kept)
    return kept


def _pack(one: metadata.Distribution, target: Path) -> None:
    record, about = io.StringIO(), f"{re.sub(r'[-_.]+', '_', one.metadata['Name'])}-{one.version}"
    lines = csv.writer(record, lineterminator="\n")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        own = ""
        for member, local in _members(one, about):
            content = local.read_bytes()
            if member.startswith(f"{about}.data/scripts/"):
                content = INTERPRETER.sub(b"#!python\n", content, count=1) if content.startswith(b"#!") else content
            entry = zipfile.ZipInfo(member)  # of no date of its own
            entry.external_attr = local.stat().st_mode << 16
            archive.writestr(entry, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            lines.writerow([member, f"sha256={digest}", len(content)])
            if member.endswith(".dist-info/METADATA") and member.count("/") == 1:
                own = f"{member.split('/')[0]}/RECORD"
        lines.writerow([own, "", ""])
        archive.writestr(zipfile.ZipInfo(own), record.getvalue())


def _members(one: metadata.Distribution, about: str) -> Iterator[tuple[str, Path]]:
    """The files that go into its wheel, by their names there; without scripts that installing makes anew."""
    packages = Path(os.path.normpath(str(one.locate_file(""))))
    made = {entry.name for entry in one.entry_points if entry.group in ("console_scripts", "gui_scripts")}
    for file in one.files or ():
        local = Path(os.path.normpath(packages / file))
        if "__pycache__" in file.parts or not local.is_file():
            continue
        if local.is_relative_to(packages):
            if not (file.name in BY_THE_INSTALLER and file.parts[0].endswith(".dist-info")):
                yield file.as_posix(), local
        elif local.is_relative_to(sys.prefix):
            inside = local.relative_to(sys.prefix)
            if inside.parts[0] != "bin":
                yield f"{about}.data/data/{inside.as_posix()}", local
            elif inside.name not in made:
                yield f"{about}.data/scripts/{inside.name}", local
