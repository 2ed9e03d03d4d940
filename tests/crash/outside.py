"""Reading what a job published as a stranger would: each cloud's plain HTTP or its own SDK, nothing of the product's.

An artifact is ``manifest.json`` beside the folder of data that it names (docs/execution.md).
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import boto3
import requests
from botocore.config import Config
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

TIMEOUT_S = 30
# The judge's own logins, as the owner of each account has them.
AWS_KEY = "AKIASKYLOOMSANDBOX00JUDGE"
GOOGLE = {"authorization": "Bearer the-judge"}
AZURE = {"authorization": "SharedKey skyloomsandbox:the-judge", "x-ms-version": "2021-12-02"}


def reader(url: str, endpoint: str) -> tuple[Callable[[str], bytes], str]:
    """How to read an object of the bucket that ``url`` is in, and the key that ``url`` names there."""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme == "s3":
        keys = {"aws_access_key_id": AWS_KEY, "aws_secret_access_key": "judge", "region_name": "us-east-1"}
        config = Config(s3={"addressing_style": "path"})
        client = boto3.session.Session().client("s3", endpoint_url=endpoint, config=config, **keys)
        return lambda name: bytes(client.get_object(Bucket=bucket, Key=name)["Body"].read()), key
    if scheme in ("gs", "gcs"):
        return lambda name: _get(f"{endpoint}/storage/v1/b/{bucket}/o/{quote(name, '')}?alt=media", GOOGLE), key
    container = bucket.partition("@")[0]
    return lambda name: _get(f"{endpoint}/skyloomsandbox/{container}/{name}", AZURE), key


def _get(url: str, headers: dict[str, str]) -> bytes:
    """An object, once its store is back: a job may be over before an outage is. (boto3 asks again by itself.)"""
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=Retry(total=7, backoff_factor=0.2, status_forcelist=[503])))
        reply = session.get(url, headers=headers, timeout=TIMEOUT_S)
        reply.raise_for_status()
        return reply.content


def faults(url: str, endpoint: str) -> list[str]:
    """What is wrong with the artifact that a job of :func:`tests.crash.witness.command` published."""
    read, key = reader(url, endpoint)
    try:
        manifest: dict[str, Any] = json.loads(read(f"{key}/manifest.json"))
    except Exception as error:  # noqa: BLE001 - each client has its own; all are "not there"
        return [f"{url} has no manifest: {type(error).__name__}: {error}"]
    names = sorted(file["path"] for file in manifest["files"])
    if names != ["a", "b"]:
        return [f"{url} holds {names} instead of a and b"]
    found, nonces = [], set()
    for name in names:
        text = read(posixpath.join(key, manifest["data"], name)).decode()
        whole = re.fullmatch(r"(\w+)\nx{30000}\nEND (\w+)\n", text)
        if whole is None or whole[1] != whole[2]:
            found.append(f"{url}: {name} is not whole ({len(text)} characters)")
        else:
            nonces.add(whole[1])
    return found + ([f"{url} mixes two attempts"] if len(nonces) > 1 else [])
