"""From ``file_mounts`` of a file to :class:`~sky_core.spec.Mount`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from sky_core.spec import Mount, did_you_mean
from sky_core.spec_yaml.fields import StorageFields
from sky_core.spec_yaml.machines import Note
from sky_core.spec_yaml.slips import Slip

SCHEMES = ("s3", "gs", "az", "file")
STORES = {"s3": "aws", "gcs": "gcp", "azure": "azure"}
MODES = {"MOUNT": True, "MOUNT_CACHED": True, "COPY": False}  # whether what is written there goes to the bucket
BLOB = re.compile(r"^https://(?P<account>[a-z0-9]+)\.blob\.core\.windows\.net/(?P<path>.+)$")
BUCKET = re.compile(r"^[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]$")


def mounts_of(given: Mapping[str, str | StorageFields], base: Path, note: Note) -> dict[str, Mount]:
    """What lies at which path.

    Raises:
        Slip: for what cannot be had or meant; its place is below ``file_mounts``.
    """
    found: dict[str, Mount] = {}
    for path, value in given.items():
        if not path.startswith(("/", "~")) and ("$" in path or posixpath.normpath(path).startswith("..")):
            raise Slip((path,), "is no path on the machine", "write an absolute path, or one below ~ or the workdir")
        if isinstance(value, str):
            found[path] = _plain(path, value, base)
        elif isinstance(value.source, list):
            for source in value.source:
                where = f"{path.rstrip('/')}/{posixpath.basename(source.rstrip('/'))}"
                found[where] = _storage(path, value.model_copy(update={"source": source}), base, note)
        else:
            found[path] = _storage(path, value, base, note)
    return found


def _plain(path: str, source: str, base: Path) -> Mount:
    uri = _uri(source, lambda message, cure: Slip((path,), message, cure))
    return Mount(uri=uri) if uri else Mount(source=_local(source, base))


def _storage(path: str, fields: StorageFields, base: Path, note: Note) -> Mount:
    mode = (fields.mode or "MOUNT").upper()
    if mode not in MODES:
        raise Slip(
            (path, "mode"), f"{fields.mode!r} is no mode", did_you_mean(mode, MODES) or f"write {', '.join(MODES)}"
        )
    store = None
    if fields.store is not None:
        store = STORES.get(fields.store.lower())
        if store is None:
            raise Slip((path, "store"), f"{fields.store!r} is no object store of ours", f"write {', '.join(STORES)}")
    for name, asks_removal in (("persistent", fields.persistent is False), ("force_managed", fields.force_managed)):
        if asks_removal:
            note(f"file_mounts.{path}.{name}", "left out: a bucket is never removed with its job")
    if mode == "MOUNT_CACHED" or fields.config:
        note(
            f"file_mounts.{path}", "without a cache of its own: copied when the job starts, written back as it goes on"
        )
    source = fields.source if isinstance(fields.source, str) else None
    if source is None and fields.name is None:
        raise Slip((path,), "says neither name nor source", "write source: s3://bucket/path, or the name of a bucket")
    uri = _uri(source, lambda message, cure: Slip((path, "source"), message, cure)) if source else None
    bucket = None if uri else fields.name
    if bucket is not None and not BUCKET.match(bucket):
        raise Slip(
            (path, "name"),
            f"{bucket!r} cannot name a bucket",
            "write a bucket's name: 3 to 63 of a-z, 0-9, '-' and '.'",
        )
    local = _local(source, base) if source and not uri else None
    # A local folder with a bucket's name goes to that bucket, whatever the mode.
    back = bool(uri or bucket) and (MODES[mode] or bool(local))
    return Mount(uri=uri, bucket=bucket, store=store, source=local, write_back=back, size_gb=fields.size_gb)


def _uri(source: str, slip: Callable[[str, str], Slip]) -> str | None:
    """The URI of a bucket; None for a local path."""
    if blob := BLOB.match(source):
        return f"az://{blob['account']}/{blob['path']}"
    scheme, separator, rest = source.partition("://")
    if not separator:
        return None
    if scheme not in SCHEMES:
        raise slip(
            f"{scheme}:// is none of the stores that Skyloom reads", f"write {'://, '.join(SCHEMES[:3])}:// or a path"
        )
    if not rest.strip("/"):
        raise slip(f"{source!r} names no bucket", f"write {scheme}://bucket/path")
    return source.rstrip("/")


def _local(source: str, base: Path) -> str:
    return str((base / Path(source).expanduser()).absolute())
