"""Skyloom's buckets in Google Cloud Storage, one for each region.

Names are shared by all of Google's customers, and ours can be guessed. Somebody else's bucket that lets us in is not
used: what lies in it would be taken for results.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import Any

from google.api_core.exceptions import Conflict, NotFound
from google.cloud.storage import Client

from sky_core.clouds.base import Leftover, Storage
from sky_core.clouds.gcp.errors import RETRY, cloud_errors
from sky_core.config import CloudConfig
from sky_core.errors import AuthError

CALL_S = 60.0


class Buckets:
    """The buckets ``<prefix>-<region>``, made when first asked for."""

    def __init__(self, config: CloudConfig, project: str, credentials: Any) -> None:
        self._config = config
        self._project = project
        self._credentials = credentials
        self._known: dict[str, Storage] = {}

    @cached_property
    def _client(self) -> Client:
        endpoint = self._config.storage_endpoint
        options = {"api_endpoint": endpoint} if endpoint else None
        return Client(project=self._project, credentials=self._credentials, client_options=options)

    @property
    def _prefix(self) -> str:
        return self._config.bucket_prefix or f"skyloom-{self._project}"

    def leftovers(self) -> list[Leftover]:
        """All buckets of ours."""
        prefix = f"{self._prefix}-"
        with cloud_errors("list buckets"):
            found = [bucket.name for bucket in self._client.list_buckets(prefix=prefix, retry=RETRY, timeout=CALL_S)]
        return [Leftover("bucket", name, "gcp", name.removeprefix(prefix)) for name in found]

    def name(self, region: str) -> str:
        """The name of the region's bucket, whether it is there or not."""
        return f"{self._prefix}-{region}"

    def storage(self, region: str) -> Storage:
        """The region's bucket.

        Raises:
            CloudError: if it cannot be made.
            AuthError: if it belongs to somebody else, whether that lets us in or not.
        """
        if region not in self._known:
            name = self.name(region)
            with cloud_errors(f"make the bucket {name}"):
                try:
                    self._client.get_bucket(name, retry=RETRY, timeout=CALL_S)
                except NotFound:
                    self._create(name, region)
                self._refuse_anothers(name)
            self._known[region] = Storage(f"gs://{name}", region)
        return self._known[region]

    def _refuse_anothers(self, name: str) -> None:
        """A project lists its own buckets only, whatever others let it do with theirs."""
        listed = self._client.list_buckets(project=self._project, prefix=name, retry=RETRY, timeout=CALL_S)
        if name not in [bucket.name for bucket in listed]:
            cure = "set another bucket_prefix in [clouds.gcp]"
            raise AuthError(f"the bucket {name} belongs to another project", scope="region", code="NotOurs", cure=cure)

    def _create(self, name: str, region: str) -> None:
        bucket = self._client.bucket(name)
        bucket.iam_configuration.uniform_bucket_level_access_enabled = True
        bucket.iam_configuration.public_access_prevention = "enforced"
        with suppress(Conflict):  # another driver was faster
            self._client.create_bucket(bucket, location=region, retry=RETRY, timeout=CALL_S)
