"""The three object stores as the agent uses them: by obstore, and by fsspec where obstore does not know how."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from sky_core.remote.agent.data import artifacts, stores
from sky_core.remote.agent.data.stores import filesystems, objects
from tests.sandbox.loopback import lent, store_options

KINDS = ("s3", "gs", "abfs")
numbers = itertools.count()
Opened = tuple[stores.Store, str]


@pytest.fixture(params=[*KINDS, "s3 by fsspec"])
def store(request: pytest.FixtureRequest, endpoint: str) -> Opened:
    kind, _, way = request.param.partition(" ")
    options = lent(endpoint)
    if way:
        options = {kind: {**options[kind], "max_concurrency": 4}}
    found, path = stores.connect(f"{kind}://jobs/stores/{next(numbers)}", options)
    assert isinstance(found, filesystems.Files if way else objects.Bucket)
    return found, path


def test_small_objects(store: Opened) -> None:
    found, path = store
    for name in ("a", "tree/b", "tree/deep/é +&=,;'%20.txt"):
        stores.write(found, f"{path}/{name}", name.encode())
    stores.write(found, f"{path}/tree-beside", b"")
    assert stores.read(found, f"{path}/tree/deep/é +&=,;'%20.txt").decode() == "tree/deep/é +&=,;'%20.txt"
    assert found.find(f"{path}/tree") == {"b": 6, "deep/é +&=,;'%20.txt": len("tree/deep/é +&=,;'%20.txt".encode())}
    assert sorted(stores.names(found, path)) == ["a", "tree", "tree-beside"]
    assert stores.names(found, f"{path}/nothing") == []
    assert (found.size(f"{path}/a"), found.size(f"{path}/tree"), found.size(f"{path}/tree-beside")) == (1, None, 0)
    stores.write(found, f"{path}/a", b"anew")
    assert stores.read(found, f"{path}/a") == b"anew"
    found.delete([f"{path}/a", f"{path}/never"])
    stores.remove(found, f"{path}/tree")
    stores.remove(found, f"{path}/nothing")
    assert stores.names(found, path) == ["tree-beside"]


def test_what_is_not_there(store: Opened, tmp_path: Path) -> None:
    found, path = store
    asks: list[Callable[[], Any]] = [
        lambda: stores.read(found, f"{path}/nothing"),
        lambda: found.size(f"{path}/nothing"),
        lambda: found.fetch(f"{path}/nothing", tmp_path / "x", 5),
        lambda: found.fetch(f"{path}/nothing", tmp_path / "x", objects.PART + 1),
    ]
    for ask in asks:
        with pytest.raises(FileNotFoundError):
            ask()


def test_a_large_object_goes_in_parts(store: Opened, tmp_path: Path) -> None:
    found, path = store
    content = random.Random(1).randbytes(2 * objects.PART + 12_345)
    (tmp_path / "large").write_bytes(content)
    found.send(tmp_path / "large", f"{path}/large")
    (tmp_path / "back").write_bytes(b"x" * 3 * objects.PART)  # longer, and in the way
    found.fetch(f"{path}/large", tmp_path / "back", len(content))
    assert hashlib.sha256((tmp_path / "back").read_bytes()).digest() == hashlib.sha256(content).digest()


@pytest.mark.parametrize("kind", KINDS)
def test_what_only_shows_a_folder_is_no_file(kind: str, endpoint: str, tmp_path: Path) -> None:
    theirs = fsspec.filesystem(kind, **store_options(endpoint)[kind])
    place = f"jobs/stores/{next(numbers)}"
    theirs.pipe(
        {f"{place}/": b"", f"{place}/shown/": b"", f"{place}/sub/": b"", f"{place}/sub/a": b"a", f"{place}/e": b""}
    )
    path, size = artifacts.fetch(f"{kind}://{place}", tmp_path / "in", lent(endpoint))
    assert size == 1
    files = {os.path.relpath(one, path) for one in path.rglob("*") if one.is_file()}
    assert files == {"e", "sub/a"}


def test_a_store_that_does_not_answer_may_pass(endpoint: str) -> None:
    with pytest.raises(OSError, match="refused") as raised:
        stores.read(*stores.connect("s3://jobs/x", lent("http://127.0.0.1:9")))
    assert not isinstance(raised.value, stores.NOT_TRANSIENT)
