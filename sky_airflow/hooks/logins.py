"""The clouds' own connections as what their SDKs look for in a process's environment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sky_core.engine_kit import keep_google_key
from sky_core.errors import SpecError

Variables = dict[str, str]


def login_of(field: str, connection: Any, home: Path) -> Variables:
    """The variables by which a cloud's SDK logs in as an Airflow connection says.

    Args:
        field: Of :data:`FIELDS`, what named the connection.
        connection: As the cloud's own Airflow provider has it.
        home: Skyloom's home: a key that Google's SDK wants as a file is kept there.

    Raises:
        SpecError: if the connection names no login, or one that cannot be handed on.
    """
    found = {name: str(value) for name, value in FIELDS[field](connection, home).items() if value}
    if not found:
        raise SpecError(f"{field}: connection {connection.conn_id}: there is no login in it")
    return found


def _aws(connection: Any, home: Path) -> Mapping[str, Any]:
    extra = connection.extra_dejson
    if extra.get("role_arn"):
        raise SpecError(
            f"connection {connection.conn_id}: role_arn: what it lends ends while jobs run",
            cure="name a profile of the worker's ~/.aws/config that assumes the role, by profile_name",
        )
    return {
        "AWS_ACCESS_KEY_ID": connection.login or extra.get("aws_access_key_id"),
        "AWS_SECRET_ACCESS_KEY": connection.password or extra.get("aws_secret_access_key"),
        "AWS_SESSION_TOKEN": extra.get("aws_session_token"),
        "AWS_PROFILE": extra.get("profile_name"),
    }


def _gcp(connection: Any, home: Path) -> Mapping[str, Any]:
    extra = connection.extra_dejson
    path, key = extra.get("key_path"), extra.get("keyfile_dict")
    if key:
        path = keep_google_key(home, key if isinstance(key, str) else json.dumps(key))
    return {"GOOGLE_APPLICATION_CREDENTIALS": path, "GOOGLE_CLOUD_PROJECT": extra.get("project")}


def _azure(connection: Any, home: Path) -> Mapping[str, Any]:
    extra = connection.extra_dejson
    return {
        "AZURE_CLIENT_ID": connection.login,
        "AZURE_CLIENT_SECRET": connection.password,
        "AZURE_TENANT_ID": extra.get("tenantId"),
        "AZURE_SUBSCRIPTION_ID": extra.get("subscriptionId"),
    }


FIELDS: Mapping[str, Callable[[Any, Path], Mapping[str, Any]]] = {
    "aws_conn_id": _aws, "gcp_conn_id": _gcp, "azure_conn_id": _azure,
}  # fmt: skip
"""What reads the connection that is named by each of these extras of a ``skyloom`` connection."""
