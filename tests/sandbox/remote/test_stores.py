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
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sky_core.remote.agent.data import artifacts, stores
from sky_core.remote.agent.data.stores import filesystems, objects
from sky_sandbox.storage import app
from tests.sandbox.loopback import lent, serve, store_options
from tests.unit.data.test_agent_artifacts import names

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


@pytest.mark.parametrize("kind", KINDS)
def test_a_bucket_that_is_not_there_is_told_at_once(kind: str, endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(stores.NoBucket, match=f"there is no {kind}://missing: 404 Not Found") as raised:
        artifacts.fetch(f"{kind}://missing/data", tmp_path / "in", lent(endpoint))
    assert isinstance(raised.value, stores.NOT_TRANSIENT)


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


class Weary:
    """An object store that writes down what it is sent, and is out of order after some of it."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._store, self.left, self.sent = app(folder), limit, list[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wanted = scope["type"] == "http" and scope["method"] == "PUT"
        if wanted and self.left <= 0:
            await Response("Slow Down", 503)(scope, receive, send)
            return
        await self._store(scope, receive, send)
        if wanted:
            self.left -= 1
            self.sent.append(scope["path"])


def test_who_publishes_again_sends_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for number in range(20):
        (tmp_path / "source" / f"{number}").write_text(f"content {number}")
    store = Weary(tmp_path / "objects", limit=9)  # one of them makes the bucket
    with serve(store) as url:
        options = lent(url)
        stores.make_bucket("s3://jobs", options)
        for ends in ("badly", "well"):
            ledger = stores.Ledger(tmp_path / "sent")  # as another process would
            if ends == "badly":
                with pytest.raises(ConnectionError, match="503"):
                    artifacts.publish(tmp_path / "source", "s3://jobs/a", "v", options, ledger=ledger)
                store.left = 1000
                (tmp_path / "source" / "0").write_text("changed meanwhile")
            else:
                artifacts.publish(tmp_path / "source", "s3://jobs/a", "v", options, ledger=ledger)
        data = [path for path in store.sent if "/v/" in path]
        assert len(set(data)) == 20
        assert set(data[8:]) & set(data[:8]) <= {"/jobs/a/v/0"}
        assert not (tmp_path / "sent").exists()
        back, _ = artifacts.fetch("s3://jobs/a", tmp_path / "back", options)
    assert told(back) == told(tmp_path / "source")


Tree = dict[str, Any]  # of names to content and whether it can be executed, a link's number, or another tree
files = st.tuples(st.binary(max_size=40), st.booleans())
links = st.integers(0, 99)
trees = st.recursive(
    st.dictionaries(names, files | links, max_size=4),
    lambda below: st.dictionaries(names, files | links | below, max_size=4),
    max_leaves=8,
)


def make(folder: Path, tree: Tree) -> None:
    """A folder that holds the tree; each link leads to an entry of it that is none, or to itself."""
    chosen: list[tuple[Path, int]] = []

    def fill(parent: Path, entries: Tree) -> None:
        parent.mkdir()
        for name, entry in entries.items():
            if isinstance(entry, dict):
                fill(parent / name, entry)
            elif isinstance(entry, int):
                chosen.append((parent / name, entry))
            else:
                (parent / name).write_bytes(entry[0])
                (parent / name).chmod(0o755 if entry[1] else 0o640)

    fill(folder, tree)
    there = [folder, *sorted(folder.rglob("*"))]
    for link, number in chosen:
        link.symlink_to(os.path.relpath(there[number % len(there)], link.parent))


def told(folder: Path) -> dict[str, Any]:
    """All that a folder holds, as one can compare it."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = os.path.relpath(path, folder)
        if path.is_symlink():
            found[name] = ("link", os.path.realpath(path).removeprefix(os.path.realpath(folder)))
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return found


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5, deadline=None)
@given(tree=trees)
def test_what_went_in_comes_out(kind: str, endpoint: str, tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> None:
    base, url = tmp_path_factory.mktemp("trees"), f"{kind}://jobs/trees/{next(numbers)}"
    make(base / "source", tree)
    warnings: list[str] = []
    artifacts.publish(base / "source", url, "v", lent(endpoint), warnings.append)
    back, _ = artifacts.fetch(url, base / "back", lent(endpoint))
    assert (told(back), warnings) == (told(base / "source"), [])
