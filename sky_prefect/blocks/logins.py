"""The credential blocks of the clouds' own collections, as what their SDKs look for in a process's environment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from sky_core.engine_kit import keep_google_key
from sky_core.errors import SpecError


def login_of(name: str, block: Any, home: Path) -> dict[str, str]:
    """The variables by which a cloud's SDK logs in as a block says.

    Args:
        name: ``kind/name`` of the block.
        home: Skyloom's home: a key that Google's SDK wants as a file is kept there.

    Raises:
        SpecError: if the block is of no kind that is known, has no login in it, or one that cannot be handed on.
    """
    kind = name.partition("/")[0]
    if kind not in KINDS:
        raise SpecError(f"SkyloomConfig.credentials: {name}: {kind} is none of {', '.join(KINDS)}")
    said = {variable: _open(value) for variable, value in KINDS[kind](block, home).items()}
    found = {variable: str(value) for variable, value in said.items() if value}
    if not found:
        raise SpecError(f"SkyloomConfig.credentials: {name}: there is no login in it")
    return found


def _open(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _aws(block: Any, home: Path) -> Mapping[str, Any]:
    if getattr(block, "assume_role_arn", None):
        raise SpecError(
            "SkyloomConfig.credentials: assume_role_arn: what it lends ends while jobs run",
            cure="name a profile of ~/.aws/config that assumes the role, by profile_name",
        )
    return {
        "AWS_ACCESS_KEY_ID": block.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": block.aws_secret_access_key,
        "AWS_SESSION_TOKEN": block.aws_session_token,
        "AWS_PROFILE": block.profile_name,
    }


def _gcp(block: Any, home: Path) -> Mapping[str, Any]:
    info, path = block.service_account_info, block.service_account_file
    if info is not None:
        path = keep_google_key(home, json.dumps(info.get_secret_value()))
    return {"GOOGLE_APPLICATION_CREDENTIALS": path, "GOOGLE_CLOUD_PROJECT": block.project}


def _azure(block: Any, home: Path) -> Mapping[str, Any]:
    return {
        "AZURE_CLIENT_ID": block.client_id,
        "AZURE_CLIENT_SECRET": block.client_secret,
        "AZURE_TENANT_ID": block.tenant_id,
    }


def _azure_ml(block: Any, home: Path) -> Mapping[str, Any]:
    return {
        "AZURE_CLIENT_ID": block.service_principal_id,
        "AZURE_CLIENT_SECRET": block.service_principal_password,
        "AZURE_TENANT_ID": block.tenant_id,
        "AZURE_SUBSCRIPTION_ID": block.subscription_id,
    }


KINDS: Mapping[str, Callable[[Any, Path], Mapping[str, Any]]] = {
    "aws-credentials": _aws,
    "gcp-credentials": _gcp,
    "azure-container-instance-credentials": _azure,
    "azure-blob-storage-credentials": _azure,
    "azureml-credentials": _azure_ml,
}
"""What reads a block of each kind."""
