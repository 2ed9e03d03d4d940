"""What local modules read beside themselves: data of a package, files that a script's functions name.

A function travels by value, so its module's file is nowhere on the machine. There each call has a folder in which the
modules and files that came along are laid out as they lie here (:mod:`sky_core.remote.agent.call.files`). Paths that a
module makes of its own ``__file__`` lead into that folder: ``__file__`` itself, and globals such as ``HERE``.

Files go along if a function of the call, or a module that it imports while it runs, asks for some (:data:`SIGNS`): a
package's all, up to :data:`LIMIT`; beside a script, and of a larger package, those whose names stand in its functions.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import spec_from_file_location
from pathlib import Path, PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Any

from sky_core.broker.calls.code import texts, within
from sky_core.broker.calls.local import is_local, is_ours
from sky_core.broker.calls.parsing import parsed
from sky_core.remote.agent.call import FOLDER

LIMIT = 4 << 20  # bytes, of all files of a call: each call of a wide map has its own
SIGNS = frozenset({"__file__", "__path__", "__spec__", "resources", "files", "get_data", "import_module", "__import__"})
"""Names in code that looks for files."""
LEFT_OUT = frozenset({".pyc", ".pyo", ".so", ".pyd", ".dylib"})  # compiled code is of no use on another machine


@dataclass(frozen=True)
class Home:
    """Where a local module lies: its file, and the folder that is on ``sys.path`` for it."""

    file: Path
    top: Path
    package: str  # the package at the top that it is in; "" for a script or module by itself

    @classmethod
    def of(cls, namespace: Mapping[str, Any]) -> Home | None:
        """That of the module with these globals; None if it has no file."""
        file = Path(os.path.abspath(str(namespace.get("__file__"))))
        if not namespace.get("__file__") or not file.is_file():
            return None
        parts = tuple(filter(None, str(namespace.get("__package__") or "").split(".")))
        if parts and file.parent.parts[-len(parts) :] != parts:
            parts = ()
        return cls(file, file.parents[len(parts)], parts[0] if parts else "")

    @classmethod
    def of_module(cls, name: str, file: Path) -> Home:
        """That of a module that was found, but not imported."""
        parts = name.split(".")
        depth = len(parts) - (file.stem != "__init__")
        return cls(file, file.parents[depth], parts[0] if depth else "")

    @classmethod
    def around(cls, path: PurePath) -> Home | None:
        """That of the local package which a path leads into; None if it is in none that is imported here."""
        for folder in (path, *path.parents):
            module = sys.modules.get(folder.name)
            known = module is not None and str(folder) in getattr(module, "__path__", ())
            if known and is_local(folder.name) and not is_ours(folder.name):
                return cls(Path(folder, "__init__.py"), Path(folder).parent, folder.name)
        return None

    def place(self, path: PurePath) -> str:
        """Where a path from the top down is in the folder of the call."""
        return path.relative_to(self.top).as_posix()


class Elsewhere(str):
    """A place in the call's folder, as a path once it is there."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return os.path.expandvars, (f"${FOLDER}/{self}",)


@dataclass(frozen=True)
class Made:
    """What is made on the machine by a function and its arguments."""

    function: Callable[..., Any]
    args: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


