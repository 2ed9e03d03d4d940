"""What of the user's folder is sent: files, links that stay within it, and folders that are empty.

In a git repository that is what git would commit, in submodules and repositories within it too; elsewhere all but
caches and what ``.gitignore`` names. A ``.skyignore`` decides instead of both, as in SkyPilot. A link that leads out of
the folder is sent as what it leads to: it would lead nowhere on the machine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pathspec

from sky_core.errors import SpecError

EXCLUDED = {".git", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
SKYIGNORE, GITIGNORE = ".skyignore", ".gitignore"


@dataclass(frozen=True)
class Entry:
    """One thing to send.

    Attributes:
        path: Its path below the folder.
        source: The file or folder whose content and mode it gets.
        link: Where it leads, relative to the folder that it lies in; "" if it is no link.
    """

    path: str
    source: Path
    link: str = ""


def entries(folder: Path) -> list[Entry]:
    """All that is sent of a folder, by path.

    Raises:
        SpecError: if a link leads to a folder that holds this one.
    """
    top = Path(os.path.realpath(folder))
    names = _walk(top, top, ()) if (top / SKYIGNORE).is_file() else _by_git(top)
    found: dict[str, Entry] = {}
    for name in names:
        for entry in _entry(name, folder / name, top, ()):
            found.setdefault(entry.path, entry)
    return [found[path] for path in sorted(found)]


def _entry(name: str, source: Path, top: Path, within: tuple[str, ...]) -> Iterator[Entry]:
    """A name of the listing as entries: one, or many where a link leads to a folder elsewhere."""
    if not source.is_symlink():
        if source.is_file() or source.is_dir():  # no sockets, pipes and devices
            yield Entry(name, source)
        return
    target = os.path.realpath(source)
    if not os.path.exists(target):  # it leads nowhere here either
        yield Entry(name, source, os.readlink(source))
    elif _is_within(target, str(top)):
        yield Entry(name, source, _inner_link(name, source, top))
    elif os.path.isfile(target):
        yield Entry(name, Path(target))
    elif _is_within(str(top), target):
        raise SpecError(
            f"Task.workdir: the link {source} leads to {target}, which holds the workdir itself",
            cure="remove it, or name it in .skyignore",
        )
    elif os.path.isdir(target) and target not in within:  # else it is a circle, which is sent once
        yield Entry(name, Path(target))
        for inner in _walk(Path(target), Path(target), ()):
            yield from _entry(f"{name}/{inner}", Path(target) / inner, top, (*within, target))


def _inner_link(name: str, source: Path, top: Path) -> str:
    """Where a link within the folder leads, so that it does so wherever the folder lies."""
    written = os.readlink(source)
    said = os.path.normpath(os.path.join(os.path.dirname(name), written))
    if _is_within(os.path.realpath(source.parent), str(top)) and not os.path.isabs(said) and said.split("/")[0] != "..":
        return written
    return os.path.relpath(os.path.realpath(source), top / os.path.dirname(name))


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _by_git(folder: Path) -> list[str]:
    """What git would commit, new files and empty folders included; what the walk finds where git cannot say."""
    known = _git(folder, "--cached", "--others", "--exclude-standard")
    if known is None:
        return _walk(folder, folder, ())
    found = []
    for name in known:
        path = folder / name
        if path.is_symlink() or path.is_file():
            found.append(name)
        elif path.is_dir():  # a submodule, or a repository within this one
            found += [f"{name.rstrip('/')}/{inner}" for inner in _by_git(path)] or [name.rstrip("/")]
    if not found:
        return _walk(folder, folder, ())  # git lists nothing of a folder that it ignores as a whole
    untracked = _git(folder, "--others", "--directory", "--exclude-standard") or []
    return found + [empty for name in untracked if name.endswith("/") for empty in _empty(folder, name)]


def _empty(folder: Path, name: str) -> list[str]:
    """Folders at and below a name that have nothing in them."""
    found = [parent for parent, folders, files in os.walk(folder / name) if not folders and not files]
    paths = [os.path.relpath(parent, folder) for parent in found]
    return [path for path in paths if not EXCLUDED & set(path.split("/"))]


def _git(folder: Path, *options: str) -> list[str] | None:
    """The names that git lists, or None if this is no repository of its own or no git is here."""
    try:
        listed = subprocess.run(["git", "-C", str(folder), "ls-files", "-z", *options], capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return sorted({os.fsdecode(name) for name in listed.stdout.split(b"\0") if name})


def _walk(folder: Path, top: Path, ignored: Sequence[tuple[str, pathspec.GitIgnoreSpec]]) -> list[str]:
    """Paths below ``top`` of all files, links and empty folders of a folder, but for what is ignored."""
    here = os.path.relpath(folder, top)
    prefix = "" if here == "." else f"{here}/"
    ignored = [*ignored, *_ignores(folder, top, prefix)]
    found, empty = [], True
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        empty = False
        path, is_folder = prefix + entry.name, entry.is_dir(follow_symlinks=False)
        if entry.name in EXCLUDED and (is_folder or entry.name == ".git"):
            continue
        if any(spec.match_file(path[len(start) :] + "/" * is_folder) for start, spec in ignored):
            continue
        found += _walk(Path(entry.path), top, ignored) if is_folder else [path]
    return [here] if empty and prefix else found


def _ignores(folder: Path, top: Path, prefix: str) -> list[tuple[str, pathspec.GitIgnoreSpec]]:
    """What a folder says is to be ignored below it; a ``.skyignore`` at the top speaks for all of it."""
    if (top / SKYIGNORE).is_file():
        file = top / SKYIGNORE if folder == top else None
    else:
        file = folder / GITIGNORE if (folder / GITIGNORE).is_file() else None
    if file is None:
        return []
    lines = file.read_text(errors="surrogateescape").splitlines()
    return [(prefix, pathspec.GitIgnoreSpec.from_lines(lines))]
