"""Trees, artifacts and checkpoint generations on a local filesystem: whole or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sky_core.remote.agent.data import artifacts, generations, trees
from sky_core.remote.agent.data.generations import Generation
from sky_core.remote.agent.data.manifests import Corrupt

names = st.text(alphabet="ab é.", min_size=1, max_size=6).filter(
    lambda name: name.strip(".") and not name.endswith(".")
)
contents = st.dictionaries(names, st.binary(max_size=200), min_size=1, max_size=5)


def fill(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def read(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(max_examples=30)
@given(files=contents)
def test_what_was_published_is_what_is_fetched(files, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("trees")
    url = f"file://{tmp_path}/store/artifact"
    manifest = artifacts.publish(fill(tmp_path / "source", files), url, 1, {})
    assert manifest["bytes"] == sum(map(len, files.values()))
    folder, size = artifacts.fetch(url, tmp_path / "back", {})
    assert (read(folder), size) == (files, manifest["bytes"])


def test_without_its_manifest_there_is_no_artifact(tmp_path):
    url = f"file://{tmp_path}/store/x"
    assert artifacts.read_manifest(url, {}) is None
    artifacts.publish(fill(tmp_path / "source", {"a": b"1"}), url, 1, {})
    (tmp_path / "store/x/manifest.json").write_text("{ torn")
    with pytest.raises(Corrupt, match="not JSON"):
        artifacts.fetch(url, tmp_path / "back", {})


def test_a_later_attempt_replaces_the_artifact_as_a_whole(tmp_path):
    url = f"file://{tmp_path}/store/x"
    artifacts.publish(fill(tmp_path / "one", {"a": b"1", "b": b"1"}), url, 1, {})
    artifacts.publish(fill(tmp_path / "two", {"a": b"2"}), url, 2, {})
    assert read(artifacts.fetch(url, tmp_path / "back", {})[0]) == {"a": b"2"}


def test_unfinished_files_are_left_out(tmp_path):
    folder = fill(tmp_path / "tree", {"a": b"1", "b.tmp": b"2", "next.tmp/c": b"3"})
    (folder / "empty.tmp").mkdir()
    assert trees.describe(folder)["folders"] == []
    assert [file["path"] for file in trees.describe(folder)["files"]] == ["a"]
    assert list(trees.signature(folder)) == ["a"]


def save(tmp_path, attempt, number, keep=2):
    folder = fill(tmp_path / "checkpoint", {"step": f"{attempt}.{number}".encode()})
    generations.save(folder, f"file://{tmp_path}/store", Generation(attempt, number), keep, {})


def restore(tmp_path):
    found = generations.restore(tmp_path / "restored", [f"file://{tmp_path}/store"], {})
    return found, (tmp_path / "restored/step").read_text() if found.generation else None


def test_the_newest_whole_generation_is_restored(tmp_path):
    assert restore(tmp_path) == (generations.Restored(), None)
    for number in (1, 2, 3):
        save(tmp_path, 1, number)
    assert restore(tmp_path)[1] == "1.3"
    kept = sorted(path.name for path in (tmp_path / "store/data").iterdir())
    assert kept == ["000001-00000002", "000001-00000003"]


def test_half_uploaded_and_damaged_ones_are_passed_over(tmp_path):
    save(tmp_path, 1, 1, keep=9)
    save(tmp_path, 1, 2, keep=9)
    fill(tmp_path / "store/data/000001-00000003", {"step": b"no manifest"})
    assert restore(tmp_path)[1] == "1.2"
    (tmp_path / "store/data/000001-00000002/step").write_bytes(b"9.9")
    found, text = restore(tmp_path)
    assert text == "1.1"
    assert "generation 2" in found.skipped[0]
    (tmp_path / "store/generations/000001-00000001.json").write_text("torn")
    assert restore(tmp_path)[0].generation is None


def test_what_a_lost_machine_still_uploads_comes_behind_its_successor(tmp_path):
    save(tmp_path, 1, 7)
    save(tmp_path, 2, 8)
    save(tmp_path, 1, 9)
    assert restore(tmp_path)[1] == "2.8"
