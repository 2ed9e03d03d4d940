"""A disk that is full for a while costs a checkpoint or two, never all that would have followed."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from sky_core.remote import bundle
from sky_core.remote.agent.data.checkpoints import Checkpoints
from sky_core.remote.agent.data.courier import Courier, Patience
from sky_core.remote.agent.job import Job, Place
from sky_core.remote.agent.state import State
from tests.conftest import until


@pytest.fixture
def kept(tmp_path):
    """A job's checkpoints with all that is around them, and what was said of them."""
    name, content = bundle.agent()
    (tmp_path / name).write_bytes(content)
    place, said = Place(tmp_path), []
    place.checkpoint.mkdir()
    (place.checkpoint / "step").write_text("1")
    job = Job("job", 1, "aws", checkpoint_url=f"file://{tmp_path}/store", checkpoint_interval_s=0.05)
    courier = Courier({}, str(tmp_path / name), place.own_log)
    checkpoints = Checkpoints(
        job, place, State(place.state), Patience(courier, 10.0, said.append), lambda: False, said.append
    )
    yield place, checkpoints, said
    checkpoints.close()
    courier.close()


def test_it_goes_on_after_trouble_with_the_disk_and_says_so(kept, tmp_path):
    place, checkpoints, said = kept
    place.staging = Path("/dev/full/staging")
    checkpoints.begin()

    def ticked(condition):
        def look():
            checkpoints.tick()
            return condition()

        return look

    until(ticked(lambda: any("will try again" in line for line in said)))
    assert not checkpoints.last()
    assert "last checkpoint not saved" in said[-1]
    place.staging = tmp_path / "staging"
    until(ticked(lambda: list((tmp_path / "store/generations").glob("*.json"))))
    until(lambda: not place.staging.exists())


def test_an_interval_is_from_one_look_to_the_next(kept, monkeypatch):
    _, checkpoints, _ = kept
    monkeypatch.setattr(checkpoints, "_job", replace(checkpoints._job, checkpoint_interval_s=60.0))
    began = time.monotonic()
    again_s = checkpoints._sync()
    assert again_s == pytest.approx(60.0 - (time.monotonic() - began), abs=0.05)


def test_a_state_that_could_not_be_written_is_written_later(tmp_path):
    path = tmp_path / "not there" / "state.json"
    state = State(path)
    state.change(checkpoint_generation=3)
    state.flush()
    path.parent.mkdir()
    state.flush()
    assert '"checkpoint_generation": 3' in path.read_text()
