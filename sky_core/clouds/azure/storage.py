"""Azure's object store for :class:`~sky_core.clouds.azure.provider.Azure`: account, container and rights.

With ``storage_account`` set there is one account. Without it each region gets an account of its own, made on first use,
so that data stays where its tasks run. Machines of whatever cloud are lent signatures that end within hours: of the
folders of their job where the account has a hierarchical namespace, as those that are made here have, else of whole
containers. The driver itself reads by its login.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.rest import HttpRequest
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.storage.blob import BlobServiceClient, generate_blob_sas, generate_container_sas

from sky_core.clouds.azure.errors import cloud_errors
from sky_core.clouds.base import Leftover, Loan, Reach, Storage
from sky_core.config import CloudConfig
from sky_core.errors import InvalidRequest

log = logging.getLogger(__name__)

STORAGE_API = "2023-05-01"
OWN = timedelta(hours=12)  # what we sign for ourselves, as long as we like
GROUP = "skyloom-storage-"  # how the resource group of a region's account begins
EMULATOR_KEY = "c2FuZGJveA=="  # any key does: the emulator does not check it


READING, WRITING = "rl", "racwdl"  # letters of https://learn.microsoft.com/rest/api/storageservices/create-service-sas


def place_of(url: str) -> tuple[str, str]:
    """``container`` or ``container@account…`` of a URL, and the path in it: what can be signed for."""
    first, _, rest = url.partition("://")[2].partition("/")
    if url.startswith("az://"):
        container, _, rest = rest.partition("/")
        first = f"{container}@{first}"
    return first, rest.strip("/")


class AzureStorage:
    """Containers of one subscription; the clients are the provider's."""

    def __init__(
        self, config: CloudConfig, subscription: str, client: ResourceManagementClient, credential: Any
    ) -> None:
        self._config, self._subscription, self._client = config, subscription, client
        self._credential = credential
        self._containers: dict[str, Storage] = {}
        self._account_ids: dict[str, str] = {}
        self._keys: dict[str, tuple[Any, datetime]] = {}  # what signs, by account, and until when
        self._folders: dict[str, bool] = {}  # by account: whether it has any, beyond the look of names

    def name(self, region: str) -> str:
        """The name of the region's container, whether it is there or not."""
        return f"{self._config.bucket_prefix or 'skyloom'}-{region}"

    def container(self, region: str) -> Storage:
        """The region's container, made if needed.

        Raises:
            InvalidRequest: if the account that the settings name is not in the subscription.
        """
        if region not in self._containers:
            name = self.name(region)
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
            self._put(f"{self._account(self._config.storage_account)}/blobServices/default/containers/{name}", {})
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
        """Options for all containers, to be used here: each is signed for when it is first used."""
        account = self._config.storage_account
        if self._config.storage_endpoint:
            return {"account_name": account, "connection_string": self._emulator()}
        return {"signatures": _Signatures(self), **({"account_name": account} if account else {})}

    def lend(self, reaches: Sequence[Reach], machine: str) -> Loan:
        """A signature for each place that a machine reaches: ``container`` or ``container@account``, and the folder.

        Azure signs for a folder in accounts with a hierarchical namespace only; in others it is the whole container's.
        Of what may be a single file its folder is signed. A user-assigned identity of the settings needs none.
        """
        account = self._config.storage_account
        named = {"account_name": account} if account else {}
        if self._config.machine_identity and machine == "azure":
            return Loan({"identity": self._config.machine_identity, **named})
        ends = datetime.now(UTC) + timedelta(hours=self._config.lent_h)
        places: dict[tuple[str, str], bool] = {}
        with cloud_errors():
            for reach in reaches:
                container, path = place_of(reach.url)
                folder = path if reach.folder else path.rpartition("/")[0]
                place = (container, folder if self._has_folders(container) else "")
                places[place] = places.get(place, False) or reach.write
            signed = {
                "/".join(filter(None, place)): self.sign(*place, ends, write=_writable(place, places))
                for place in places
            }
        options: dict[str, Any] = {"signatures": signed, **named}
        if self._config.storage_endpoint:
            options["endpoint"] = f"{self._config.storage_endpoint}/{account}"
        return Loan(options, ends.timestamp())

    def sign(self, place: str, folder: str, ends: datetime, *, write: bool) -> str:
        """A shared access signature by a key that is delegated to our login, else by the account's own."""
        container, account = place.partition("@")[0], self._account_of(place)
        allowed = WRITING if write else READING
        with_key: dict[str, Any]
        if self._config.storage_endpoint:
            with_key = {"account_key": EMULATOR_KEY}
        else:
            try:
                with_key = {"user_delegation_key": self._delegated(account, ends)}
            except HttpResponseError as error:
                log.info("%s delegates no key to this login, so its own one signs: %s", account, error)
                with_key = {"account_key": self._key(account)}
        if folder:
            how = {"permission": allowed, "expiry": ends, "is_directory": True, **with_key}
            return str(generate_blob_sas(account, container, folder, **how))
        return str(generate_container_sas(account, container, permission=allowed, expiry=ends, **with_key))

    def _account_of(self, place: str) -> str:
        return place.partition("@")[2].partition(".")[0] or str(self._config.storage_account)

    def _has_folders(self, place: str) -> bool:
        """Whether the account has a hierarchical namespace; one that is not in our subscription is taken to have none.

        https://learn.microsoft.com/azure/storage/blobs/data-lake-storage-namespace
        """
        account = self._account_of(place)
        if account not in self._folders:
            if self._config.storage_endpoint:
                about = BlobServiceClient.from_connection_string(self._emulator()).get_account_information()
                self._folders[account] = bool(about["is_hns_enabled"])
            else:
                with suppress(InvalidRequest):
                    self._folders[account] = bool((self._about(self._account(account)) or {}).get("isHnsEnabled"))
        return self._folders.setdefault(account, False)

    def _about(self, id_: str) -> Mapping[str, Any] | None:
        """The properties of an account; None if there is none."""
        try:
            found = self._client.resources.get_by_id(id_, api_version=STORAGE_API)
        except ResourceNotFoundError:
            return None
        return dict(found.properties or {})

    def _delegated(self, account: str, ends: datetime) -> Any:
        """A key to sign with till then, kept for as long as it serves."""
        key, until = self._keys.get(account, (None, datetime.min.replace(tzinfo=UTC)))
        if key is None or until < ends:
            begins, until = datetime.now(UTC) - timedelta(minutes=15), ends + OWN
            service = BlobServiceClient(f"https://{account}.blob.core.windows.net", credential=self._credential)
            key = service.get_user_delegation_key(begins, until)
            self._keys[account] = key, until
        return key

    def _key(self, account: str) -> str:
        request = HttpRequest("POST", f"{self._account(account)}/listKeys", params={"api-version": STORAGE_API})
        reply = self._client.send_request(request)
        reply.raise_for_status()
        return str(reply.json()["keys"][0]["value"])

    def _emulator(self) -> str:
        account = self._config.storage_account
        endpoint = f"{self._config.storage_endpoint}/{account}"
        return f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={EMULATOR_KEY};BlobEndpoint={endpoint};"

    def _account(self, name: str) -> str:
        """ARM id of an account, whichever resource group it is in."""
        if name not in self._account_ids:
            query = f"resourceType eq 'Microsoft.Storage/storageAccounts' and name eq '{name}'"
            found = next(iter(self._client.resources.list(filter=query)), None)
            if found is None:
                raise InvalidRequest(
                    f"Azure: storage_account: no account {name!r} in subscription {self._subscription}",
                    cure="correct it in [clouds.azure] of config.toml, or leave it out to have one made per region",
                )
            self._account_ids[name] = str(found.id)
        return self._account_ids[name]

    def _regional_account(self, region: str) -> str:
        """ARM id of Skyloom's account in a region, made if needed. Account names are shared by all of Azure."""
        group = f"{GROUP}{region}"
        name = "sky" + hashlib.sha256(f"{self._subscription}/{region}".encode()).hexdigest()[:21]
        self._client.resource_groups.create_or_update(group, {"location": region})
        path = f"/subscriptions/{self._subscription}/resourceGroups/{group}"
        id_ = f"{path}/providers/Microsoft.Storage/storageAccounts/{name}"
        if self._about(id_) is not None:  # it may be one without folders, which cannot be given any by asking again
            return id_
        settings = {"minimumTlsVersion": "TLS1_2", "allowBlobPublicAccess": False, "supportsHttpsTrafficOnly": True,
                    "isHnsEnabled": True}  # fmt: skip
        body = {"location": region, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": settings}
        self._put(id_, body)
        return id_

    def _put(self, id_: str, body: Mapping[str, Any]) -> None:
        self._client.resources.begin_create_or_update_by_id(id_, dict(body), api_version=STORAGE_API).result()


def _writable(place: tuple[str, str], places: Mapping[tuple[str, str], bool]) -> bool:
    """Whether a place, or a folder that it lies in, is written to."""
    container, folder = place
    return any(
        write and other == container and (not above or f"{folder}/".startswith(f"{above}/"))
        for (other, above), write in places.items()
    )


class _Signatures(Mapping[str, str]):
    """Signatures by container, each made when it is asked for, and anew before it ends."""

    def __init__(self, storage: AzureStorage) -> None:
        self._storage = storage
        self._made: dict[str, tuple[str, datetime]] = {}

    def __getitem__(self, place: str) -> str:
        signature, ends = self._made.get(place, ("", datetime.min.replace(tzinfo=UTC)))
        if ends < datetime.now(UTC) + OWN / 2:
            ends = datetime.now(UTC) + OWN
            with cloud_errors():
                signature = self._storage.sign(place, "", ends, write=True)
            self._made[place] = signature, ends
        return signature

    def __contains__(self, place: object) -> bool:
        return "/" not in str(place)

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)
