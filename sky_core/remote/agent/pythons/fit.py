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
import tarfile
from collections.abc import Mapping
from pathlib import Path

from ..job import Job, Place, archive, root

OLDEST: dict[str, tuple[int, ...]] = {"obstore": (0, 12)}  # the first to take another address for Google's store
OLDEST_BY_YEAR: tuple[int, ...] = (2024,)  # fsspec's packages count by year; pip is known to resolve to an s3fs of 2020
TELL = "import sys; print('%d.%d' % sys.version_info[:2])"


class Unmade(Exception):
    """An environment could not be made."""


def lacking(job: Job) -> list[str]:
    """What the machine lacks to run the job: packages that this Python has not, the function's Python; none if fit."""
    missing = [requirement for requirement in job.requirements if not _has(requirement)]
    fit = bool(job.container) or (_is_image_fit(job) and not job.environment)
    if job.python and not fit and not (brought(job.python).exists() and (root() / "bin" / "uv").exists()):
        missing.append(f"Python {job.python}")
    return missing


def brought(minor: str) -> Path:
    """Where the driver leaves an interpreter of that version."""
    return root() / "pythons" / minor


def calling(job: Job, place: Place, env: Mapping[str, str]) -> Mapping[str, str]:
    """The environment for a function and its setup: its Python comes first on PATH, whatever the image has.

    An environment of the user's is made as it is listed. Without one, an image whose own ``python3`` is of the caller's
    version is left as it is, with all that is installed there, and so is a container's; else the attempt gets an
    environment of its own with pip, so that what ``setup`` installs is found by the function.

    Raises:
        Unmade: if that cannot be done.
    """
    if not job.python or job.container or (_is_image_fit(job) and not job.environment):
        return env
    folder = place.folder / "python-env"
    if not folder.exists():
        _make(folder, brought(job.python))
        if job.environment:
            _fill(folder, job, place)
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


def _fill(folder: Path, job: Job, place: Place) -> None:
    """Install the packages of the job's list; the cache serves the machine's next job."""
    assert job.environment is not None
    listed = place.folder / "environment"
    listed.mkdir()
    with tarfile.open(archive(job.environment)) as packed:
        packed.extractall(listed)  # noqa: S202 - packed by our own driver
    where: list[str] = []
    settings = {"UV_CACHE_DIR": str(root() / "cache"), "UV_NO_PROGRESS": "1", "UV_NO_CONFIG": "1"}
    if job.index and job.index.startswith("file://"):
        where = ["--no-index", "--find-links", job.index.removeprefix("file://")]
    elif job.index:
        settings["UV_DEFAULT_INDEX"] = job.index
    lock = ["--python", str(folder / "bin" / "python"), "--requirements", "lock.txt"]
    if (listed / "overrides.txt").exists():
        lock += ["--overrides", "overrides.txt"]
    _run(str(root() / "bin" / "uv"), "pip", "install", "--quiet", *where, *lock, cwd=listed, settings=settings)


def _run(*command: str, cwd: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
    env = {**os.environ, **(settings or {})}
    try:
        subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
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
    from importlib import metadata  # which reads mail

    package = re.split(r"[=<>!~ ]", requirement, maxsplit=1)[0]
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    return numbers >= OLDEST.get(package, OLDEST_BY_YEAR)
