"""What a job leaves behind travels as well as it can; what a manifest asks for is done only inside its folder."""

from __future__ import annotations

import json
import os
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sky_core.remote.agent.data import artifacts, generations, manifests, trees
from sky_core.remote.agent.data.generations import Generation
from sky_core.remote.agent.data.manifests import Corrupt
from sky_core.remote.agent.data.stores import moving

DIGEST = "0" * 64
# Whatever Linux allows in a name, with what stores and shells make of some characters well represented.
characters = st.one_of(
    st.characters(codec="utf-8", exclude_characters="/\0"),
    st.sampled_from("%?#*\\ .~\n\r\t\x1b\x7f\udce9\udcff'\"&+=;:@"),
)
names = st.text(characters, min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..") and not name.endswith(trees.UNFINISHED)
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


@pytest.fixture
def url(tmp_path):
    return f"file://{tmp_path}/store/artifact"


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "source"
    found.mkdir()
    (found / "step-100").write_text("weights")
    return found


def back(url, tmp_path):
    return artifacts.fetch(url, tmp_path / "back", {})[0]


class TestNames:
    @settings(max_examples=60)
    @given(tree=st.dictionaries(paths, st.binary(max_size=20), min_size=1, max_size=4))
    def test_any_name_goes_in_and_comes_out(self, tree, tmp_path_factory):
        base = tmp_path_factory.mktemp("names")
        kept = {}
        for path, data in tree.items():
            local = base / "source" / path
            try:
                local.parent.mkdir(parents=True, exist_ok=True)
                local.write_bytes(data)
            except OSError:  # a file is where this path needs a folder, or the other way round
                continue
            kept[path] = data
        artifacts.publish(base / "source", f"file://{base}/store", "v", {})
        got, _ = artifacts.fetch(f"file://{base}/store", base / "back", {})
        assert {path: (got / path).read_bytes() for path in kept} == kept

    @settings(max_examples=300)
    @given(path=paths, other=paths)
    def test_keys_are_plain_and_differ_where_paths_do(self, path, other):
        key = manifests.object_key(path)
        assert key.isprintable()
        assert len(key.encode()) <= manifests.LONGEST_KEY
        assert (key == manifests.object_key(other)) == (path == other)

    def test_everyday_names_stay_as_they_are(self):
        for path in ("model/weights.bin", "été/größe 2.csv", "a+b=c@d,e;f&g~h(1)", "日本"):
            assert manifests.object_key(path) == path

    def test_a_path_longer_than_any_key(self, tmp_path, url, folder):
        deep = folder.joinpath(*["d" * 200] * 8)
        deep.mkdir(parents=True)
        (deep / "x").write_text("deep")
        artifacts.publish(folder, url, "v", {})
        assert back(url, tmp_path).joinpath(*["d" * 200] * 8, "x").read_text() == "deep"


class TestLinks:
    def test_links_inside_are_relative_afterwards(self, tmp_path, url, folder):
        (folder / "sub").mkdir()
        (folder / "sub/last").symlink_to(folder / "step-100")
        (folder / "near").symlink_to("step-100")
        (folder / "folder").symlink_to(folder / "sub")
        (folder / "whole").symlink_to(folder)
        (folder / "dangling").symlink_to("not there yet")
        (folder / "by its name").symlink_to("../source/step-100")
        warnings = []
        manifest = artifacts.publish(folder, url, "v", {}, warnings.append)
        assert warnings == []
        links = {file["path"]: file["link"] for file in manifest["files"] if "link" in file}
        assert links == {
            "sub/last": "../step-100", "near": "step-100", "folder": "sub", "whole": ".", "dangling": "not there yet",
            "by its name": "step-100",
        }  # fmt: skip
        assert (back(url, tmp_path) / "folder/last").read_text() == "weights"

    def test_links_that_lead_out_cost_nothing_else(self, tmp_path, url, folder):
        (tmp_path / "cache").mkdir()
        (tmp_path / "blob").write_text("from the cache")
        (folder / "cache").symlink_to(tmp_path / "cache")
        (folder / "blob").symlink_to("../blob")
        (folder / "gone").symlink_to("/nowhere")
        warnings = []
        artifacts.publish(folder, url, "v", {}, warnings.append)
        got = back(url, tmp_path)
        assert sorted(path.name for path in got.iterdir()) == ["blob", "step-100"]
        assert (got / "blob").read_text() == "from the cache"
        assert not (got / "blob").is_symlink()
        assert len(warnings) == 3

    def test_a_copy_has_links_into_itself(self, tmp_path, folder):
        (folder / "last").symlink_to(folder / "step-100")
        os.mkfifo(folder / "pipe")
        trees.copy(folder, tmp_path / "staging")
        assert os.readlink(tmp_path / "staging/last") == "step-100"
        generations.save(tmp_path / "staging", f"file://{tmp_path}/store", Generation(1, 1), 1, {})
        generations.restore(tmp_path / "restored", [f"file://{tmp_path}/store"], {})
        assert (tmp_path / "restored/last").read_text() == "weights"

    @settings(max_examples=60)
    @given(
        targets=st.dictionaries(
            st.sampled_from(["a", "b", "c/d", "c/e"]),
            st.lists(st.sampled_from(["..", ".", "a", "b", "c", "source", "x", "/", "HERE"]), min_size=1, max_size=4),
        )
    )
    def test_no_link_leads_out_or_costs_the_rest(self, targets, tmp_path_factory):
        base = tmp_path_factory.mktemp("links")
        source = base / "source"
        (source / "c").mkdir(parents=True)
        (source / "x").write_text("weights")
        for path, parts in targets.items():
            (source / path).symlink_to("/".join(parts).replace("HERE", str(source)))
        artifacts.publish(source, f"file://{base}/store", "v", {})
        got, _ = artifacts.fetch(f"file://{base}/store", base / "elsewhere/back", {})
        assert (got / "x").read_text() == "weights"
        for path in targets:
            if (got / path).is_symlink():
                assert os.path.commonpath([got, os.path.realpath(got / path)]) == str(got)


class TestEntries:
    def test_what_is_no_file_is_left_out(self, tmp_path, url, folder):
        os.mkfifo(folder / "pipe")
        warnings = []
        artifacts.publish(folder, url, "v", {}, warnings.append)
        assert [path.name for path in back(url, tmp_path).iterdir()] == ["step-100"]
        assert "pipe" in warnings[0]

    def test_special_bits_do_not_travel(self, tmp_path, url, folder):
        (folder / "step-100").chmod(0o4755)
        warnings = []
        artifacts.publish(folder, url, "v", {}, warnings.append)
        assert (back(url, tmp_path) / "step-100").stat().st_mode & 0o7777 == 0o755
        assert "set-user-id" in warnings[0]


class TestHostileManifests:
    """A machine wrote them, and whoever reads them may hold every cloud's credentials."""

    def write(self, tmp_path, **changes):
        store = tmp_path / "store/artifact"
        (store / "d").mkdir(parents=True, exist_ok=True)
        (store / "d/x").write_text("abc")
        manifest = {"kind": "folder", "bytes": 3, "folders": [], "data": "d", "files": [{"path": "x", "size": 3}]}
        (store / "manifest.json").write_text(json.dumps({**manifest, **changes}))

    @pytest.mark.parametrize("path", ["../out", "/etc/out", "a/../../out", "a//b", "", ".", "a\0b", 3, None, ["x"]])
    def test_paths(self, tmp_path, url, path):
        self.write(tmp_path, files=[{"path": path, "size": 3}])
        with pytest.raises(Corrupt):
            back(url, tmp_path)
        self.write(tmp_path, files=[{"path": "y", "key": path, "size": 3}])
        with pytest.raises(Corrupt):
            back(url, tmp_path)
        self.write(tmp_path, folders=[path])
        with pytest.raises(Corrupt):
            back(url, tmp_path)

    @pytest.mark.parametrize("link", ["/etc/passwd", "..", "../x", "sub/../../x", "a\0b", 3])
    def test_links(self, tmp_path, url, link):
        self.write(tmp_path, files=[{"path": "l", "link": link}])
        with pytest.raises(Corrupt):
            back(url, tmp_path)
        assert not os.path.lexists(tmp_path / "back/l")

    def test_links_by_way_of_each_other(self, tmp_path, url):
        links = [{"path": "a/b/l", "link": "../.."}, {"path": "m", "link": "a/b/l/.."}]
        self.write(tmp_path, files=links)
        with pytest.raises(Corrupt, match="by way of another"):
            back(url, tmp_path)
        assert not os.path.lexists(tmp_path / "back/m")

    def test_nothing_is_written_through_a_link(self, tmp_path, url):
        outside = tmp_path / "outside"
        outside.mkdir()
        (tmp_path / "back").mkdir()
        (tmp_path / "back/x").symlink_to(outside / "x")
        self.write(tmp_path)
        assert (back(url, tmp_path) / "x").read_text() == "abc"
        (tmp_path / "back/sub").symlink_to(outside)
        self.write(tmp_path, files=[{"path": "sub/x", "key": "x", "size": 3}])
        with pytest.raises(Corrupt, match="leads out"):
            back(url, tmp_path)
        assert list(outside.iterdir()) == []

    @pytest.mark.parametrize(
        "files",
        [
            [{"path": "x", "size": 3}, {"path": "x", "size": 3}],
            [{"path": "l", "link": "x"}, {"path": "l/y", "size": 3}],
            [{"path": "x", "size": -1}],
            [{"path": "x", "size": True}],
            [{"path": "x", "size": 3, "sha256": "short"}],
            [{"path": "x", "size": 3, "mode": "0777"}],
            [{"size": 3}],
            ["x"],
            {"path": "x"},
        ],
    )
    def test_files(self, tmp_path, url, files):
        self.write(tmp_path, files=files)
        with pytest.raises(Corrupt):
            back(url, tmp_path)

    def test_modes(self, tmp_path, url):
        self.write(tmp_path, files=[{"path": "x", "size": 3, "mode": 0o4777}])
        assert (back(url, tmp_path) / "x").stat().st_mode & 0o7000 == 0

    def test_somebody_else_s_manifest_is_a_file(self, tmp_path, url):
        (tmp_path / "store/artifact").mkdir(parents=True)
        (tmp_path / "store/artifact/manifest.json").write_text('{"name": "a browser extension"}')
        assert [path.name for path in back(url, tmp_path).iterdir()] == ["manifest.json"]


class TestVersions:
    def tree(self, tmp_path, word, files=3):
        folder = tmp_path / word
        folder.mkdir(exist_ok=True)
        for number in range(files):
            (folder / f"f{number}").write_text(f"{word} {number}")
        return folder

    def words(self, folder):
        return {path.read_text().split()[0] for path in Path(folder).iterdir()}

    def test_monday_can_be_read_until_tuesday_is_whole(self, tmp_path, url, monkeypatch):
        artifacts.publish(self.tree(tmp_path, "monday"), url, "same-name", {})
        real, calls = moving.patiently, []

        def dying(call):
            calls.append(1)
            if len(calls) > 2:  # the manifest is read first
                raise KeyboardInterrupt
            return real(call)

        with monkeypatch.context() as patch:
            patch.setattr(moving, "PARALLEL", 1)
            patch.setattr(moving, "patiently", dying)
            with pytest.raises(KeyboardInterrupt):
                artifacts.publish(self.tree(tmp_path, "tuesday"), url, "same-name", {})
        assert self.words(back(url, tmp_path)) == {"monday"}

    def test_the_version_before_is_removed_once_the_next_is_in_place(self, tmp_path, url):
        for word in ("monday", "tuesday", "wednesday"):
            artifacts.publish(self.tree(tmp_path, word), url, artifacts.version(f"job-{word}", 1), {})
        assert self.words(back(url, tmp_path)) == {"wednesday"}
        assert len(list((tmp_path / "store/artifact").iterdir())) == 2, "its data and the manifest"

    def test_what_never_became_a_version_goes_after_a_week(self, tmp_path, url):
        for name in ("20200101T000000Z-job-1-1", artifacts.version("job-2", 1), "notes"):
            (tmp_path / "store/artifact" / name).mkdir(parents=True)
        artifacts.publish(self.tree(tmp_path, "monday"), url, "new", {})
        left = {path.name[-8:] for path in (tmp_path / "store/artifact").iterdir()}
        assert left == {"-job-2-1", "notes", "new", "est.json"}

    def test_who_reads_while_it_is_replaced_gets_one_version_whole(self, tmp_path, url, monkeypatch):
        artifacts.publish(self.tree(tmp_path, "monday", files=4), url, "1", {})
        tuesday, real = self.tree(tmp_path, "tuesday"), artifacts.download

        def late(*args):
            if not (tmp_path / "store/artifact/2").exists():
                real(*args)  # all of Monday has come, but its last file is found damaged
                artifacts.publish(tuesday, url, "2", {})
                raise Corrupt("removed")
            real(*args)

        monkeypatch.setattr(artifacts, "download", late)
        got = back(url, tmp_path)
        assert self.words(got) == {"tuesday"}
        assert len(list(got.iterdir())) == 3

    def test_names_differ_by_job_and_attempt(self):
        made = {artifacts.version(job, attempt) for job in ("flow/run 1", "job-0a") for attempt in (1, 2)}
        assert len(made) == 4
        assert set("".join(made)) <= {*string.ascii_letters, *string.digits, *".-_"}
