"""The uv that goes to machines: one version, known by its hash, from the wheel that is on the package index.

The driver's own is taken where it is that very program; else it is fetched by the uv at hand, which reads the same
settings (index, proxy, certificates) as for everything else on this host. https://docs.astral.sh/uv/
"""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import tempfile
import threading
from pathlib import Path

import uv

from sky_core.errors import MachineError

VERSION = "0.13.9"
# Of the executable in the manylinux wheels, which need glibc 2.17: all images that clouds sell have a later one.
SHA256 = {
    "x86_64": "b73acdf73b96c3ac9e56d2fa933427b3ee6a901e3cce6ba1e3ecb3f91ca0d86a",
    "aarch64": "6109e47a75f2380d1cc90b00a6ee82b7b5792ddf66588625ec168545ae17512e",
}
FETCH_S = 300.0
LEVEL = 6  # 38 MB become 17 MB

_lock = threading.Lock()


def packed(machine: str) -> Path:
    """The program for machines of that kind (``uname -m``), gzipped, on this host's disk.

    Raises:
        MachineError: if there is none, or it cannot be had.
    """
    if machine not in SHA256:
        raise MachineError(
            f"uv {VERSION} is not known for {machine} processors",
            cure="choose an image whose python3 is of the caller's version and has the packages that move data",
        )
    kept = _cache() / f"uv-{VERSION}-{machine}.gz"
    with _lock:
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            new = kept.with_suffix(f".{os.getpid()}")
            new.write_bytes(gzip.compress(_program(machine), LEVEL))
            new.replace(kept)
    return kept


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skyloom"


def _program(machine: str) -> bytes:
    ours = Path(uv.find_uv_bin()).read_bytes()
    return ours if _is_meant(ours, machine) else _fetched(machine)


def _fetched(machine: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="skyloom-uv-") as folder:
        where = ("--target", folder, "--python-platform", f"{machine}-manylinux2014", "--only-binary", ":all:")
        command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--no-deps", *where, f"uv=={VERSION}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, check=False)
            said = done.stderr.strip()[-500:] if done.returncode else ""
        except subprocess.TimeoutExpired:
            said = f"no answer within {FETCH_S:.0f} s"
        if said:
            raise MachineError(
                f"uv {VERSION} for {machine} cannot be had from the package index: {said}",
                cure=f"pip install uv=={VERSION} beside the driver, or set UV_DEFAULT_INDEX to an index that has it",
            )
        program = (Path(folder) / "bin" / "uv").read_bytes()
    if not _is_meant(program, machine):
        raise MachineError(f"what the package index gives for uv {VERSION} on {machine} is another program: not used")
    return program


def _is_meant(program: bytes, machine: str) -> bool:
    return hashlib.sha256(program).hexdigest() == SHA256[machine]
