"""Which sources a user means, and the credentials they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from sky_core.catalog.refresh.source import Source
from sky_core.config import Settings
from sky_core.errors import AuthError, MissingExtra, SpecError

CLOUDS = ("aws", "azure", "gcp")
NAMED = ("api", "gpuhunt", "skypilot")


def sources(settings: Settings, origin: str = "api", clouds: Sequence[str] = ()) -> list[Source]:
    """The sources for a choice.

    Args:
        origin: ``"api"`` (each cloud's own), ``"gpuhunt"``, ``"skypilot"``, or the path or URL of a CSV file in
            SkyPilot's format.
        clouds: The clouds wanted; all if empty.

    Raises:
        SpecError: for an unknown cloud or source, or a file without the one cloud it is about.
    """
    for cloud in clouds:
        if cloud not in CLOUDS:
            raise SpecError(f"--cloud: no prices are published for {cloud!r}; there are {', '.join(CLOUDS)}")
    return list(_sources(settings, origin, tuple(clouds) or CLOUDS))


def _sources(settings: Settings, origin: str, clouds: tuple[str, ...]) -> Iterator[Source]:
    if origin == "api":
        yield from (_own_api(cloud, settings) for cloud in clouds)
    elif origin == "gpuhunt":
        from sky_core.catalog.refresh.gpuhunt import GpuHunt

        yield GpuHunt(clouds)
    elif origin == "skypilot" or origin.endswith(".csv"):
        from sky_core.catalog.refresh.skypilot import SkyPilotCsv

        if origin != "skypilot" and len(clouds) > 1:
            raise SpecError(f"--source {origin}: say which cloud it is about with --cloud")
        yield from (SkyPilotCsv(cloud, None if origin == "skypilot" else origin) for cloud in clouds)
    else:
        raise SpecError(f"--source: {origin!r} is none of {', '.join(NAMED)}, nor a .csv file")


def _own_api(cloud: str, settings: Settings) -> Source:
    account = settings.clouds[cloud].account if cloud in settings.clouds else None
    if cloud == "aws":
        from sky_core.catalog.refresh.aws import Aws

        return Aws()
    if cloud == "azure":
        from sky_core.catalog.refresh.azure import Azure

        return Azure(account, partial(_token, "azure", _azure_token)) if account else Azure()
    from sky_core.catalog.refresh.gcp import Gcp

    return Gcp(account or "", partial(_token, "gcp", partial(_google_token, account)))


def _token(cloud: str, get: Callable[[], str]) -> str:
    try:
        return get()
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or cloud, cloud) from None
    except AuthError:
        raise
    except Exception as error:
        raise AuthError(f"{cloud}: no usable credentials: {error}") from error


def _azure_token() -> str:
    from azure.identity import DefaultAzureCredential

    token: str = DefaultAzureCredential().get_token("https://management.azure.com/.default").token
    return token


def _google_token(project: str | None) -> str:
    if not project:
        raise AuthError("gcp: no project is set", cure="set clouds.gcp.account in config.toml")
    import google.auth
    import google.auth.transport.requests as transport

    credentials: Any = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform.read-only"])[0]
    credentials.refresh(transport.Request())
    return str(credentials.token)
