"""What a home says of itself before anything of it is checked: enough to find its records.

The whole of the settings is :mod:`sky_core.config`, which takes ten times as long to import as a listing takes.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sky_core.endpoints import read_sandbox
from sky_core.errors import SpecError
from sky_core.measures.scale import Scale

INVENTORY = "catalog.toml"  # the file of a home that adds to the catalog
VARIABLES = {
    "store_url": "SKYLOOM_STORE",
    "profile": "SKYLOOM_PROFILE",
    "key": "SKYLOOM_KEY",
    "person": "SKYLOOM_PERSON",
}


@dataclass(frozen=True)
class Records:
    """Where the records of a home are, and what time counts for in them."""

    store_url: str
    scale: Scale


def default_home(environ: Mapping[str, str] | None = None) -> Path:
    """``$SKYLOOM_HOME``, or ``~/.skyloom``."""
    env = os.environ if environ is None else environ
    return Path(env.get("SKYLOOM_HOME") or Path.home() / ".skyloom").expanduser()


def read_home(env: Mapping[str, str]) -> tuple[Path, dict[str, Any]]:
    """The file ``config.toml`` of a home, and what there is in it once environment variables have had their say.

    Raises:
        SpecError: if the file cannot be read.
    """
    home = default_home(env)
    file = home / "config.toml"
    data = _read_toml(file)
    data |= {field: env[variable] for field, variable in VARIABLES.items() if env.get(variable)}
    # What the emulated clouds refuse must not count against the real ones, nor a sweep of theirs settle anything.
    file_name = "sandbox.db" if data.get("profile") == "sandbox" else "skyloom.db"
    data.setdefault("store_url", f"sqlite:///{home / file_name}")
    data["home"] = home
    return file, data


def records(environ: Mapping[str, str] | None = None) -> Records | None:
    """Those of ``$SKYLOOM_HOME``; None if what it says of them is not plain, so that all of it has to be checked.

    Raises:
        SpecError: if its ``config.toml`` cannot be read.
        SandboxNotRunning: when the sandbox profile is chosen and no sandbox was started in this home.
    """
    file, data = read_home(os.environ if environ is None else environ)
    profile = data.get("profile", "default")
    said = read_sandbox(file.parent) if profile == "sandbox" else data
    scale, url = said.get("scale", {}), data["store_url"]
    known = Scale.__dataclass_fields__
    plain = isinstance(scale, dict) and all(
        name in known and isinstance(value, int | float) for name, value in scale.items()
    )
    plain = plain and isinstance(url, str) and profile in ("default", "sandbox")
    return Records(url, Scale(**scale)) if plain else None


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SpecError(f"{path}: {error}") from None
