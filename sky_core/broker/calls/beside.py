"""Local modules that a function imports only when it runs: no pickle of the function reaches them, so their files go.

They are found without being run: by the import instructions of the functions that travel, by names in those that
import or read what they name (``importlib.import_module("project.part")``), and by the import statements of what those
lead to.
"""

from __future__ import annotations

import ast
import dis
import re
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import all_suffixes
from pathlib import Path

from sky_core.broker.calls.local import is_local_file, is_ours
from sky_core.broker.calls.parsing import parsed

BY_NAME = frozenset({"import_module", "__import__", "resources", "files", "get_data"})  # take modules' names
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def imported_later(functions: Iterable[types.FunctionType]) -> dict[str, Path]:
    """The files of local modules that these functions, and what they import, may ask for while they run, by name."""
    found: dict[str, Path] = {}
    asked: list[str] = []
    for function in functions:
        asked += _asked_by(function.__code__, function.__globals__.get("__package__") or "")
    while asked:
        _carry(asked.pop(), found, asked)
    return found


def _carry(name: str, found: dict[str, Path], asked: list[str]) -> None:
    """Put a local module and the packages that it is in among those found; what they import is asked for."""
    parts, folders = name.split("."), sys.path
    if is_ours(name) or parts[0] in sys.stdlib_module_names:
        return
    for end in range(1, len(parts) + 1):
        file, folders = _find(parts[end - 1], folders)
        whole = ".".join(parts[:end])
        if file is not None and whole not in found:
            if file.suffix != ".py" or not is_local_file(str(file)):
                return
            package = file.name == "__init__.py"
            found[whole] = file
            asked += _imported(file.read_bytes(), whole if package else ".".join(parts[: end - 1]))
        elif file is None and not any(map(is_local_file, folders)):
            return


def _find(name: str, folders: Sequence[str]) -> tuple[Path | None, list[str]]:
    """A module's file, as importing it would find it, and the folders that modules in it are looked for in."""
    portions = []
    for folder in (Path(each or ".") / name for each in folders):
        if (folder / "__init__.py").is_file():
            return folder / "__init__.py", [str(folder)]
        for suffix in all_suffixes():
            if (file := folder.with_name(name + suffix)).is_file():
                return file, []
        if folder.is_dir():
            portions.append(str(folder))
    return None, portions


def _asked_by(code: types.CodeType, package: str) -> Iterator[str]:
    """What a function's code imports while it runs; names from a module may be modules themselves."""
    before: list[object] = [0, None]
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            level, names = before[-2:]
            yield from _names(str(step.argval), names if isinstance(names, tuple) else (), level, package)
        if step.opname != "EXTENDED_ARG":  # the upper part of what the next one says
            before = [before[-1], step.argval]
    by_name = not BY_NAME.isdisjoint(part for name in code.co_names for part in name.split("."))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _asked_by(constant, package)
        elif by_name and isinstance(constant, str) and MODULE.fullmatch(constant):
            yield constant


def _imported(source: bytes, package: str) -> list[str]:
    """What a module's text imports, anywhere in it."""
    tree = parsed(source)
    names: list[str] = []
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += _names(node.module or "", tuple(alias.name for alias in node.names), node.level, package)
    return names


def _names(name: str, wanted: tuple[str, ...], level: object, package: str) -> list[str]:
    """The modules that one import may mean, as seen from a module of that package."""
    if isinstance(level, int) and level > 0:
        parts = package.split(".")
        name = ".".join(filter(None, [*parts[: len(parts) + 1 - level], name]))
    return [name, *(f"{name}.{each}" for each in wanted)] if name else []
