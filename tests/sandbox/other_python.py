"""A driver of another minor version of Python than that of the tests: an environment made once, where it can be."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import uv

from sky_sandbox.machines.pythons import OLDEST_CALLER, cache, interpreters

ROOT = Path(__file__).parents[2]
EXTRAS = ("aws", "gcp", "azure")


def another_python(minor: int | None = None) -> Path:
    """An interpreter of that minor version, else of the newest but ours, with all that a driver imports.

    Where none can be made the test skips.
    """
    ours = sys.version_info.minor
    if minor == ours:
        return Path(sys.executable)
    others = [one for one in interpreters().values() if one.minor >= OLDEST_CALLER and one.minor != ours]
    others = [one for one in others if minor in (None, one.minor)]
    if not others:
        pytest.skip("no such Python is here")
    other = max(others, key=lambda one: one.minor)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *(line for name in EXTRAS for line in project["optional-dependencies"][name])]
    digest = hashlib.sha256("\n".join([other.version, *needed]).encode()).hexdigest()[:12]
    folder = cache() / "drivers" / digest
    if not folder.exists():
        _make(other.prefix / "bin" / f"python3.{other.minor}", needed, folder)
    return folder / "bin" / "python"


def _make(interpreter: Path, needed: list[str], folder: Path) -> None:
    new = folder.with_name(f"{folder.name}.{os.getpid()}")
    commands = [
        ["venv", "--quiet", "--no-project", "--relocatable", "--python", str(interpreter), str(new)],
        ["pip", "install", "--quiet", "--python", str(new / "bin" / "python"), "--constraint",
         str(ROOT / "constraints/dev.txt"), *needed],
    ]  # fmt: skip
    for command in commands:
        done = subprocess.run([uv.find_uv_bin(), *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no environment of {interpreter.name} can be made here: {done.stderr.strip()[-300:]}")
    if not folder.exists():
        new.rename(folder)
