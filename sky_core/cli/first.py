"""``skyloom init`` and ``doctor``: the first minutes on a machine, and the first look when something is odd."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sky_core.cli.terminal import agreed, complain, say
from sky_core.errors import SkyloomError, SpecError

if TYPE_CHECKING:
    from sky_core.config import Settings

LEAST_PYTHON = (3, 11)
ENGINES = {"apache-airflow": "airflow", "prefect": "prefect"}  # by their packages, what installs them
NO_LIMIT = "none"


def init(
    regions: Annotated[str | None, typer.Option(help="Patterns of regions, as us-*,eu-*; else it is asked.")] = None,
    usd_per_day: Annotated[float | None, typer.Option(help="Most that a day may cost; else it is asked.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take what is usual.")] = False,
) -> None:
    """Write config.toml: which clouds were found here, in which regions to plan, how much a day may cost."""
    from sky_core.clouds.credentials import why_unusable
    from sky_core.config import Settings
    from sky_core.home import default_home

    file = default_home(os.environ) / "config.toml"
    if file.exists():
        raise SpecError(f"{file} is there already", cure="edit it; skyloom doctor says what it comes to")
    usual = Settings.load({**os.environ, "SKYLOOM_PROFILE": "default"})
    missing = {name: why_unusable(name, config) for name, config in usual.clouds.items()}
    for name, why in missing.items():
        say(f"{name}: {why or 'found'}")
    found = [name for name, why in missing.items() if why is None]
    wanted = [name for name in found if yes or agreed(f"Use {name}?", usual=True)]
    if regions is None:
        ordinary = ",".join(usual.defaults.regions)
        regions = ordinary if yes else typer.prompt("Regions to plan in", default=ordinary)
    if usd_per_day is None and not yes:
        usd_per_day = _limit(typer.prompt("Most USD that a day may cost", default=NO_LIMIT))
    _write(file, _config([name for name in found if name not in wanted], regions, usd_per_day))
    say(f"wrote {file}")
    say("next: skyloom check --deep" if wanted else "no cloud yet; skyloom sandbox up has three that cost nothing")


def _limit(said: str) -> float | None:
    if said.strip().lower() == NO_LIMIT:
        return None
    try:
        return float(said.strip().lstrip("$"))
    except ValueError:
        raise SpecError(f"{said!r} is no amount of USD", cure=f"write a number, or {NO_LIMIT}") from None


def _config(unwanted: list[str], regions: str, usd_per_day: float | None) -> str:
    """The file. Strings of JSON are strings of TOML."""
    patterns = [part.strip() for part in regions.split(",") if part.strip()]
    parts = [f"[defaults]\nregions = {json.dumps(patterns)}"]
    if usd_per_day is not None:
        parts.append(f"[limits]\nusd_per_day = {usd_per_day!r}  # what would exceed it is not launched")
    parts += [f"[clouds.{name}]\nenabled = false" for name in unwanted]
    return "\n\n".join(parts) + "\n"


def _write(file: Path, text: str) -> None:
    """Keep it, if it can be read again.

    Raises:
        SpecError: if something in it cannot be meant; nothing is left then.
    """
    from sky_core.config import Settings

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    try:
        Settings.load({**os.environ, "SKYLOOM_PROFILE": "default"})
    except SkyloomError:
        file.unlink()
        raise


@dataclass(frozen=True)
class Finding:
    """What was looked at, what is to be said of it, and whether it has to be mended."""

    about: str
    says: str
    ok: bool = True


def doctor() -> None:
    """Look at this machine, its settings and its store, and say what is wrong and what mends it. Asks no cloud."""
    wrong = 0
    for one in _findings():
        (say if one.ok else complain)(f"{one.about}: {one.says}")
        wrong += not one.ok
    raise typer.Exit(1 if wrong else 0)


def _findings() -> Iterator[Finding]:
    from sky_core.config import Settings

    here = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", f"{here} at {sys.executable}", sys.version_info >= LEAST_PYTHON)
    yield from map(_engine, ENGINES)
    try:
        settings = Settings.load()
    except SkyloomError as error:
        yield Finding("settings", str(error), ok=False)
        return
    yield Finding("settings", f"profile {settings.profile}, home {settings.home}")
    options = ", ".join(f"{name}={value!r}" for name, value in settings.spot_policy_options.items())
    yield Finding(
        "spot policy",
        f"{settings.spot_policy}{options and f' ({options})'}, for tasks on spot with a deadline or checkpoints",
    )
    yield from _clouds(settings)
    yield from _store(settings)


def _engine(package: str) -> Finding:
    try:
        return Finding(package, version(package))
    except PackageNotFoundError:
        return Finding(package, f"not installed, which is well without it: pip install 'skyloom[{ENGINES[package]}]'")


def _clouds(settings: Settings) -> Iterator[Finding]:
    from sky_core.clouds.credentials import why_unusable

    missing = {name: why_unusable(name, config) for name, config in settings.clouds.items()}
    for name, why in missing.items():
        yield Finding(name, why or "has credentials (skyloom check asks whether they are good)")
    if all(missing.values()):
        yield Finding("clouds", "none can be used: log in to one, or try skyloom sandbox up", ok=False)


def _store(settings: Settings) -> Iterator[Finding]:
    from sky_core.remote.keys import team_key
    from sky_core.store import Choice, Store
    from sky_core.store.records import LIVE

    try:
        store = Store(settings.store_url, patience_s=5.0)
        live = store.job_lines(Choice(states=LIVE))
        driven = store.driven()
        key = team_key(settings).id
    except SkyloomError as error:
        yield Finding("store", str(error), ok=False)
        return
    yield Finding("store", f"{sum(store.count_jobs().values()):,} jobs, {len(live):,} of them live")
    yield Finding("team key", key)
    alone = [job.id for job in live if job.id not in driven]
    if alone:
        cure = f"nobody drives {', '.join(alone[:3])} just now: skyloom logs -f {alone[0]} lets it go on"
        yield Finding("jobs", cure, ok=False)
