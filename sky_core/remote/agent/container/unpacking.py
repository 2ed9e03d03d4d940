"""An image's layers as one folder, the upper over the lower, as the OCI image specification has it.

https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md

The work is done with the folder as the root of the file system: whatever links and names a layer has, they lead nowhere
else. Owners are kept where we may give files away; devices are passed over.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 - what is imported later would be looked for in the image
import gzip
import lzma  # noqa: F401
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from .namespace import alone

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
MODES = 0o7777


def unpack(layers: Iterable[tuple[Path, str]], folder: Path) -> None:
    """Unpack layers into a new folder; to be called in a process that does nothing else and ends afterwards.

    Raises:
        OSError, tarfile.TarError: if that cannot be done.
    """
    folder.mkdir(parents=True)
    opened = [_opened(file, kind) for file, kind in layers]
    alone()
    os.chroot(folder)
    os.chdir("/")
    os.umask(0)
    for file in opened:
        with file, tarfile.open(fileobj=file, mode="r|") as archive:
            _layer(archive)


def _opened(file: Path, kind: str) -> IO[bytes]:
    if kind.endswith("gzip"):
        return gzip.open(file)  # type: ignore[return-value]
    if kind.endswith("zstd"):
        plain = tempfile.TemporaryFile()  # noqa: SIM115 - closed by who unpacks it
        subprocess.run(["zstd", "-dcq", str(file)], stdout=plain, check=True)
        plain.seek(0)
        return plain
    return file.open("rb")


def _layer(archive: tarfile.TarFile) -> None:
    written: set[str] = set()
    for entry in archive:
        path = os.path.normpath(f"/{entry.name}")
        parent, name = os.path.split(path)
        if name == OPAQUE:
            _clear(parent, written)
        elif name.startswith(WHITEOUT):
            _remove(os.path.join(parent, name[len(WHITEOUT) :]))
        elif path != "/":
            os.makedirs(parent, exist_ok=True)
            with contextlib.suppress(PermissionError):  # a device, which only the machine's root may make
                _write(archive, entry, path)
            written.add(path)


def _clear(folder: str, written: set[str]) -> None:
    """Remove what lower layers have put into a folder."""
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if path not in written:
                _remove(path)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: str) -> None:
    if not (entry.isdir() and os.path.isdir(path) and not os.path.islink(path)):
        _remove(path)
    if entry.isdir():
        os.makedirs(path, exist_ok=True)
    elif entry.issym():
        os.symlink(entry.linkname, path)
    elif entry.islnk():
        os.link(os.path.normpath(f"/{entry.linkname}"), path, follow_symlinks=False)
        return
    elif entry.isreg():
        with open(path, "wb") as file:
            content = archive.extractfile(entry)
            assert content is not None
            shutil.copyfileobj(content, file, 1 << 20)
    elif entry.isfifo():
        os.mkfifo(path)
    else:
        kind = stat.S_IFCHR if entry.ischr() else stat.S_IFBLK
        os.mknod(path, kind | (entry.mode & MODES), os.makedev(entry.devmajor, entry.devminor))
    with contextlib.suppress(OSError):  # not where only one user is known
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
    if not entry.issym():
        os.chmod(path, entry.mode & MODES)
        os.utime(path, (entry.mtime, entry.mtime))
