"""Pulling an image from its registry: each blob checked against its digest, and taken up again where it was cut off.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md and, for tokens,
https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import platform
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .reference import Reference

INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MOST_BYTES = 16 << 20  # of a manifest or a configuration
PIECE = 1 << 20
PARTIAL = 206  # the status of an answer that begins where we asked
PARALLEL = 4
TRIES = 5
TIMEOUT_S = 60.0
PASSING = (OSError, http.client.HTTPException)  # URLError is an OSError


class NoImage(Exception):
    """An image cannot be had."""


@dataclass(frozen=True)
class Image:
    """A pulled image.

    Attributes:
        env: The environment it asks for.
        layers: Its layers' files, the lowest first, each with its media type.
    """

    env: Mapping[str, str]
    layers: tuple[tuple[Path, str], ...]


class Registry:
    """Asks one repository.

    Args:
        login: User and password, or None.
    """

    def __init__(self, reference: Reference, login: tuple[str, str] | None) -> None:
        self._reference = reference
        self._basic = "Basic " + base64.b64encode(":".join(login).encode()).decode() if login else ""
        self._authorization = ""

    def pull(self, blobs: Path, say: Callable[[str], None]) -> Image:
        """Bring the image's blobs into a folder; those that are there already stay.

        Raises:
            NoImage: if that cannot be done.
        """
        blobs.mkdir(parents=True, exist_ok=True)
        manifest = self._manifest(self._reference.version)
        if manifest.get("mediaType") in INDEXES or "manifests" in manifest:
            manifest = self._manifest(_for_this_machine(manifest, self._reference))
        layers = manifest.get("layers", [])
        size = sum(layer["size"] for layer in layers)
        say(f"pulling {self._reference}: {len(layers)} layers, {size / 1e6:,.1f} MB")
        with ThreadPoolExecutor(PARALLEL) as pool:
            files = list(
                pool.map(lambda about: self._blob(about["digest"], about["size"], blobs), [manifest["config"], *layers])
            )
        config = json.loads(files[0].read_bytes()).get("config") or {}
        env = dict(pair.partition("=")[::2] for pair in config.get("Env") or ())
        kinds = [layer["mediaType"] for layer in layers]
        return Image(env, tuple(zip(files[1:], kinds)))  # noqa: B905 - Python 3.9

    def _manifest(self, version: str) -> Any:
        content = self._patiently(lambda: self._small(f"manifests/{version}", ", ".join((*MANIFESTS, *INDEXES))))
        if ":" in version:
            _check(hashlib.sha256(content).hexdigest(), version)
        return json.loads(content)

    def _small(self, path: str, accept: str) -> bytes:
        with self._open(path, {"Accept": accept}) as answer:
            content: bytes = answer.read(MOST_BYTES)
        return content

    def _blob(self, digest: str, size: int, blobs: Path) -> Path:
        file = blobs / digest.replace(":", "-")
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        try:
            if not file.exists():
                self._patiently(lambda: self._bring(digest, size, part))
                part.replace(file)
        finally:
            part.unlink(missing_ok=True)
        return file

    def _bring(self, digest: str, size: int, part: Path) -> None:
        """The blob, from where an earlier try was cut off."""
        have = part.stat().st_size if part.exists() else 0
        answer = self._open(f"blobs/{digest}", {"Range": f"bytes={have}-"} if have else {})
        with answer, part.open("ab" if answer.status == PARTIAL else "wb") as file:
            while piece := answer.read(PIECE):
                file.write(piece)
        if part.stat().st_size < size:
            raise OSError(f"{digest} was cut off")
        found = hashlib.sha256()
        with part.open("rb") as file:
            while piece := file.read(PIECE):
                found.update(piece)
        try:
            _check(found.hexdigest(), digest)
        except NoImage:
            part.unlink()
            raise

    def _open(self, path: str, headers: Mapping[str, str]) -> Any:
        """An answer's stream. What is asked for is asked once more with the login that the registry wants to see."""
        request = urllib.request.Request(f"{self._reference.api}/{path}", headers=dict(headers))  # noqa: S310
        if self._authorization:  # not for where a registry leads us: that has signatures of its own
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
        except urllib.error.HTTPError as error:
            wanted = error.headers.get("WWW-Authenticate", "")
            if error.code != 401 or not wanted or (self._authorization and "Bearer" not in wanted):
                raise
            before, self._authorization = self._authorization, self._authorize(wanted)
            if before == self._authorization:
                raise
        return self._open(path, headers)

    def _authorize(self, wanted: str) -> str:
        if wanted.lower().startswith("basic"):
            if not self._basic:
                raise NoImage(f"{self._reference}: the registry asks for a login")
            return self._basic
        about = dict(re.findall(r'(\w+)="([^"]*)"', wanted))
        query = {name: about[name] for name in ("service", "scope") if name in about}
        query.setdefault("scope", f"repository:{self._reference.repository}:pull")
        url = f"{about['realm']}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, headers={"Authorization": self._basic} if self._basic else {})  # noqa: S310
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            told = json.load(answer)
        return f"Bearer {told.get('token') or told['access_token']}"

    def _patiently(self, work: Callable[[], Any]) -> Any:
        for number in range(TRIES):
            try:
                return work()
            except urllib.error.HTTPError as error:
                with contextlib.closing(error):
                    if error.code < 500 and error.code != 429:
                        raise NoImage(f"{self._reference}: {_words(error.code)}") from None
                    last: Exception = error
            except PASSING as error:
                last = error
            except (KeyError, ValueError) as error:
                raise NoImage(f"{self._reference}: the registry's answer makes no sense: {error!r}") from None
            time.sleep(0.5 * 2**number)
        raise NoImage(f"{self._reference}: {last}")


def _words(code: int) -> str:
    if code in (401, 403):
        return "the registry refuses (no such image, or it is private and the login is missing or wrong)"
    return "there is no such image" if code == 404 else f"the registry answers {code}"


def _for_this_machine(index: Mapping[str, Any], reference: Reference) -> str:
    wanted = ARCHITECTURES.get(platform.machine(), platform.machine())
    for entry in index["manifests"]:
        about = entry.get("platform", {})
        if (about.get("os"), about.get("architecture")) == ("linux", wanted):
            digest: str = entry["digest"]
            return digest
    raise NoImage(f"{reference} is not there for linux/{wanted}")


def _check(found: str, digest: str) -> None:
    if f"sha256:{found}" != digest:
        raise NoImage(f"what the registry sent is not {digest}")
