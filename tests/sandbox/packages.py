"""A package of one module that builds without an index: its backend lies beside it."""

from __future__ import annotations

from pathlib import Path

PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "mine"
version = "1"
"""
BACKEND = """\
import os, zipfile

def build_wheel(folder, settings=None, metadata=None):
    name, about = "mine-1-py3-none-any.whl", "mine-1.dist-info"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.write("mine.py")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\\nName: mine\\nVersion: 1\\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{about}/RECORD", "")
    return name
"""


def local_package(folder: Path) -> None:
    """Write the package ``mine`` into a new folder."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "mine.py").write_text("ANSWER = 42\n")
