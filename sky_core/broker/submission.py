"""What only the submitting process can give: its working folder, its secrets, what it allows; checked before any
money is spent.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from pathlib import Path

from sky_core.clouds.credentials import login_of
from sky_core.config import Settings
from sky_core.errors import SpecError
from sky_core.job.needs import Needs, allowed_clouds, keep_environment, keep_folder, keep_sources
from sky_core.remote.keys import team_key
from sky_core.remote.pythons.locking import MINOR
from sky_core.spec import Task
from sky_core.store import Store


def workdir_of(task: Task, base: Path) -> Path | None:
    """The folder that a task takes along; a relative one starts at ``base``.

    Raises:
        SpecError: if there is no such folder.
    """
    if task.workdir is None:
        return None
    folder = (base / Path(task.workdir).expanduser()).absolute()
    if not folder.is_dir():
        raise SpecError(
            f"Task.{task.name}: workdir: {folder} is not a folder here", cure="make it, or correct the path"
        )
    return folder


def secrets_of(task: Task, environ: Mapping[str, str]) -> dict[str, str]:
    """The values of a task's secrets.

    Raises:
        SpecError: if one is not set.
    """
    missing = [name for name in task.secrets if name not in environ and name not in task.secret_values]
    if missing:
        raise SpecError(
            f"Task.{task.name}: secrets: {', '.join(missing)} not set in the environment of this process",
            cure="export the value before submitting",
        )
    values = task.secret_values
    return {name: environ[name] if name in environ else values[name].get_secret_value() for name in task.secrets}


def sources_of(task: Task, base: Path) -> list[Path]:
    """The local files and folders that a task mounts, in the order of its mounts.

    Raises:
        SpecError: if one is not there.
    """
    found = []
    for path, mount in task.mounts.items():
        if mount.source is None:
            continue
        source = (base / Path(mount.source).expanduser()).absolute()
        if not source.exists():
            raise SpecError(
                f"Task.{task.name}: file_mounts.{path}: {source} is not here", cure="make it, or correct the path"
            )
        found.append(source)
    return found


def check(task: Task, environ: Mapping[str, str], base: Path) -> None:
    """See that a task can be submitted from here.

    Raises:
        SpecError: if its folder or a secret is missing.
    """
    workdir_of(task, base)
    sources_of(task, base)
    secrets_of(task, environ)


def who_submits(settings: Settings) -> str | None:
    """The person that jobs from here are charged to; None where this process has no login's name, as in some pods."""
    if settings.person:
        return settings.person
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # KeyError before Python 3.13
        return None


def needs_of(
    task: Task,
    job_id: str,
    settings: Settings,
    store: Store,
    environ: Mapping[str, str],
    base: Path,
    person: str | None = None,
) -> Needs:
    """All that the job takes along; its folder is in the store afterwards, its secrets are sealed.

    Raises:
        SpecError: if the folder or a secret is missing, the folder is too large, or there is no team key.
    """
    secrets, folder, key = secrets_of(task, environ), workdir_of(task, base), team_key(settings)
    sources = sources_of(task, base)
    clouds = allowed_clouds(settings)
    return Needs(
        profile=settings.profile,
        clouds=clouds,
        key_id=key.id,
        workdir=keep_folder(store, folder, task.name) if folder else None,
        files=keep_sources(store, sources, task.name) if sources else None,
        environment=keep_environment(store, task.environment, base, task.name) if task.environment else None,
        python=MINOR if task.environment else "",
        sealed=key.seal(secrets, job_id) if secrets else "",
        logins={name: login_of(name, settings) for name in clouds},
        granted=settings.granted,
        person=person or who_submits(settings),
    )
