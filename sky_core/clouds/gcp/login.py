"""Whose login Google Cloud is spoken to with, and whose project."""

from __future__ import annotations

from typing import Any

import google.auth
from google.oauth2.credentials import Credentials

from sky_core.clouds.gcp import bodies
from sky_core.clouds.gcp.errors import cloud_errors
from sky_core.config import CloudConfig


def login(config: CloudConfig) -> tuple[Any, str | None]:
    """Our login, and the project that comes with it."""
    if "token" in config.credentials:
        return Credentials(config.credentials["token"].get_secret_value()), None  # type: ignore[no-untyped-call]
    with cloud_errors("Google Cloud"):
        credentials, project = google.auth.default(scopes=bodies.ALL_SCOPES)
    return credentials, project
