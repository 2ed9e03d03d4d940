"""A hierarchical namespace: folders are things of their own, so that a name is a folder or a blob and never both.

What clients of the Blob API see of it: https://learn.microsoft.com/azure/storage/blobs/data-lake-storage-known-issues
and https://learn.microsoft.com/rest/api/storageservices/list-blobs (``ResourceType``).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from sky_sandbox.storage.objects import Objects
from sky_sandbox.storage.reply import http_date, node

IS_FOLDER = "hdi_isfolder"  # in the metadata of a folder


def is_folder(objects: Objects, container: str, key: str) -> bool:
    """Whether something lies below the name."""
    return len(objects.list("blob", container, prefix=f"{key.rstrip('/')}/", limit=1)) > 0


def in_the_way(objects: Objects, container: str, key: str) -> bool:
    """Whether a blob cannot have this name: it is a folder's, or a blob stands where a folder would have to be.

    A name that ends with a slash makes a folder.
    """
    taken = not key.endswith("/") and is_folder(objects, container, key)
    return taken or any(objects.get("blob", container, above) for above in _above(key))


def folders_of(keys: list[str], prefix: str, after: str) -> Iterator[tuple[str, list[str]]]:
    """Each key of a page of a flat listing with the folders that are listed ahead of it."""
    seen = set(_above(after))
    for key in keys:
        new = [name for name in _above(key) if name.startswith(prefix) and name not in seen]
        seen.update(new)
        yield key, new


def listed_folder(name: str) -> ET.Element:
    """A folder in a flat listing: an empty blob that says what it is."""
    properties = node(
        "Properties",
        node("Last-Modified", http_date(0)),
        node("Content-Length", "0"),
        node("Content-Type", "application/octet-stream"),
        node("BlobType", "BlockBlob"),
        node("ResourceType", "directory"),
    )
    return node("Blob", node("Name", name), properties, node("Metadata", node(IS_FOLDER, "true")))


def _above(key: str) -> list[str]:
    parts = key.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]
