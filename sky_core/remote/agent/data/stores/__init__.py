"""Object stores: opening a URL, by obstore or else by fsspec, and moving whole trees to and from it."""

from __future__ import annotations

from functools import lru_cache
from importlib import util
from typing import Any

from . import logins
from .base import NOT_TRANSIENT, NoBucket, Options, Place, Store, place_of, protocol
from .filesystems import Files, make_bucket
from .ledger import Ledger
from .moving import download, names, patiently, read, remove, upload, write

__all__ = ["NOT_TRANSIENT", "Ledger", "NoBucket", "Options", "Place", "Store", "connect", "download", "make_bucket",
           "names", "packages", "patiently", "place_of", "protocol", "read", "remove", "upload", "write"]  # fmt: skip

BY_OBSTORE = ("obstore",)


def connect(url: str, options: Options) -> tuple[Store, str]:
    """The store of a URL, and the URL's path in it.

    Raises:
        PermissionError: if nothing was lent for this place.
        OSError: if it cannot be reached.
    """
    place = place_of(url, options)
    if logins.serves(place.kind, place.options) and util.find_spec("obstore"):
        return _bucket(place.kind, place.bucket, tuple(sorted(place.options.items()))), place.path
    return Files(place), place.path


@lru_cache(maxsize=16)  # a bucket keeps its connections
def _bucket(kind: str, bucket: str, options: tuple[tuple[str, Any], ...]) -> Store:
    from .objects import Bucket

    return Bucket(Place(kind, bucket, dict(options)))


def packages(url: str, options: Options, filesystem: str) -> tuple[str, ...]:
    """What a machine needs to reach a URL by such options; ``filesystem`` is what gives fsspec its protocol."""
    kind = protocol(url)
    found: dict[str, Any] = dict(options.get(url.partition("://")[0]) or options.get(kind) or {})
    return BY_OBSTORE if logins.serves(kind, found) else ("fsspec", filesystem)
