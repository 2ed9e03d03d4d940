"""The submitter's packages as a list that uv installs on the machine, with wheels of what no index has.

What is locked stays locked: the versions come from the file, or from what is installed here, and markers choose among
them by the machine's platform. https://docs.astral.sh/uv/concepts/projects/sync/
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

import uv

from sky_core.errors import SpecError

LOCK, OVERRIDES, WHEELS = "lock.txt", "overrides.txt", "wheels"
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
NEVER = frozenset({"pip", "setuptools", "wheel"})  # of the caller's own: nobody runs by their version
LOCAL = re.compile(r"^(?:-e\s+|--editable[ =])?(?P<path>\.{0,2}/\S*|\.{1,2}|file:\S+)(?:\s*;.*)?$")
ENVIRONMENTS = "uv.lock, requirements.txt, pyproject.toml or caller"


def write(environment: str, base: Path, folder: Path) -> None:
    """Write the list for an environment, and the wheels that it takes, into ``folder``.

    Args:
        environment: A file (``uv.lock``, ``pyproject.toml``, any ``.txt``) from ``base`` on; or ``caller``.

    Raises:
        SpecError: if there is no such file, or something in it cannot travel.
    """
    lines = list(_caller()) if environment == "caller" else _of_file((base / Path(environment).expanduser()).absolute())
    found = []
    for number, line in enumerate(lines):
        local = LOCAL.match(line)
        found.append(_wheel(_folder(local["path"], base), folder / WHEELS / str(number)) if local else line)
    (folder / LOCK).write_text("".join(f"{line}\n" for line in found))
    if environment == "caller":  # what works together here does, whatever the packages say of each other
        (folder / OVERRIDES).write_text("".join(f"{line}\n" for line in found if not line.startswith(".")))


def _of_file(file: Path) -> list[str]:
    if file.name in ("environment.yml", "environment.yaml", "conda") or file.suffix == ".yml":
        raise SpecError("environment: conda's environments are not made", cure="use image='docker:…' with conda in it")
    if file.name == "pyproject":
        file = file.with_suffix(".toml")
    if not file.is_file():
        raise SpecError(f"environment: {file} is not a file here", cure=f"give {ENVIRONMENTS}")
    project = file.parent
    if file.name == "pyproject.toml" and not (project / "uv.lock").is_file():
        return [*_uv(project, "pip", "compile", "--quiet", "--universal", "--no-header", "--no-annotate",
                     "--python-version", MINOR, file.name), str(project)]  # fmt: skip
    if file.name in ("uv.lock", "pyproject.toml"):
        exported = _uv(project, "export", "--quiet", "--frozen", "--no-dev", "--no-editable", "--no-header",
                       "--no-annotate", "--format=requirements-txt")  # fmt: skip
        return [_absolute(line, project) for line in exported]
    if file.suffix == ".txt":
        return list(_requirements(file))
    raise SpecError(f"environment: {file.name} is none of {ENVIRONMENTS}")


def _requirements(file: Path) -> Iterator[str]:
    """A requirements file's lines, those of files that it includes in their place."""
    text = file.read_text().replace("\\\n", " ")
    for line in (re.sub(r"(^|\s)#.*", "", raw).strip() for raw in text.splitlines()):
        included = re.match(r"(?:-r|--requirement)[ =]?\s*(\S+)", line)
        if included:
            yield from _requirements(file.parent / included[1])
        elif line:
            yield _absolute(line, file.parent)


def _absolute(line: str, base: Path) -> str:
    local = LOCAL.match(line)
    return str(_folder(local["path"], base)) if local else line


def _folder(path: str, base: Path) -> Path:
    return Path(os.path.normpath(base / unquote(urlparse(path).path if path.startswith("file:") else path)))


def _caller() -> Iterator[str]:
    """What is installed for this Python, each in its version; what was installed from a folder, as that folder."""
    for one in sorted(metadata.distributions(), key=lambda one: one.name.lower()):
        if one.name.lower() in NEVER:
            continue
        origin = json.loads(one.read_text("direct_url.json") or "{}")
        if "dir_info" in origin:
            yield unquote(urlparse(origin["url"]).path)
        elif "vcs_info" in origin:
            yield f"{one.name} @ {origin['vcs_info']['vcs']}+{origin['url']}@{origin['vcs_info']['commit_id']}"
        else:
            yield f"{one.name}=={one.version}"


def _wheel(source: Path, folder: Path) -> str:
    """A local package as a wheel, by its path within the environment's folder."""
    if source.suffix == ".whl":
        folder.mkdir(parents=True)
        (folder / source.name).write_bytes(source.read_bytes())
    else:
        _uv(source, "build", "--quiet", "--wheel", "--out-dir", str(folder))
        (folder / ".gitignore").unlink(missing_ok=True)  # which keeps the wheel from travelling
    (wheel,) = folder.glob("*.whl")
    return f"./{WHEELS}/{folder.name}/{wheel.name}"


def _uv(project: Path, *command: str) -> list[str]:
    if not project.is_dir():
        raise SpecError(f"environment: {project} is not a folder here")
    done = subprocess.run([uv.find_uv_bin(), *command], cwd=project, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SpecError(f"environment: uv {command[0]} in {project}: {done.stderr.strip()[-500:]}")
    joined = done.stdout.replace("\\\n", " ").splitlines()
    return [line.strip() for line in joined if line.strip() and not line.lstrip().startswith("#")]
