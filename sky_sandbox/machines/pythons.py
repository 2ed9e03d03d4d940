"""Interpreters that machines are given, made of those on this host: what an image's ``python3`` is, and what can be
fetched from the sandbox's mirror.

A copy has the standard library and nothing of the host's site-packages. Copies are kept in the user's cache folder.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MINORS = range(7, 20)  # 3.7 is what Amazon Linux 2 has
TELL = "import sys; print('%d.%d.%d' % sys.version_info[:3], sys.base_prefix)"
# Where others keep interpreters: pyenv, uv, the runners of GitHub.
FOLDERS = ("~/.pyenv/versions/3.*", "~/.local/share/uv/python/cpython-3.*", "/opt/hostedtoolcache/Python/3.*/x64")
LEFT_OUT = shutil.ignore_patterns(
    "site-packages", "dist-packages", "test", "tests", "idlelib", "turtledemo", "config-*", "*.opt-[12].pyc"
)
LIBRARY = b"$ORIGIN/../lib"
OLDEST_CALLER = 11


@dataclass(frozen=True)
class Interpreter:
    """One on this host. ``version`` as in "3.12.1"."""

    version: str
    prefix: Path

    @property
    def minor(self) -> int:
        return int(self.version.split(".")[1])


@functools.cache
def interpreters() -> Mapping[int, Interpreter]:
    """Those to be had on this host, by minor version; the one that runs this is always there."""
    paths = [Path(sys.executable), *(Path(p) for m in MINORS if (p := shutil.which(f"python3.{m}")))]
    for pattern in FOLDERS:
        root = Path(pattern).expanduser()
        paths += [folder / "bin" / "python3" for folder in sorted(root.parent.glob(root.name))]
    found: dict[int, Interpreter] = {}
    for path in dict.fromkeys(paths):
        one = _look(path)
        if one is not None:
            found.setdefault(one.minor, one)
    return found


def _look(path: Path) -> Interpreter | None:
    try:
        told = subprocess.run([str(path), "-S", "-c", TELL], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):  # a shim of something that is not installed
        return None
    version, prefix = told.strip().split(" ", 1)
    return Interpreter(version, Path(prefix))


def nearest(minor: int) -> Interpreter:
    """The interpreter of that version, or the one that stands in for it: the nearest older one, else the oldest."""
    there = interpreters()
    return there[max((one for one in there if one <= minor), default=min(there))]


def copied(minor: int, *, ensurepip: bool) -> Path:
    """Prefix of a copy of that interpreter, or of its stand-in: ``bin/python3.N`` and its library."""
    one = nearest(minor)
    target = cache() / "pythons" / (f"{one.version}" if ensurepip else f"{one.version}-without-ensurepip")
    if not target.exists():
        new = target.with_name(f"{target.name}.{os.getpid()}")
        _copy(one, new, ensurepip=ensurepip)
        try:
            new.rename(target)
        except OSError:  # another sandbox has made it meanwhile
            shutil.rmtree(new)
    return target


def cache() -> Path:
    """Where copies are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skyloom" / "sandbox"


def _copy(one: Interpreter, target: Path, *, ensurepip: bool) -> None:
    name = f"python3.{one.minor}"
    library = target / "lib" / name
    shutil.copytree(one.prefix / "lib" / name, library, symlinks=False, ignore=LEFT_OUT, ignore_dangling_symlinks=True)
    (library / "site-packages").mkdir()
    if not ensurepip:
        shutil.rmtree(library / "ensurepip", ignore_errors=True)
    for shared in (one.prefix / "lib").glob(f"libpython3.{one.minor}*.so.*"):
        shutil.copy2(shared, target / "lib")
    (target / "bin").mkdir()
    program = (one.prefix / "bin" / name).resolve().read_bytes()
    # It may look for its shared library by an absolute path, which the machine has not.
    before = os.fsencode(one.prefix / "lib") + b"\0"
    if len(before) > len(LIBRARY):
        program = program.replace(before, LIBRARY.ljust(len(before), b"\0"))
    (target / "bin" / name).write_bytes(program)
    (target / "bin" / name).chmod(0o755)
    for link in ("python3", "python"):
        (target / "bin" / link).symlink_to(name)


def mirror() -> Path:
    """A list of builds, as uv reads it, with an archive of each interpreter that a caller may have.

    The format is that of uv's own list of downloads: https://docs.astral.sh/uv/reference/environment/
    """
    folder = cache() / "mirror"
    folder.mkdir(parents=True, exist_ok=True)
    system = {"Linux": "linux", "Darwin": "darwin"}[platform.system()]
    family = {"x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}[platform.machine()]
    libc = "gnu" if system == "linux" else "none"
    builds = {}
    for one in interpreters().values():
        if one.minor < OLDEST_CALLER:
            continue
        archive = folder / f"cpython-{one.version}.tar"
        if not archive.exists():
            new = archive.with_suffix(f".{os.getpid()}")
            with tarfile.open(new, "w") as file:
                file.add(copied(one.minor, ensurepip=True), "python")
            new.replace(archive)
        major, minor, patch = map(int, one.version.split("."))
        builds[f"cpython-{one.version}-{system}-{family}-{libc}"] = {
            "name": "cpython", "arch": {"family": family, "variant": None}, "os": system, "libc": libc,
            "major": major, "minor": minor, "patch": patch, "prerelease": "", "url": archive.as_uri(),
            "sha256": None, "variant": None, "build": "sandbox",
        }  # fmt: skip
    listing = folder / "builds.json"
    new = listing.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(builds, indent=1))
    new.replace(listing)
    return listing
