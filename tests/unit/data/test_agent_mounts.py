"""Mounts: what belongs at a path is there, and what a job writes below one is in the bucket."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sky_core.remote import bundle
from sky_core.remote.agent.data import mirror, placing
from sky_core.remote.agent.data.courier import Courier, Patience
from sky_core.remote.agent.data.mounts import Mounts
from sky_core.remote.agent.data.placing import Unplaced
from sky_core.remote.agent.job import Job, Place
from sky_core.remote.agent.state import State
from sky_core.remote.agent.variables import environment
from sky_core.spec.variables import GIVEN
from tests.conftest import until


@pytest.fixture
def bucket(tmp_path):
    folder = tmp_path / "bucket/run"
    (folder / "deep").mkdir(parents=True)
    (folder / "old").write_text("old")
    (folder / "deep/kept").write_text("kept")
    return folder


def content(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def mounted(tmp_path):
    """Makes a job's mounts in a place of its own, brought and ready."""
    name, program = bundle.agent()
    (tmp_path / name).write_bytes(program)
    couriers = []

    def make(*mounts, attempt=1, files=()):
        place = Place(tmp_path / f"job-{attempt}")
        place.work.mkdir(parents=True)
        for number, text in enumerate(files):
            place.files.mkdir(exist_ok=True)
            (place.files / str(number)).write_text(text)
        whole = [{"url": None, "file": None, "write_back": False, **mount} for mount in mounts]
        courier = Courier({}, str(tmp_path / name), place.own_log)
        couriers.append(courier)
        said = []
        patience = Patience(courier, 1.0, said.append)
        made = Mounts(Job("job", attempt, "aws", mounts=whole), place, State(place.state), patience, said.append)
        made.bring(placing.put)
        return made, place, said

    yield make
    for courier in couriers:
        courier.close()


def test_what_is_written_is_in_the_bucket_and_what_is_removed_is_not(mounted, bucket, monkeypatch):
    monkeypatch.setattr("sky_core.remote.agent.data.mounts.LEAST_INTERVAL_S", 0.05)
    mounts, place, _ = mounted({"path": "ckpt", "url": f"file://{bucket}", "write_back": True})
    here = place.work / "ckpt"
    assert content(here) == {"old": "old", "deep/kept": "kept"}
    mounts.begin()
    (here / "new.tmp").write_text("step 1")
    (here / "old").unlink()

    def ticked():
        mounts.tick()
        return content(bucket) == {"new.tmp": "step 1", "deep/kept": "kept"}

    until(ticked)  # as it goes on
    (here / "new.tmp").rename(here / "new")
    (here / "deep/kept").write_text("KEPT")
    (here / "link").symlink_to("new")
    mounts.last()
    assert content(bucket) == {"new": "step 1", "deep/kept": "KEPT", "link": "step 1"}


def test_an_empty_bucket_is_made_and_filled_from_the_submitters_disk(mounted, tmp_path):
    url = f"file://{tmp_path}/none yet/data"
    mount = {"path": "~/data", "url": url, "file": 0, "write_back": True}
    os.environ["HOME"], before = str(tmp_path / "home"), os.environ["HOME"]
    try:
        mounts, _, _ = mounted(mount, files=["local"])
        assert content(tmp_path / "home/data") == {"0": "local"}
        assert content(tmp_path / "none yet/data") == {"0": "local"}
        (tmp_path / "home/data/0").write_text("changed by the job")
        mounts.rescue()
        mounted(mount, files=["local"], attempt=2)
    finally:
        os.environ["HOME"] = before
    assert content(tmp_path / "none yet/data") == {"0": "changed by the job"}


def test_what_is_only_read_is_not_written_back(mounted, bucket):
    mounts, place, _ = mounted(
        {"path": "data", "url": f"file://{bucket}"}, {"path": "etc/settings", "file": 0}, files=["x"]
    )
    assert (place.work / "etc/settings").read_text() == "x"
    (place.work / "data/new").write_text("mine")
    mounts.last()
    assert content(bucket) == {"old": "old", "deep/kept": "kept"}


