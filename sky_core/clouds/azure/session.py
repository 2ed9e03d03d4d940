"""How Azure's SDK is spoken to: which subscription, with whose login, and how patiently."""

from __future__ import annotations

import os
import time
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import RetryPolicy
from azure.identity import DefaultAzureCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

from sky_core.config import CloudConfig
from sky_core.errors import NotConnected

MAX_RETRY_AFTER_S = 5.0  # a longer wait is the caller's to plan


class Session:
    """The SDK's default credential chain, or the sandbox's endpoint and token.

    Raises:
        NotConnected: if no subscription is chosen.
    """

    def __init__(self, config: CloudConfig) -> None:
        subscription = config.account or os.environ.get("AZURE_SUBSCRIPTION_ID")
        if not subscription:
            cure = "set account in [clouds.azure] of config.toml, or AZURE_SUBSCRIPTION_ID"
            raise NotConnected("Azure: no subscription is chosen", cure=cure)
        options: dict[str, Any] = {
            "retry_policy": _ShortRetries(retry_total=3, retry_backoff_factor=min(0.8, config.min_poll_s)),
            "polling_interval": config.min_poll_s,
            "connection_timeout": 10,
            "read_timeout": 60,
        }
        if config.endpoint:
            options |= {"base_url": config.endpoint, "connection_verify": str(config.ca_file)}
        self.subscription = subscription
        self.credential = _StaticToken(config) if config.credentials else DefaultAzureCredential()
        self.compute = ComputeManagementClient(self.credential, subscription, **options)
        self.resources = ResourceManagementClient(self.credential, subscription, **options)


class _ShortRetries(RetryPolicy[Any, Any]):
    """azure-core sleeps as long as Azure asks, which may be minutes; longer waits are left to the caller."""

    def is_retry(self, settings: dict[str, Any], response: Any) -> bool:
        asked = self.get_retry_after(response)
        return (asked is None or asked <= MAX_RETRY_AFTER_S) and bool(super().is_retry(settings, response))


class _StaticToken:
    """The sandbox's throw-away token in the form that azure-core wants."""

    def __init__(self, config: CloudConfig) -> None:
        self._token = config.credentials["token"]

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken(self._token.get_secret_value(), int(time.time()) + 3600)
