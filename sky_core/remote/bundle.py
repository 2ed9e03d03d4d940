"""What is sent to a machine: the agent as one archive, and the user's folder as another, each named by its content."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
import zipfile
from functools import cache
from pathlib import Path

from sky_core.errors import SpecError

AGENT = Path(__file__).parent / "agent"
MAIN = "from agent.main import main\n\nmain()\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content gives the same archive


@cache
def agent_archive() -> tuple[str, bytes]:
    """Name and content of the agent's archive, which Python runs as it is."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", EPOCH), MAIN)
        for path in sorted(AGENT.glob("*.py")):
            archive.writestr(zipfile.ZipInfo(f"agent/{path.name}", EPOCH), path.read_bytes())
    data = buffer.getvalue()
    return f"agent-{hashlib.sha256(data).hexdigest()[:12]}.pyz", data


def pack_folder(folder: Path) -> tuple[str, bytes]:
    """SHA-256 and content of a folder's archive. In a git checkout, ignored files stay behind.

    Raises:
        SpecError: if it is no folder.
    """
    if not folder.is_dir():
        raise SpecError(f"workdir: {folder} is not a folder on the machine that drives the job")
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name in _files(folder):
            archive.add(folder / name, arcname=name, recursive=False, filter=_anonymous)
    data = buffer.getvalue()
    return hashlib.sha256(data).hexdigest(), data


def _files(folder: Path) -> list[str]:
    listing = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, capture_output=True, check=False)
    if done.returncode == 0:
        names = [name for name in done.stdout.decode().split("\0") if name]
        return sorted(name for name in names if (folder / name).exists())
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".git" not in path.parts
    )


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member
