"""Comes to machines as ``sky_core``, with ``sky_core.checkpoint`` beside it; gives way to one that is installed."""

from __future__ import annotations

import os
from pkgutil import extend_path

_path = extend_path(globals().get("__path__", []), __name__)
globals()["__path__"] = _path

for _folder in _path[1:]:
    _init = os.path.join(_folder, "__init__.py")
    if os.path.exists(_init):
        __file__ = _init
        with open(_init) as _file:
            exec(compile(_file.read(), _init, "exec"), globals())  # noqa: S102 - Skyloom's own
        break
