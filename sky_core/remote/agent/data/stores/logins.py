"""S3, Google Cloud Storage and Azure Blob as obstore opens them, by what a machine was lent or its own identity.

What was lent goes in by a callback, so that no variable of the environment is mixed with it.
"""

from __future__ import annotations

import functools
import http
import http.client
import importlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, urlsplit

from .base import Place

LINK_LOCAL = "http://169.254.169.254"
GOOGLE_HOST = "metadata.google.internal"
GOOGLE_TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105 - a path
FIRST_REGION = "us-east-1"
UNDERSTOOD = {
    "s3": {"key", "secret", "token", "endpoint_url", "anon"},
    "gs": {"access_token", "token", "endpoint_url", "project"},
    "abfs": {"account_name", "account_key", "connection_string", "signatures", "sas_token", "endpoint", "identity"},
}
AZURE_LOGINS = {"account_key", "connection_string", "signatures", "sas_token", "identity"}
RETRIES = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
UTC = timezone.utc  # noqa: UP017 - a machine's own Python may be older than 3.11
CONNECT_S, SILENT_S, WHOLE_S = 15, 60, 900  # a request's limits; the last holds for a large part on a thin line

Provider = Callable[[], Any]


def serves(kind: str, options: Mapping[str, Any]) -> bool:
    """Whether obstore can open such a store by such options; for all others there is fsspec."""
    if kind not in UNDERSTOOD or not options.keys() <= UNDERSTOOD[kind]:
        return False
    if kind == "gs":
        return options.get("token") is None or hasattr(options["token"], "refresh")
    return kind == "s3" or bool(options.keys() & AZURE_LOGINS)


def open_bucket(place: Place) -> Any:
    """obstore's store of the bucket, for options that :func:`serves` says yes to."""
    return OPENERS[place.kind](place.bucket, place.options)


def _s3(bucket: str, options: Mapping[str, Any]) -> Any:
    from obstore.store import S3Store

    endpoint = options.get("endpoint_url")
    config: Any = {"region": _region(bucket, endpoint)}
    if endpoint:
        config["endpoint"] = endpoint.rstrip("/")
    if options.get("anon"):
        config["skip_signature"] = True
    elif "key" not in options:
        config["metadata_endpoint"] = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", LINK_LOCAL).rstrip("/")
    return S3Store(bucket, config=config, credential_provider=_aws_login(options), **_client(endpoint))


def _aws_login(options: Mapping[str, Any]) -> Provider | None:
    if "key" not in options:
        return None
    login = {"access_key_id": options["key"], "secret_access_key": options["secret"], "expires_at": None}
    return lambda: {**login, "token": options.get("token")}


@functools.lru_cache(maxsize=64)
def _region(bucket: str, endpoint: str | None) -> str:
    """The region that requests to a bucket must be signed for. S3 tells everybody, whether it lets them in or not.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html

    Raises:
        OSError: if it does not answer, or is out of order.
    """
    url = f"{endpoint.rstrip('/')}/{quote(bucket)}" if endpoint else address(bucket)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=CONNECT_S) as reply:  # noqa: S310
            told = reply.headers["x-amz-bucket-region"]
    except urllib.error.HTTPError as error:
        if error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ConnectionError(f"s3://{bucket}: {error}") from None
        told = error.headers["x-amz-bucket-region"]
    return told or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or FIRST_REGION


def address(bucket: str) -> str:
    """Where S3 answers for a bucket of whatever region: by its own name, unless the certificate has none like it."""
    return f"https://s3.amazonaws.com/{bucket}" if "." in bucket else f"https://{bucket}.s3.amazonaws.com/"


def _gs(bucket: str, options: Mapping[str, Any]) -> Any:
    from obstore.store import GCSStore

    endpoint = options.get("endpoint_url")
    config: Any = {"base_url": endpoint.rstrip("/")} if endpoint else {}
    return GCSStore(bucket, config=config, credential_provider=_google_login(options), **_client(endpoint))


def _google_login(options: Mapping[str, Any]) -> Provider:
    if "access_token" in options:
        return lambda: {"token": options["access_token"], "expires_at": None}
    token = options.get("token")
    if token is None:
        return _google_identity

    def of_ours() -> Any:
        if not token.valid:  # the library came with the login, and is known nowhere else
            token.refresh(importlib.import_module("google.auth.transport.requests").Request())
        ends = token.expiry.replace(tzinfo=UTC) if getattr(token, "expiry", None) else None
        return {"token": token.token, "expires_at": ends}

    return of_ours


def _google_identity() -> Any:
    """A token of the machine's own service account: https://cloud.google.com/compute/docs/access/authenticate-workloads"""
    connection = http.client.HTTPConnection(os.environ.get("GCE_METADATA_HOST", GOOGLE_HOST), timeout=CONNECT_S)
    try:
        connection.request("GET", GOOGLE_TOKEN, headers={"Metadata-Flavor": "Google"})
        told = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    ends = datetime.now(UTC) + timedelta(seconds=told["expires_in"])
    return {"token": told["access_token"], "expires_at": ends}


def _abfs(container: str, options: Mapping[str, Any]) -> Any:
    from obstore.store import AzureStore

    said = dict(part.partition("=")[::2] for part in options.get("connection_string", "").split(";") if part)
    endpoint = options.get("endpoint") or said.get("BlobEndpoint")
    config: Any = {"account_name": said.get("AccountName") or options.get("account_name") or "unnamed"}
    if endpoint:
        config["endpoint"] = endpoint.rstrip("/")
    login: dict[str, Any] = {"expires_at": None}
    signature = options.get("sas_token") or said.get("SharedAccessSignature")
    if "identity" in options:
        host = os.environ.get("AZURE_METADATA_ENDPOINT", LINK_LOCAL).rstrip("/")
        config["msi_endpoint"] = f"{host}/metadata/identity/oauth2/token"
        config |= {"msi_resource_id": options["identity"], "credential_type": "managed_identity"}
    elif signature:
        login["sas_token"] = signature.lstrip("?")
    else:
        login["access_key"] = options.get("account_key") or said.get("AccountKey")
    provider: Any = (lambda: login) if len(login) > 1 else None
    return AzureStore(container, config=config, credential_provider=provider, **_client(endpoint))


def _client(endpoint: str | None) -> dict[str, Any]:
    limits = {
        "connect_timeout": timedelta(seconds=CONNECT_S),
        "read_timeout": timedelta(seconds=SILENT_S),
        "timeout": timedelta(seconds=WHOLE_S),
    }
    plain = bool(endpoint) and urlsplit(endpoint).scheme == "http"
    return {"client_options": {**limits, "allow_http": plain}, "retry_config": RETRIES}


OPENERS: dict[str, Callable[[str, Mapping[str, Any]], Any]] = {"s3": _s3, "gs": _gs, "abfs": _abfs}
