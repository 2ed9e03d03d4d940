"""Which clouds could be used, told without importing an SDK: planning must stay cheap in an engine's process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sky_core.config import CloudConfig

# Where each SDK's default chain looks first; a machine identity (EC2 role, GCE service account, managed identity)
# cannot be seen from here, so that ``[clouds.<name>] enabled = true`` in config.toml vouches for it.
_VARIABLES = {
    "aws": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    "gcp": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "azure": ("AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"),
}
_FILES = {
    "aws": (".aws/credentials", ".aws/config"),
    "gcp": (".config/gcloud/application_default_credentials.json",),
    "azure": (".azure/msal_token_cache.json", ".azure/azureProfile.json"),
}
_ACCOUNTS = {"gcp": "a project (account)", "azure": "a subscription id (account)"}


def why_unusable(name: str, config: CloudConfig, environ: Mapping[str, str] | None = None) -> str | None:
    """Why a cloud cannot be used as far as can be told cheaply, or None if it looks usable."""
    env = os.environ if environ is None else environ
    if not config.enabled:
        return "disabled in the settings"
    if config.credentials or "enabled" in config.model_fields_set:
        return None
    home = Path(env.get("HOME", "~")).expanduser()
    found = any(env.get(variable) for variable in _VARIABLES.get(name, ())) or any(
        (home / path).exists() for path in _FILES.get(name, ())
    )
    if not found:
        return f"no credentials: set {_VARIABLES[name][0]} or log in with the cloud's own CLI"
    if name in _ACCOUNTS and config.account is None and not _account_from(name, env):
        return f"{_ACCOUNTS[name]} is missing: set it in [clouds.{name}] of config.toml"
    return None


def _account_from(name: str, env: Mapping[str, str]) -> str | None:
    variables = {"gcp": ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"), "azure": ("AZURE_SUBSCRIPTION_ID",)}[name]
    return next((env[variable] for variable in variables if env.get(variable)), None)
