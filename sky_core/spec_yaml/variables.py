"""The values of a task's variables, and ``${NAME}`` where they stand for text."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sky_core.errors import SpecError
from sky_core.spec import ENV_NAME

VARIABLE = re.compile(r"\$(?:\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))")


@dataclass(frozen=True)
class Given:
    """What is said beside the file.

    Attributes:
        envs: In place of, or besides, what the file says in ``envs``.
        secrets: Names of secrets besides those of the file.
        environ: Where a variable without a value is looked for.
        warm: ``keep`` and ``cluster`` in place of the file's, for all its tasks.
    """

    envs: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    warm: Mapping[str, str] = field(default_factory=dict)


def text_of(value: Any) -> str:
    """A variable's value: text as it stands in the file, mappings and lists as JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def replaced(value: Any, variables: Mapping[str, str], missing: set[str]) -> Any:
    """``value`` with variables' values in all its texts, keys included; names without a value go to ``missing``."""

    def put(match: re.Match[str]) -> str:
        name = match["braced"] or match["bare"]
        if name not in variables:
            missing.add(name)
        return variables.get(name, match[0])

    if isinstance(value, str):
        return VARIABLE.sub(put, value)
    if isinstance(value, Mapping):
        return {replaced(key, variables, missing): replaced(item, variables, missing) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, variables, missing) for item in value]
    return value


def assignment(text: str, option: str) -> tuple[str, str]:
    """``"NAME=value"`` as a pair; a name alone takes its value from the environment.

    Raises:
        SpecError: if it is neither.
    """
    name, equals, value = text.partition("=")
    if not ENV_NAME.match(name):
        raise SpecError(
            f"{option}: {name!r} is not a name of an environment variable", cure=f"write {option} NAME=value"
        )
    if not equals:
        if name not in os.environ:
            raise SpecError(f"{option}: {name} is not set here", cure=f"write {option} {name}=value")
        value = os.environ[name]
    return name, value


def from_file(path: Path) -> dict[str, str]:
    """The variables of a file of lines ``NAME=value``: comments and ``export`` are passed over, quotes taken off.

    Raises:
        SpecError: if it cannot be read, or a line is not one.
    """
    found = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"--env-file: {path}: {error}") from None
    for number, raw in enumerate(lines, 1):
        line = raw.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not ENV_NAME.match(name.strip()):
            raise SpecError(f"{path}:{number}: not a line NAME=value")
        value = value.strip()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        found[name.strip()] = value[1:-1] if quoted else value.partition(" #")[0].rstrip()
    return found
