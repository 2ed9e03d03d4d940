"""Whether the machine's Pythons serve a job, and the environment in which a function is called.

What the driver has brought lies in ``~/.skyloom/pythons``: an interpreter by its minor version (``3.12``, a link to its
executable), and environments with the packages that move data. ``uv`` lies in ``~/.skyloom/bin``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from ..job import Job, Place, root

OLDEST = 2024  # fsspec's packages count by year; pip is known to resolve to an s3fs of 2020
TELL = "import sys; print('%d.%d' % sys.version_info[:2])"


class Unmade(Exception):
    """An environment could not be made."""


def lacking(job: Job) -> list[str]:
    """What the machine lacks to run the job: packages that this Python has not, the function's Python; none if fit."""
    missing = [requirement for requirement in job.requirements if not _has(requirement)]
    if job.python and not job.container and not _is_image_fit(job) and not brought(job.python).exists():
        missing.append(f"Python {job.python}")
    return missing


def brought(minor: str) -> Path:
    """Where the driver leaves an interpreter of that version."""
    return root() / "pythons" / minor


def calling(job: Job, place: Place, env: Mapping[str, str]) -> Mapping[str, str]:
    """The environment for a function and its setup: its Python comes first on PATH, whatever the image has.

    An image whose own ``python3`` is of the caller's version is left as it is, with all that is installed there.
    So is a container's. Else the attempt gets an environment of its own with pip, so that what ``setup`` installs is
    found by the function.

    Raises:
        Unmade: if that cannot be done.
    """
    if not job.python or job.container or _is_image_fit(job):
        return env
    folder = place.folder / "python-env"
    if not folder.exists():
        _make(folder, brought(job.python))
    path = f"{folder / 'bin'}:{root() / 'bin'}:{env.get('PATH', os.defpath)}"
    return {**env, "VIRTUAL_ENV": str(folder), "PATH": path}


def _make(folder: Path, interpreter: Path) -> None:
    uv = str(root() / "bin" / "uv")
    _run(uv, "venv", "--quiet", "--no-project", "--python", str(interpreter), str(folder))
    where = "import ensurepip, os; print(os.path.join(os.path.dirname(ensurepip.__file__), '_bundled'))"
    found = subprocess.run([str(interpreter), "-c", where], capture_output=True, text=True, check=False)
    if found.returncode == 0:  # the pip that comes with Python; who lacks it has `uv pip`
        wheels = ("--quiet", "--no-index", "--find-links", found.stdout.strip())
        _run(uv, "pip", "install", "--python", str(folder / "bin" / "python"), *wheels, "pip")


def _run(*command: str) -> None:
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()[-500:]
        raise Unmade(f"no environment of Python could be made: {said}") from None


def _is_image_fit(job: Job) -> bool:
    """Whether the image's own ``python3`` is of the function's version."""
    found = shutil.which("python3")
    if found is None:
        return False
    if os.path.samefile(found, sys.executable):
        return f"{sys.version_info.major}.{sys.version_info.minor}" == job.python
    told = subprocess.run([found, "-S", "-c", TELL], capture_output=True, text=True, check=False).stdout
    return told.strip() == job.python


def _has(requirement: str) -> bool:
    try:
        version = metadata.version(re.split(r"[=<>!~ ]", requirement, maxsplit=1)[0])
    except metadata.PackageNotFoundError:
        return False
    return int(version.partition(".")[0]) >= OLDEST
