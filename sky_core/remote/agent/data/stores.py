"""Object stores through fsspec: opening a URL, and moving whole trees in parallel, each file checked."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from .manifests import Corrupt, Manifest, key_of
from .trees import PERMISSIONS, digest, local_path

PARALLEL = 8
TRIES = 4
FAMILIES = {"s3a": "s3", "gcs": "gs", "az": "abfs", "abfss": "abfs"}
NOT_TRANSIENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, Corrupt, ValueError)

Options = Mapping[str, Mapping[str, Any]]
Item = TypeVar("Item")
Answer = TypeVar("Answer")

# gcsfs would make a gRPC call of up to 60 s to find out whether a bucket is zonal; ours never are.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


def protocol(url: str) -> str:
    """``s3``, ``gs``, ``abfs`` or ``file``, whatever its spelling in the URL."""
    scheme = url.partition("://")[0]
    return FAMILIES.get(scheme, scheme)


def connect(url: str, options: Options) -> tuple[Any, str]:
    """The filesystem of a URL, and the URL's path in it, without a slash at its end.

    ``az://account/container/path`` and ``abfs://container@account.host/path`` name the account;
    ``abfs://container/path`` leaves it to the options.
    """
    import fsspec

    kind = protocol(url)
    found = dict(options.get(kind) or next((options[o] for o in options if FAMILIES.get(o) == kind), {}))
    rest = url.partition("://")[2]
    if url.startswith("az://"):
        account, _, rest = rest.partition("/")
        found.setdefault("account_name", account)
    elif kind == "abfs" and "@" in rest.partition("/")[0]:
        place, _, path = rest.partition("/")
        container, _, host = place.partition("@")
        found["account_name"] = host.partition(".")[0]
        rest = f"{container}/{path}"
    filesystem = fsspec.filesystem(kind, use_listings_cache=False, **_lent(kind, url, found))
    return filesystem, rest.rstrip("/")


def _lent(kind: str, url: str, options: dict[str, Any]) -> dict[str, Any]:
    """fsspec's options for what a cloud has lent in its own form: a token, signatures, the name of an identity.

    The libraries come with the filesystem's package; which these are is known only where one is used.

    Raises:
        PermissionError: if nothing was lent for this place.
    """
    if kind == "gs" and "access_token" in options:
        login = importlib.import_module("google.oauth2.credentials").Credentials(options["access_token"])
        return {**_without(options, "access_token"), "token": login}
    if kind == "abfs" and "identity" in options:
        kind_of = importlib.import_module("azure.identity.aio").ManagedIdentityCredential
        login = kind_of(identity_config={"resource_id": options["identity"]})
        return {**_without(options, "identity"), "credential": login}
    if kind == "abfs" and "signatures" in options:
        first, _, rest = url.partition("://")[2].partition("/")
        place = f"{rest.partition('/')[0]}@{first}" if url.startswith("az://") else first
        try:
            signature = options["signatures"][place]
        except KeyError:
            raise PermissionError(f"this machine was lent nothing for {url}") from None
        found = _without(options, "signatures")
        endpoint = found.pop("endpoint", None)
        if endpoint is None:
            return {**found, "sas_token": signature}
        return {**found, "connection_string": f"BlobEndpoint={endpoint};SharedAccessSignature={signature};"}
    return options


def _without(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != name}


def parallel(work: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Do the work for all items, several at a time; the first error is raised after the rest has ended."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(lambda item: patiently(lambda: work(item)), items))


def patiently(call: Callable[[], Answer]) -> Answer:
    """Call again after an error that may pass, a few times, ever later."""
    for number in range(TRIES):
        try:
            return call()
        except NOT_TRANSIENT:
            raise
        except Exception:
            if number == TRIES - 1:
                raise
            time.sleep(0.5 * 2**number)
    raise AssertionError("not reached")


def upload(filesystem: Any, folder: Path, prefix: str, manifest: Manifest) -> None:
    """Send a manifest's files from ``folder`` to below ``prefix``."""
    files = [file for file in manifest["files"] if "link" not in file]
    if is_local(filesystem):
        for parent in {os.path.dirname(f"{prefix}/{key_of(file)}") for file in files}:
            filesystem.makedirs(parent, exist_ok=True)
    parallel(lambda file: filesystem.put_file(str(folder / file["path"]), f"{prefix}/{key_of(file)}"), files)


