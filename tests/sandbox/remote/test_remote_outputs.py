"""Outputs of real jobs on all three stores: odd names, links, and a bucket that does not answer for a while."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import fsspec
import pytest
from starlette.responses import Response

from sky_core.remote.artifacts import fetch, resolve
from sky_core.remote.executor import JobRequest
from sky_sandbox.storage import app
from tests.sandbox.loopback import serve, store_options

numbers = itertools.count(1)


class Moody:
    """An object store that answers 503 to everything while it is ``down``."""

    def __init__(self, store) -> None:
        self.store, self.down = store, threading.Event()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "http" and self.down.is_set():
            await Response("Slow Down", 503)(scope, receive, send)
        else:
            await self.store(scope, receive, send)


@pytest.fixture(scope="module")
def moody(tmp_path_factory) -> Iterator[tuple[Moody, str]]:
    store = Moody(app(tmp_path_factory.mktemp("moody")))
    with serve(store) as url:
        fsspec.filesystem("s3", **store_options(url)["s3"]).mkdir("jobs")
        yield store, url


@pytest.fixture(scope="module")
def machine(park):
    return park.boot()


def job(**about):
    return JobRequest(**{"job_id": f"outputs-{next(numbers)}", "attempt": 1, "cloud": "aws", **about})


def test_odd_names_and_links_cost_no_finished_job_anything(park, machine, endpoint, tmp_path):
    script = r"""
    mkdir -p "$SKY_OUTPUT_MODEL"; cd "$SKY_OUTPUT_MODEL"; echo weights > step-100
    ln -s "$SKY_OUTPUT_MODEL/step-100" last; ln -s /tmp cache; mkfifo pipe
    python3 -c 'open(b"caf\xe9\n.txt", "w").write("odd")'
    """
    request = job(run=script, outputs={"model": "s3://jobs/odd"}, storage_options=store_options(endpoint))
    state = park.run(machine, request)
    assert (state.exit_code, state.detail) == (0, "")
    assert b"cache leads out of its folder" in state.log
    got = fetch("s3://jobs/odd", tmp_path, request.storage_options)
    assert (got / "last").read_text() == "weights\n"
    assert sorted(path.name for path in got.iterdir()) == ["caf\udce9\n.txt", "last", "step-100"]


def test_a_checkpoint_with_an_absolute_link_is_saved_and_restored(park, machine, endpoint):
    script = """
    cd "$SKY_CHECKPOINT_DIR"; test -e last && { cat last; exit; }
    echo reached > step-100; ln -s "$SKY_CHECKPOINT_DIR/step-100" last; sleep 2
    """
    first = job(run=script, checkpoint_url="s3://jobs/linked", checkpoint_interval_s=0.2,
                storage_options=store_options(endpoint))  # fmt: skip
    state = park.run(machine, first)
    assert state.checkpoint_generation == 1
    assert b"not saved" not in state.log
    again = JobRequest(**{**vars(first), "attempt": 2})
    assert park.run(machine, again).log.endswith(b"reached\n")


def test_a_bucket_that_is_away_for_a_while_costs_no_finished_job_anything(park, machine, moody):
    store, endpoint = moody
    options = store_options(endpoint)
    options = {**options, "s3": {**options["s3"], "config_kwargs": {"retries": {"total_max_attempts": 1}}}}
    request = job(run="echo done > $SKY_OUTPUT_X", outputs={"x": "s3://jobs/patient"}, storage_options=options)
    store.down.set()
    park.executor.start([machine], request)
    state = park.follow(machine, request, lambda state: b"not published, trying again" in state.log)
    assert state.phase == "outputs"
    store.down.clear()
    assert park.follow(machine, request).exit_code == 0
    assert resolve("s3://jobs/patient", options).size == 5


def test_patience_has_an_end(park, machine, moody):
    store, endpoint = moody
    options = store_options(endpoint)
    options = {**options, "s3": {**options["s3"], "config_kwargs": {"retries": {"total_max_attempts": 1}}}}
    request = job(
        run="echo done > $SKY_OUTPUT_X", outputs={"x": "s3://jobs/hopeless"}, storage_options=options,
        publish_patience_s=1.0,
    )  # fmt: skip
    store.down.set()
    state = park.run(machine, request)
    store.down.clear()
    assert (state.phase, state.exit_code) == ("done", None)
    assert "output 'x'" in state.detail
