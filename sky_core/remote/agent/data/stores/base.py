"""What an object store must be able to do, and which one a URL means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..manifests import Corrupt

FAMILIES = {"s3a": "s3", "gcs": "gs", "az": "abfs", "abfss": "abfs"}
NOT_TRANSIENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, Corrupt, ValueError)

Options = Mapping[str, Mapping[str, Any]]


class NoBucket(FileNotFoundError):
    """There is not even the bucket."""


class Store(Protocol):
    """Objects by path, ``bucket/key`` or a path of this machine's. Thread-safe.

    All methods raise :class:`FileNotFoundError` where there is nothing, :class:`PermissionError` where it is refused,
    and something that is none of ``NOT_TRANSIENT`` after what may pass.

    Attributes:
        local: Whether it is this machine's own disk.
    """

    local: bool

    def read(self, path: str) -> bytes:
        """A small object's content."""

    def write(self, path: str, content: bytes) -> None:
        """Replace a small object at once: a reader sees all of it or none."""

    def send(self, file: Path, path: str) -> None:
        """Upload a file of whatever size."""

    def fetch(self, path: str, file: Path, size: int) -> None:
        """Download an object of ``size`` bytes. A file that is there is replaced."""

    def size(self, path: str) -> int | None:
        """Bytes of the object; None if there is none, but some below the path."""

    def find(self, path: str) -> dict[str, int]:
        """Bytes of each object below the path, by its name as seen from there, without what only shows a folder."""

    def names(self, path: str) -> list[str]:
        """What lies directly below the path, objects and folders."""

    def delete(self, paths: Sequence[str]) -> None:
        """Delete these objects. Those that are not there are well."""

    def remove(self, path: str) -> None:
        """Delete whatever lies at or below the path."""


@dataclass(frozen=True)
class Place:
    """What a URL leads to.

    Attributes:
        kind: ``s3``, ``gs``, ``abfs`` or ``file``, whatever its spelling in the URL; or what else fsspec knows.
        path: The URL's path in the store, the bucket first, without a slash at its end.
        options: What opens it, as lent.
    """

    kind: str
    path: str
    options: Mapping[str, Any]

    @property
    def bucket(self) -> str:
        return self.path.partition("/")[0]


def protocol(url: str) -> str:
    """``s3``, ``gs``, ``abfs`` or ``file``, whatever its spelling in the URL."""
    scheme = url.partition("://")[0]
    return FAMILIES.get(scheme, scheme)


def place_of(url: str, options: Options) -> Place:
    """Where a URL leads to, and by what.

    ``az://account/container/path`` and ``abfs://container@account.host/path`` name the account;
    ``abfs://container/path`` leaves it to the options. Of an account's signatures the nearest folder's is picked.

    Raises:
        PermissionError: if nothing was lent for this place.
    """
    kind = protocol(url)
    found = dict(options.get(kind) or next((options[o] for o in options if FAMILIES.get(o) == kind), {}))
    rest = url.partition("://")[2]
    signed_as = rest.partition("/")[0]
    if url.startswith("az://"):
        account, _, rest = rest.partition("/")
        found.setdefault("account_name", account)
        signed_as = f"{rest.partition('/')[0]}@{account}"
    elif kind == "abfs" and "@" in signed_as:
        container, _, host = signed_as.partition("@")
        found["account_name"] = host.partition(".")[0]
        rest = f"{container}/{rest.partition('/')[2]}"
    if "signatures" in found:
        signatures = found.pop("signatures")
        folders = [folder for folder in rest.split("/")[1:] if folder]
        above = ("/".join([signed_as, *folders[:depth]]) for depth in range(len(folders), -1, -1))
        signed = next((place for place in above if place in signatures), None)
        if signed is None:
            raise PermissionError(f"this machine was lent nothing for {url}")
        found["sas_token"] = signatures[signed]
    return Place(kind, rest.rstrip("/"), found)
