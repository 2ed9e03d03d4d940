"""Packages for tests: one of one module that builds without an index, since its backend lies beside it, and wheels of
what is installed here.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

from sky_sandbox.machines.wheels import installed, packed

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


def wheels(roots: Iterable[str]) -> list[Path]:
    """A wheel of each of these packages and of all that they need, in the versions of this host."""
    found, left = {}, [Requirement(root) for root in roots]
    while left:
        wanted = left.pop()
        one = installed(wanted.name)
        if one is not None and one.name not in found:
            found[one.name] = packed(one)
            needed = map(Requirement, one.requires or ())
            left += [other for other in needed if other.marker is None or other.marker.evaluate({"extra": ""})]
    return sorted(found.values(), key=lambda wheel: wheel.name)
