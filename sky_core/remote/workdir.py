"""The user's folder as an archive, the same bytes for the same content: sent once, recognized by its hash."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from sky_core.errors import SpecError, TransferError
from sky_core.remote.listing import Entry, entries

TIME = 315532800  # 1980-01-01: archives differ only where contents do, and zip files can hold it


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


class Apart:
    """An open file's content from its beginning on, whoever else reads from that file meanwhile."""

    def __init__(self, file: BinaryIO) -> None:
        self._number, self._at = file.fileno(), 0

    def read(self, size: int) -> bytes:
        """The next piece; b"" at the end."""
        piece = os.pread(self._number, size, self._at)
        self._at += len(piece)
        return piece


@contextlib.contextmanager
def packed(workdir: str) -> Iterator[tuple[str, BinaryIO]]:
    """SHA-256 and content of the archive of a folder; the file is gone after the block.

    Raises:
        SpecError: if there is no such folder.
    """
    folder = Path(workdir).expanduser()
    if not folder.is_dir():
        raise SpecError(f"Task.workdir: {workdir!r} is not a folder on this machine")
    with _archive(entries(folder)) as archive:
        yield archive


@contextlib.contextmanager
def packed_sources(sources: Sequence[Path]) -> Iterator[tuple[str, BinaryIO]]:
    """The same of several files and folders, each under its number in the sequence."""
    found = []
    for number, source in enumerate(sources):
        if source.is_dir():
            found.append(Entry(str(number), source))
            found += [replace(entry, path=f"{number}/{entry.path}") for entry in entries(source)]
        else:
            found.append(Entry(str(number), Path(os.path.realpath(source))))
    with _archive(found) as archive:
        yield archive


@contextlib.contextmanager
def _archive(found: Sequence[Entry]) -> Iterator[tuple[str, BinaryIO]]:
    with tempfile.TemporaryFile() as file:
        with (
            gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0, filename="") as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for entry in found:
                _add(archive, entry)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        yield digest, file


def _add(archive: tarfile.TarFile, entry: Entry) -> None:
    about = _neutral(archive.gettarinfo(entry.source, entry.path))
    if entry.link:
        about.type, about.linkname, about.size = tarfile.SYMTYPE, entry.link, 0
    elif about.islnk():  # another name of a file that is sent as well: sent by itself, whatever comes first
        about.type, about.linkname, about.size = tarfile.REGTYPE, "", entry.source.stat().st_size
    if about.isreg():
        with entry.source.open("rb") as content:
            archive.addfile(about, content)
    else:
        archive.addfile(about)


def _neutral(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = TIME
    return entry
