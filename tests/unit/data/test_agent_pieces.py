"""Large files go in pieces: what has arrived is not sent again, nor what the generation before has."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from sky_core.remote.agent.data import artifacts, generations, pieces, trees
from sky_core.remote.agent.data.generations import Generation
from sky_core.remote.agent.data.manifests import Corrupt
from sky_core.remote.agent.data.stores import Ledger, connect, filesystems

SMALL = 1000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", SMALL)
    monkeypatch.setattr(trees, "WHOLE", 4 * SMALL)
    monkeypatch.setattr(pieces, "LEAST_SHARED", 500)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the objects that are written meanwhile."""
    found: list[str] = []
    write, send = filesystems.Files.write, filesystems.Files.send

    def writing(self: filesystems.Files, path: str, content: bytes) -> None:
        write(self, path, content)
        found.append(path)

    def sending(self: filesystems.Files, file: Path, path: str) -> None:
        send(self, file, path)
        found.append(path)

    monkeypatch.setattr(filesystems.Files, "write", writing)
    monkeypatch.setattr(filesystems.Files, "send", sending)
    return found


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def data(sent: list[str]) -> list[str]:
    return [path for path in sent if not path.endswith(".json")]


def read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "checkpoint"
    found.mkdir()
    (found / "large").write_bytes(content(1, 9 * SMALL + 700))
    (found / "zeros").write_bytes(bytes(6 * SMALL))
    (found / "middling").write_bytes(content(2, 2 * SMALL))
    (found / "step").write_text("1")
    return found


class Bucket:
    """A checkpoint's URL and what the tests do with it."""

    def __init__(self, root: Path) -> None:
        self.url, self.back = f"file://{root}/store", root / "back"
        self.objects = root / "store"

    def save(self, folder: Path, attempt: int, number: int, keep: int = 2) -> None:
        generations.save(folder, self.url, Generation(attempt, number), keep, {})

    def restore(self) -> tuple[dict[str, bytes], generations.Restored]:
        found = generations.restore(self.back, [self.url], {})
        return read(self.back), found


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


class TestGenerations:
    def test_only_what_changed_of_large_files_is_sent(self, bucket, folder, sent):
        bucket.save(folder, 1, 1)
        assert len(data(sent)) == 10 + 1 + 2  # equal pieces are one object
        sent.clear()
        changed = bytearray((folder / "large").read_bytes())
        changed[3 * SMALL + 5] ^= 1
        (folder / "large").write_bytes(changed)
        (folder / "step").write_text("2")
        (folder / "middling").rename(folder / "renamed")
        bucket.save(folder, 1, 2)
        assert len(data(sent)) == 2  # a piece, and the step
        assert bucket.restore()[0] == read(folder)

    def test_what_later_ones_need_is_kept_when_old_ones_go(self, bucket, folder):
        for number in range(1, 8):
            (folder / "step").write_text(str(number))
            changed = bytearray((folder / "large").read_bytes())
            changed[number * SMALL] ^= 1
            (folder / "large").write_bytes(changed)
            bucket.save(folder, 1, number)
            assert bucket.restore()[0] == read(folder)
        assert len(list((bucket.objects / "generations").iterdir())) == 2
        assert len([path for path in bucket.objects.rglob("*") if path.is_file()]) <= 25

    def test_nothing_hangs_on_another_attempt(self, bucket, folder, sent):
        bucket.save(folder, 1, 1)
        sent.clear()
        bucket.save(folder, 2, 2)
        assert len(data(sent)) == 13
        late = folder.with_name("late")
        trees.copy(folder, late)
        for number in (3, 4, 5, 6):  # by a machine that was believed lost
            (late / "step").write_text(f"late {number}")
            bucket.save(late, 1, number)
        found, restored = bucket.restore()
        assert found == read(folder)
        assert (restored.generation, restored.skipped) == (Generation(2, 2), ())

    def test_a_lost_piece_costs_its_generation_and_is_told(self, bucket, folder):
        bucket.save(folder, 1, 1)
        before = read(folder)
        (folder / "large").write_bytes(content(3, 9 * SMALL))
        bucket.save(folder, 1, 2)
        next((bucket.objects / "data/000001-00000002/%pieces").iterdir()).write_bytes(b"")
        found, restored = bucket.restore()
        assert found == before
        assert "differs" in restored.skipped[0]

    def test_where_a_manifest_cannot_be_read_nothing_is_removed(self, bucket, folder):
        bucket.save(folder, 1, 1)
        bucket.save(folder, 1, 2)
        (bucket.objects / "generations/000002-00000001.json").write_text("?")
        bucket.save(folder, 1, 3, keep=1)
        assert (bucket.objects / "data/000001-00000001").exists()
        assert bucket.restore()[0] == read(folder)


def dying(after: int) -> Callable[..., None]:
    """A write that works a few times."""
    write = filesystems.Files.write
    left = [after]

    def writing(self: filesystems.Files, path: str, content: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise ValueError("gone")
        write(self, path, content)

    return writing


def test_what_was_interrupted_goes_on(tmp_path, bucket, folder, sent, monkeypatch):
    url, ledger = f"file://{tmp_path}/model", tmp_path / "ledger"
    with monkeypatch.context() as patched:
        patched.setattr(filesystems.Files, "write", dying(6))
        with pytest.raises(ValueError, match="gone"):
            artifacts.publish(folder, url, artifacts.version("job", 1), {}, ledger=Ledger(ledger))
    sent.clear()
    there = len([path for path in (tmp_path / "model").rglob("*") if path.is_file()])
    (version,) = [path.name for path in (tmp_path / "model").iterdir()]
    artifacts.publish(folder, url, version, {}, ledger=Ledger(ledger))
    assert len(data(sent)) == 13 - there

    back, reads = tmp_path / "back", []
    trees.copy(folder, back)
    with (back / "large").open("r+b") as file:
        file.seek(5 * SMALL)
        file.write(b"?")
    original = filesystems.Files.read
    monkeypatch.setattr(filesystems.Files, "read", lambda self, path: (reads.append(path), original(self, path))[1])
    artifacts.fetch(url, back, {})
    assert read(back) == read(folder)
    assert len([path for path in reads if "%pieces" in path]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"pieces": [{"size": 5, "sha256": "0" * 64}]},
        {"pieces": [{"size": 9 * SMALL + 700, "sha256": "../x"}]},
        {"pieces": [{"size": 9 * SMALL + 700, "sha256": "0" * 64, "in": "../../etc"}]},
        {"in": "..", "key": "secret"},
        {"pieces": "all"},
    ],
)
def test_a_strangers_manifest_leads_nowhere(bucket, folder, change):
    bucket.save(folder, 1, 1)
    store, path = connect(bucket.url, {})
    file = bucket.objects / "generations/000001-00000001.json"
    manifest = json.loads(file.read_text())
    next(one for one in manifest["files"] if one["path"] == "large").update(change)
    file.write_text(json.dumps(manifest))
    with pytest.raises(Corrupt):
        generations._read(store, path, Generation(1, 1))