def test_a_file_that_changes_while_it_is_sent_is_sent_again(bucket, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "log").write_text("one")
    send = mirror.upload

    def slowly(*arguments):
        send(*arguments)
        (folder / "log").write_text("one and two")

    monkeypatch.setattr(mirror, "upload", slowly)
    _, known = mirror.send_back(folder, f"file://{bucket}", {}, {}, print)
    monkeypatch.setattr(mirror, "upload", send)
    mirror.send_back(folder, f"file://{bucket}", known, {}, print)
    assert (bucket / "log").read_text() == "one and two"


def test_names_that_no_bucket_takes_are_changed_with_a_word(bucket, tmp_path):
    folder, said = tmp_path / "here", []
    folder.mkdir()
    (folder / "a?b").write_text("x")
    mirror.send_back(folder, f"file://{bucket}", {}, {}, said.append)
    assert (content(bucket)["a%3Fb"], len(said)) == ("x", 1)


class TestPlacing:
    def test_a_link_takes_the_place_of_what_may_go(self, tmp_path):
        (tmp_path / "source").mkdir()
        for name in ("empty", "old"):
            (tmp_path / name).mkdir()
            placing.put(name, tmp_path / "source", tmp_path, merge=False)
            placing.put(name, tmp_path / "source", tmp_path, merge=False)  # again, as another attempt does
            assert (tmp_path / name).resolve() == tmp_path / "source"

    def test_a_folder_with_something_in_it_is_joined_or_told(self, tmp_path):
        for name in ("source", "full"):
            (tmp_path / name).mkdir()
            (tmp_path / name / name).write_text(name)
        placing.put("full", tmp_path / "source", tmp_path, merge=True)
        assert content(tmp_path / "full") == {"full": "full", "source": "source"}
        with pytest.raises(Unplaced, match=r"file_mounts\.full: there is a folder on this machine that is not empty"):
            placing.put("full", tmp_path / "source", tmp_path, merge=False)

    def test_a_path_that_cannot_be_is_told(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(Unplaced, match=r"file_mounts\.file/below: "):
            placing.put("file/below", tmp_path, tmp_path, merge=False)


def test_scripts_for_skypilot_find_their_variables():
    job = Job(
        "j-1",
        2,
        "aws",
        rank=1,
        node_ips=("10.0.0.1", "10.0.0.2"),
        gpus_per_node=8,
        place={"cloud": "aws", "region": "us-east-1"},
    )
    found = environment(job, Place(Path("/nowhere")), {}, {})
    assert {name: found[f"SKYPILOT_{name}"] for name in ("NODE_RANK", "NUM_NODES", "NUM_GPUS_PER_NODE", "TASK_ID")} == {
        "NODE_RANK": "1", "NUM_NODES": "2", "NUM_GPUS_PER_NODE": "8", "TASK_ID": "j-1",
    }  # fmt: skip
    assert found["SKYPILOT_NODE_IPS"] == found["SKYPILOT_SETUP_NODE_IPS"] == "10.0.0.1\n10.0.0.2"
    cluster = json.loads(found["SKYPILOT_CLUSTER_INFO"])
    assert (cluster["cloud"], cluster["region"]) == ("AWS", "us-east-1")


def test_what_every_command_finds_cannot_be_said_otherwise():
    job = Job("j-1", 2, "aws", envs=dict.fromkeys(GIVEN, "lost"), outputs={"model": ""})
    found = environment(job, Place(Path("/nowhere")), {"x": "/x"}, {})
    ours = {name for name in found if name.startswith("SKY_")}
    assert ours == GIVEN | {"SKY_INPUT_X", "SKY_OUTPUT_MODEL"}
    assert "lost" not in {found[name] for name in ours}
