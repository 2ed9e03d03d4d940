"""Which clouds could be used, told without importing an SDK: planning must stay cheap in an engine's process."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from sky_core.config import CloudConfig, Settings
from sky_core.facts import clouds, facts_of


def why_unusable(name: str, config: CloudConfig, environ: Mapping[str, str] | None = None) -> str | None:
    """Why a cloud cannot be used as far as can be told cheaply, or None if it looks usable."""
    env = os.environ if environ is None else environ
    if name not in clouds() and not config.hosts:
        return f"no cloud is called {name!r}; there are {', '.join(clouds())}, and it has no hosts in catalog.toml"
    facts = facts_of(name)
    if not config.enabled:
        return "disabled in the settings"
    missing = [module for module in facts.sdk if not _is_installed(module)]
    if missing:
        return f"{', '.join(missing)} not installed: {facts.install}"
    if facts.own:
        return _why_own_unusable(name, config)
    if config.credentials or "enabled" in config.model_fields_set:
        return None
    home, known = Path(env.get("HOME", "~")).expanduser(), facts.credentials
    named = any(env.get(variable) for variable in known.variables)
    if known.variables and not named and not any((home / path).exists() for path in known.files):
        login = " or log in with the cloud's own CLI" if known.files else ""
        return f"no credentials: set {known.variables[0]}{login}"
    told = config.account is not None or any(env.get(variable) for variable in known.account_variables)
    if known.account and not told:
        return f"{known.account} is missing: set it in [clouds.{name}] of config.toml"
    return None


def reachable(settings: Settings) -> frozenset[str]:
    """The clouds that this host could use for anybody's job, whether jobs submitted here may run there or not."""
    return frozenset(name for name, config in settings.clouds.items() if why_unusable(name, _allowed(config)) is None)


def login_of(name: str, settings: Settings) -> str:
    """A word for what this host logs in to a cloud with: another one on each host, and after a new login.

    It is made of names and times of writing, never of a secret.
    """
    environ, known = settings.environ(), facts_of(name).credentials
    named = [environ.get(variable, "") for variable in known.variables]
    home = Path(environ.get("HOME", "~")).expanduser()
    sessions = [path for pattern in known.sessions for path in sorted(home.glob(pattern))]
    files = (*(home / file for file in known.files), *map(Path, filter(None, named)), *sessions)
    written = [_written(path) for path in files]
    account = settings.clouds[name].account if name in settings.clouds else None
    return f"{_word(socket.gethostname(), str(settings.home))}-{_word(name, account, named, written)}"


def same_host(one: str, other: str) -> bool:
    """Whether two words of :func:`login_of` were made on one host."""
    return one.partition("-")[0] == other.partition("-")[0]


def _word(*told: object) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


def _written(path: Path) -> int:
    """When a file was written last, nanoseconds since the epoch; 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _allowed(config: CloudConfig) -> CloudConfig:
    """The settings of a cloud without the word that it is not to be used, which says nothing of credentials."""
    if config.enabled:
        return config
    return CloudConfig.model_validate(config.model_dump(exclude_unset=True, exclude={"enabled"}))


def _why_own_unusable(name: str, config: CloudConfig) -> str | None:
    if config.bucket is None:
        return (
            f"nowhere to keep what its jobs make: set bucket in [clouds.{name}] of config.toml, to a bucket's URL or a"
            " folder that its hosts and this machine share (file:///…)"
        )
    if config.login_key is None:
        return f"no private key to log in with: set key_file in [clouds.{name}] of config.toml"
    if not config.login_key.is_file():
        return f"key_file: {config.login_key} is not there"
    return None


def _is_installed(module: str) -> bool:
    """Whether a module could be imported; no more than the packages around it are."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
