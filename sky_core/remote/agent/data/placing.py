"""Putting a file or folder at a path of the machine that the user names."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

WITH_SUDO = """
mkdir -p -- "$(dirname -- "$2")" && { test -L "$2" || test ! -d "$2" || rmdir -- "$2"; } && ln -sfn -- "$1" "$2"
"""


class Unplaced(Exception):
    """A path of the user's cannot be given what belongs there."""


def put(path: str, source: Path, work: Path, *, merge: bool) -> None:
    """Make ``path`` a link to ``source``; a relative one starts at ``work``, ``~`` is the user's home.

    Where a folder with something in it is in the way, ``source``'s content joins it if ``merge``. Where the user may
    not write, it is tried with sudo.

    Raises:
        Unplaced: if it cannot be done.
    """
    target = Path(os.path.normpath(work / Path(path).expanduser()))
    try:
        if target.is_dir() and not target.is_symlink() and any(target.iterdir()):
            if not (merge and source.is_dir()):
                raise Unplaced(f"file_mounts.{path}: there is a folder on this machine that is not empty")
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() and not target.is_symlink():
            target.rmdir()
        link(target, source)
    except PermissionError as error:
        command = ["sudo", "-n", "sh", "-c", WITH_SUDO, "sh", str(source), str(target)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            raise Unplaced(f"file_mounts.{path}: {error.strerror}: choose a path below ~") from None
    except OSError as error:
        raise Unplaced(f"file_mounts.{path}: {error.strerror or error}") from None


def link(target: Path, source: Path) -> None:
    """Make ``target`` a link to ``source`` at once, in place of a file or link."""
    new = target.with_name(f"{target.name}.{os.getpid()}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(source)
    new.replace(target)
