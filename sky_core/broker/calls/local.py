"""What is local: code that no machine can install, and that therefore has to travel with a call.

One rule. A module is *installed* if its file lies in a folder that installers write to: the standard library's, or any
called ``site-packages`` or ``dist-packages`` (a virtual environment's, the user's, Debian's, another interpreter's on
``PYTHONPATH``), or in an egg. Every other module is *local*: the flow's or DAG's file, the modules and packages beside
it, and also a project that is installed in editable mode, since what is being worked on can be had from no index.
"""

from __future__ import annotations

import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from types import ModuleType

INSTALLERS_FOLDERS = frozenset({"site-packages", "dist-packages"})
STANDARD_LIBRARY = tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib"))
OURS = ("sky_core", "sky_sandbox", "sky_prefect", "sky_airflow")
# Need the standard library only: an upstream's error may be handed on to a machine that has nothing of ours, and a
# Prefect task's function finds there what stands for Prefect.
TRAVELLING = frozenset(
    {"sky_core.errors", "sky_core.broker.calls.remade", "sky_prefect.remote.machine", "sky_prefect.remote.standins"}
)


def is_local(name: str) -> bool:
    """Whether the module of that name has to travel. ``__main__`` does so in any case, by cloudpickle's own rule."""
    if name in TRAVELLING:
        return True
    module = sys.modules.get(name)
    return module is not None and not is_ours(name) and _travels(module)


def is_ours(name: str) -> bool:
    """Whether a module is Skyloom's own."""
    return name.partition(".")[0] in OURS


def is_local_file(path: str) -> bool:
    """Whether a module's file, or a package's folder, lies where no installer puts things."""
    return not _is_installed(path)


def _travels(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    if file:
        # Compiled code is of no use on another machine.
        return Path(file).suffix in (".py", ".pyc") and not _is_installed(file)
    folders = list(getattr(module, "__path__", ()))  # a namespace package has folders, but no file
    return bool(folders) and not any(map(_is_installed, folders))


@lru_cache(maxsize=10_000)
def _is_installed(file: str) -> bool:
    """Whether a path, as it was imported or with its links followed, lies where installers put things."""
    given, real = Path(file).absolute(), Path(file).resolve()
    if any(part in INSTALLERS_FOLDERS or part.endswith(".egg") for path in (given, real) for part in path.parts):
        return True
    return any(real.is_relative_to(folder) for folder in STANDARD_LIBRARY)
