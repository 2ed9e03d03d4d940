"""Azure's object store for :class:`~sky_core.clouds.azure.provider.Azure`: account, container and rights.

With ``storage_account`` set there is one account, whose shared access signature also serves machines of other clouds.
Without it each region gets an account of its own, made on first use, so that data stays where its tasks run; access
is then by the login of whoever reads: the service principal in ``AZURE_CLIENT_ID``, ``AZURE_CLIENT_SECRET`` and
``AZURE_TENANT_ID`` travels with the job, other logins work only where they are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.exceptions import ResourceExistsError
from azure.core.rest import HttpRequest
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.storage.blob import AccountSasPermissions, BlobServiceClient, ResourceTypes, generate_account_sas

from sky_core.clouds.azure.errors import cloud_errors
from sky_core.clouds.base import Leftover, Storage
from sky_core.config import CloudConfig
from sky_core.errors import InvalidRequest

STORAGE_API = "2023-05-01"
SIGNATURE_LIFE = timedelta(days=30)  # longer than any one machine is kept
GROUP = "skyloom-storage-"  # how the resource group of a region's account begins
EMULATOR_KEY = "c2FuZGJveA=="  # any key does: the emulator does not check it


class AzureStorage:
    """Containers of one subscription; the clients are the provider's."""

    def __init__(self, config: CloudConfig, subscription: str, client: ResourceManagementClient) -> None:
        self._config, self._subscription, self._client = config, subscription, client
        self._containers: dict[str, Storage] = {}
        self._account_id: str | None = None

    def container(self, region: str) -> Storage:
        """The container ``<prefix>-<region>``, made if needed.

        Raises:
            InvalidRequest: if the account that the settings name is not in the subscription.
        """
        if region not in self._containers:
            name = f"{self._config.bucket_prefix or 'skyloom'}-{region}"
            with cloud_errors():
                url = self._make(name, region)
            self._containers[region] = Storage(url, region)
        return self._containers[region]

    def _make(self, name: str, region: str) -> str:
        if self._config.storage_endpoint:
            with suppress(ResourceExistsError):
                BlobServiceClient.from_connection_string(self._emulator()).create_container(name)
            return f"abfs://{name}"
        if self._config.storage_account:
            self._put(f"{self._account()}/blobServices/default/containers/{name}", {})
            return f"abfs://{name}"
        account = self._regional_account(region)
        self._put(f"{account}/blobServices/default/containers/{name}", {})
        return f"abfs://{name}@{account.rpartition('/')[2]}.dfs.core.windows.net"

    def leftovers(self) -> list[Leftover]:
        """The accounts that were made for a region each. One that the settings name is its owner's own affair."""
        query = "resourceType eq 'Microsoft.Storage/storageAccounts'"
        found = [str(account.id) for account in self._client.resources.list(filter=query)]
        ours = {f"/{GROUP}" + id_.partition(f"/{GROUP}")[2]: id_ for id_ in found if f"/{GROUP}" in id_}
        return [Leftover("bucket", id_, "azure", path.split("/")[1][len(GROUP) :]) for path, id_ in ours.items()]

    def options(self) -> Mapping[str, Any]:
        """adlfs options for all containers, to be used here and on the machines."""
        account = self._config.storage_account
        if self._config.storage_endpoint:
            return {"account_name": account, "connection_string": self._emulator()}
        if account:
            return {"account_name": account, "sas_token": self._signature()}
        variables = {
            name: os.environ.get(f"AZURE_{name.upper()}") for name in ("tenant_id", "client_id", "client_secret")
        }
        return variables if all(variables.values()) else {"anon": False}

    def _emulator(self) -> str:
        account = self._config.storage_account
        endpoint = f"{self._config.storage_endpoint}/{account}"
        return f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={EMULATOR_KEY};BlobEndpoint={endpoint};"

    def _signature(self) -> str:
        """A shared access signature for the blobs of the account that the settings name."""
        with cloud_errors():
            request = HttpRequest("POST", f"{self._account()}/listKeys", params={"api-version": STORAGE_API})
            reply = self._client.send_request(request)
            reply.raise_for_status()
        return str(
            generate_account_sas(
                str(self._config.storage_account),
                reply.json()["keys"][0]["value"],
                ResourceTypes(service=True, container=True, object=True),
                AccountSasPermissions(read=True, write=True, delete=True, list=True, add=True, create=True),
                datetime.now(UTC) + SIGNATURE_LIFE,
            )
        )

    def _account(self) -> str:
        """ARM id of the account that the settings name, whichever resource group it is in."""
        if self._account_id is None:
            name = self._config.storage_account
            query = f"resourceType eq 'Microsoft.Storage/storageAccounts' and name eq '{name}'"
            found = next(iter(self._client.resources.list(filter=query)), None)
            if found is None:
                raise InvalidRequest(
                    f"Azure: storage_account: no account {name!r} in subscription {self._subscription}",
                    cure="correct it in [clouds.azure] of config.toml, or leave it out to have one made per region",
                )
            self._account_id = str(found.id)
        return self._account_id

    def _regional_account(self, region: str) -> str:
        """ARM id of Skyloom's account in a region, made if needed. Account names are shared by all of Azure."""
        group = f"{GROUP}{region}"
        name = "sky" + hashlib.sha256(f"{self._subscription}/{region}".encode()).hexdigest()[:21]
        self._client.resource_groups.create_or_update(group, {"location": region})
        path = f"/subscriptions/{self._subscription}/resourceGroups/{group}"
        id_ = f"{path}/providers/Microsoft.Storage/storageAccounts/{name}"
        settings = {"minimumTlsVersion": "TLS1_2", "allowBlobPublicAccess": False, "supportsHttpsTrafficOnly": True}
        body = {"location": region, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": settings}
        self._put(id_, body)
        return id_

    def _put(self, id_: str, body: Mapping[str, Any]) -> None:
        self._client.resources.begin_create_or_update_by_id(id_, dict(body), api_version=STORAGE_API).result()
