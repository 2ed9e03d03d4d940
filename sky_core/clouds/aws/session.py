"""Clients of AWS's services by region, and how far a refusal of one reaches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import boto3
from botocore.config import Config

from sky_core.clouds.aws.errors import PERHAPS_REGIONAL, sorted_errors
from sky_core.config import CloudConfig
from sky_core.errors import AuthError, CloudError

HOME_REGION = "us-east-1"  # for calls that are the same everywhere; also S3's default
# One attempt: EC2 answers "no capacity" with HTTP 500, which botocore would retry for seconds. Launches are repeated
# by us instead, with the same ClientToken.
ONCE = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60)
PATIENT = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=10, read_timeout=60)
TRUSTED_S = 300.0  # for so long a login that worked at home is taken to work

T = TypeVar("T")


class Looks(dict[str, T]):
    """What was seen in each region that answered; ``refused`` says of the others why they did not."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: dict[str, str] = {}


class Session:
    """The SDK's default credential chain, or the sandbox's endpoint and credentials. Thread-safe."""

    def __init__(self, config: CloudConfig) -> None:
        self._config = config
        secrets = {name: secret.get_secret_value() for name, secret in config.credentials.items()}
        with sorted_errors():
            self._session = boto3.Session(
                aws_access_key_id=secrets.get("access_key_id"),
                aws_secret_access_key=secrets.get("secret_access_key"),
            )
        self._lock = threading.Lock()  # boto3 sessions must not be shared among threads, clients may
        self._clients: dict[tuple[str, str, Config], Any] = {}
        self._account = config.account
        self._trusted_until = 0.0

    def client(self, service: str, region: str, config: Config = PATIENT) -> Any:
        """The boto3 client of a service in a region; the same for all who ask."""
        with self._lock:
            key = (service, region, config)
            if key not in self._clients:
                endpoint = self._config.storage_endpoint if service == "s3" else self._config.endpoint
                self._clients[key] = self._session.client(
                    service, region_name=region, endpoint_url=endpoint, config=config
                )
            return self._clients[key]

    def credentials(self) -> Any:
        """Credentials as they are now, or None if there are none at all."""
        with sorted_errors():
            found = self._session.get_credentials()
            return None if found is None else found.get_frozen_credentials()

    def account(self) -> str:
        """The account's id."""
        if self._account is None:
            self.identify()
        return str(self._account)

    def identify(self) -> None:
        """Ask AWS who we are: the cheapest call that needs a login, and it needs no permission.

        Raises:
            AuthError: if the login does not work at home, hence nowhere.
        """
        with sorted_errors():
            self._account = self.client("sts", HOME_REGION).get_caller_identity()["Account"]
        self._trusted_until = time.monotonic() + TRUSTED_S

    @contextmanager
    def errors(self, region: str) -> Iterator[None]:
        """Turn the SDK's exceptions into ours, for calls to one region.

        A region that the account has not opted in to answers a good login as it would a bad one, in every detail.
        Only a look at home tells them apart.
        """
        try:
            with sorted_errors():
                yield
        except AuthError as error:
            if error.code in PERHAPS_REGIONAL and region != HOME_REGION and self.is_known():
                cure = f"enable the region: aws account enable-region --region-name {region}"
                raise AuthError(f"{region}: {error}", scope="region", code=error.code, cure=cure) from error
            raise

    def each_region(self, look: Callable[[str], T], regions: Iterable[str] | None) -> Looks[T]:
        """Look in these regions, or in all that the account may use, eight at a time.

        Raises:
            AuthError: if the login works nowhere.
        """
        with ThreadPoolExecutor(8) as pool:
            asked = {region: pool.submit(look, region) for region in (self._regions() if regions is None else regions)}
        looks: Looks[T] = Looks()
        for region, answer in asked.items():
            try:
                looks[region] = answer.result()
            except CloudError as error:
                looks.refused[region] = str(error)
        if looks.refused and not looks:
            self.identify()
        return looks

    def _regions(self) -> list[str]:
        """The regions that this account may use; all that the SDK knows of where that may not be asked."""
        try:
            with self.errors(HOME_REGION):
                regions = self.client("ec2", HOME_REGION).describe_regions()["Regions"]
        except AuthError:
            self.identify()
            return list(self._session.get_available_regions("ec2"))
        return [region["RegionName"] for region in regions]

    def is_known(self) -> bool:
        """Whether the login works at home."""
        if time.monotonic() < self._trusted_until:
            return True
        try:
            self.identify()
        except CloudError:
            return False
        return True