def download(filesystem: Any, prefix: str, folder: Path, manifest: Manifest) -> None:
    """Fetch a manifest's files from below ``prefix`` into ``folder``; check what the manifest tells of them.

    Raises:
        Corrupt: if a file is missing or differs from the manifest, or a path or link leads out of ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in manifest["folders"]:
        local_path(folder, path).mkdir(parents=True, exist_ok=True)
    for file in manifest["files"]:
        local_path(folder, file["path"]).parent.mkdir(parents=True, exist_ok=True)

    def fetch(file: Mapping[str, Any]) -> None:
        target = _free(folder, file["path"])
        try:
            filesystem.get_file(f"{prefix}/{key_of(file)}", str(target))
        except FileNotFoundError:
            raise Corrupt(f"{prefix}/{key_of(file)} is missing") from None
        if target.stat().st_size != file["size"] or ("sha256" in file and digest(target) != file["sha256"]):
            raise Corrupt(f"{prefix}/{key_of(file)} differs from what it should be")
        if "mode" in file:
            target.chmod(file["mode"] & PERMISSIONS)

    parallel(fetch, [file for file in manifest["files"] if "link" not in file])
    # Links last, so that no download goes through one.
    _make_links(folder, {file["path"]: file["link"] for file in manifest["files"] if "link" in file})


def _make_links(folder: Path, links: Mapping[str, str]) -> None:
    """Make links that lead to where they say, and nowhere else by way of each other."""
    made = []
    for path, target in links.items():
        link = _free(folder, path)
        link.symlink_to(target)
        made.append(link)
    home = os.path.realpath(folder)
    outside = [link for link in made if os.path.commonpath([home, os.path.realpath(link)]) != home]
    for link in outside:
        link.unlink()
    if outside:
        raise Corrupt(f"the link {outside[0].name!r} leads out of its folder by way of another")


def _free(folder: Path, path: str) -> Path:
    """Where an entry goes; a link that an earlier fetch has left there is removed, lest it be written through."""
    target = local_path(folder, path)
    if target.is_symlink():
        target.unlink()
    return target


def read(filesystem: Any, path: str) -> bytes:
    """A small object's content."""
    content: bytes = patiently(lambda: filesystem.cat_file(path))
    return content


def write(filesystem: Any, path: str, content: bytes) -> None:
    """Write a small object at once: a reader sees all of it or none."""
    if is_local(filesystem):
        filesystem.makedirs(os.path.dirname(path), exist_ok=True)
        filesystem.pipe_file(f"{path}.{os.getpid()}.new", content)
        os.replace(f"{path}.{os.getpid()}.new", path)
    else:
        patiently(lambda: filesystem.pipe_file(path, content))


def names(filesystem: Any, path: str) -> list[str]:
    """Names of what lies directly below ``path``; none if there is no such folder."""
    try:
        found = patiently(lambda: filesystem.ls(path, detail=False, refresh=True))
    except FileNotFoundError:
        return []
    return [entry.rstrip("/").rpartition("/")[2] for entry in found]


def remove(filesystem: Any, path: str) -> None:
    """Delete whatever lies at or below ``path``."""
    with contextlib.suppress(FileNotFoundError):
        patiently(lambda: filesystem.rm(path, recursive=True))


def is_local(filesystem: Any) -> bool:
    """Whether the filesystem is this machine's own."""
    return "file" in filesystem.protocol