class Files:
    """The files of one call, found while it is pickled."""

    def __init__(self) -> None:
        self._homes: dict[Path, Home] = {}
        self._codes: dict[Path, list[CodeType]] = {}
        self._wanted: set[tuple[Home, Path]] = set()

    def see(self, function: FunctionType, state: dict[str, Any], base: dict[str, Any]) -> None:
        """Take note of a function that travels, and let the paths that it knows lead to the machine's.

        Args:
            state: The globals that it uses, which are changed.
            base: What it is told of its module, which is changed.
        """
        if home := self._home(function.__globals__):
            self._codes.setdefault(home.file, []).extend(within(function.__code__))
            self._move(home, state)
            base["__file__"] = Elsewhere(home.place(home.file))
            if "__path__" in base:
                base["__path__"] = [Elsewhere(home.place(home.file.parent))]

    def see_module(self, module: ModuleType, state: dict[str, Any]) -> None:
        """The same for a module that travels by value, and its attributes."""
        if home := self._home(vars(module)):
            self._move(home, state)
            file = state["__file__"] = Elsewhere(home.place(home.file))
            given: dict[str, Any] = {}
            if home.file.stem == "__init__":
                given["submodule_search_locations"] = state["__path__"] = [Elsewhere(home.place(home.file.parent))]
            state["__spec__"] = Made(partial(spec_from_file_location, **given), (module.__name__, file))

    def path(self, path: PurePath) -> Made | None:
        """A path into a local package, as the machine's; None for any other."""
        home = Home.around(path)
        return self._moved(home, path) if home else None

    def found(self, sources: Mapping[str, Path]) -> dict[str, bytes]:
        """All that goes along, by its place.

        Args:
            sources: Files of the modules that are imported while the call runs, by name.
        """
        homes = [Home.of_module(name, file) for name, file in sources.items()]
        content = {home.place(home.file): home.file.read_bytes() for home in homes}
        for home in homes:
            with suppress(SyntaxError, ValueError):  # whoever imports it is told
                code = compile(content[home.place(home.file)], str(home.file), "exec", dont_inherit=True)
                self._codes.setdefault(home.file, []).extend(within(code))
        if self._asked():
            room = LIMIT
            for home in [*self._homes.values(), *homes]:
                for file in self._beside(home):
                    size = file.stat().st_size
                    if size <= room and (place := home.place(file)) not in content:
                        content[place] = file.read_bytes()
                        room -= size
        return content

    def _home(self, namespace: dict[str, Any]) -> Home | None:
        home = Home.of(namespace)
        return home and self._homes.setdefault(home.file, home)

    def _move(self, home: Home, state: dict[str, Any]) -> None:
        """Let those of a module's globals that it has made of its ``__file__`` lead to the machine's."""
        own = derived(home.file)
        for name, value in state.items():
            if isinstance(value, PurePath) or (isinstance(value, str) and os.path.isabs(value)):
                if name in own and PurePath(value).is_relative_to(home.top):
                    state[name] = self._moved(home, value)
                elif around := Home.around(PurePath(value)):
                    state[name] = self._moved(around, value)

    def _moved(self, home: Home, value: str | PurePath) -> Any:
        """A path below a home's top, as the machine's."""
        self._homes.setdefault(home.file, home)
        self._wanted.add((home, Path(value)))
        place = Elsewhere(home.place(PurePath(value)))
        return place if isinstance(value, str) else Made(type(value), (place,))

    def _asked(self) -> bool:
        """Whether anything that travels looks for files."""
        return bool(self._wanted) or any(
            SIGNS & {part for name in code.co_names for part in name.split(".")}
            for codes in self._codes.values() for code in codes
        )  # fmt: skip

    def _beside(self, home: Home) -> Iterator[Path]:
        """The files beside a module that go along."""
        yield from self._named(home)
        if home.package:
            folder = home.top / home.package
            yield from (_tree(folder) or _tree(folder, ".py") or ())

    def _named(self, home: Home) -> Iterator[Path]:
        """What a module's functions name by itself, or by its path from the module or from a folder that they know."""
        known = {path for its, path in self._wanted if its == home}
        folders = {home.file.parent, *(path for path in known if path.is_dir())}
        said = {text for code in self._codes.get(home.file, ()) for text in texts(code.co_consts)}
        named = {folder / text for text in said if _names_a_file(text) for folder in folders}
        for path in sorted((known | named) - {home.top, *home.file.parents}):
            if path.is_file():
                yield path
            elif path.is_dir():
                yield from _tree(path) or ()


def derived(file: Path) -> frozenset[str]:
    """The globals of a module that it makes of its own place, in one step or in several."""
    return _derived(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=1000)
def _derived(file: Path, changed_ns: int) -> frozenset[str]:
    tree = parsed(file.read_bytes())
    names: set[str] = set()
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and _mentions(node.value, SIGNS | names):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(names)


def _mentions(value: ast.expr, names: Iterable[str]) -> bool:
    said = {getattr(node, "id", None) or getattr(node, "attr", None) for node in ast.walk(value)}
    return not said.isdisjoint(names)


def _names_a_file(text: str) -> bool:
    """Whether a constant may be the path of something below a folder; hidden files may hold secrets."""
    return len(text) < 256 and "\0" not in text and all(part and part[0] not in ".~" for part in text.split("/"))


def _tree(folder: Path, suffix: str = "") -> list[Path] | None:
    """All files in a folder, but hidden and compiled ones; None if they are more than go along."""
    found, room = [], LIMIT
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for file in (Path(where, name) for name in sorted(names) if not name.startswith(".")):
            if file.name.endswith(suffix) and file.suffix not in LEFT_OUT and file.is_file():
                room -= file.stat().st_size
                found.append(file)
        if room < 0:
            return None
    return found
