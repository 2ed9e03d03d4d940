"""The user's folder as an archive, the same bytes for the same content: sent once, recognized by its hash."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sky_core.errors import SpecError, TransferError

TIME = 315532800  # 1980-01-01: archives differ only where contents do, and zip files can hold it
EXCLUDED = {".git", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache"}


@dataclass(frozen=True)
class Archive:
    """A packed folder that lies elsewhere.

    Attributes:
        digest: SHA-256 of its content.
        pieces: Its content, piece by piece.
    """

    digest: str
    pieces: Callable[[], Iterator[bytes]]

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Its content as a file that is gone after the block.

        Raises:
            TransferError: if it is not what was packed.
        """
        with tempfile.TemporaryFile() as file:
            file.writelines(self.pieces())
            file.seek(0)
            if hashlib.file_digest(file, "sha256").hexdigest() != self.digest:
                raise TransferError(f"the packed workdir {self.digest[:12]} is damaged")
            yield file


@contextlib.contextmanager
def packed(workdir: str) -> Iterator[tuple[str, BinaryIO]]:
    """SHA-256 and content of the archive of a folder; the file is gone after the block.

    Raises:
        SpecError: if there is no such folder.
    """
    folder = Path(workdir).expanduser()
    if not folder.is_dir():
        raise SpecError(f"Task.workdir: {workdir!r} is not a folder on this machine")
    with tempfile.TemporaryFile() as file:
        with (
            gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0, filename="") as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for path in sorted(_files(folder)):
                archive.add(folder / path, path, recursive=False, filter=_neutral)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        yield digest, file


def _neutral(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = TIME
    return entry


def _files(folder: Path) -> list[str]:
    """What git would commit (.gitignore heeded, new files included); without git, all but caches and ``.git``."""
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return _walk(folder)
    names = {os.fsdecode(name) for name in listed.split(b"\0") if name}
    found = [name for name in names if (folder / name).is_symlink() or (folder / name).is_file()]
    return found or _walk(folder)  # git lists nothing of a folder that it ignores as a whole


def _walk(folder: Path) -> list[str]:
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in EXCLUDED]
        found += [os.path.relpath(os.path.join(parent, name), folder) for name in files]
    return found
