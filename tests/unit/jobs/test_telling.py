"""Webhooks and traces: called by real HTTP, taken down by OpenTelemetry's own exporter, and never in a step's way."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sky_core.config import Settings
from sky_core.driver.telling.herald import Herald
from sky_core.driver.telling.told import Told
from sky_core.driver.telling.traces import stretches, traced, tracer
from sky_core.driver.telling.webhooks import TOPICS, caller
from sky_core.errors import SpecError
from sky_core.events import (
    KINDS,
    Cancelled,
    DeadlineInDanger,
    Launched,
    Launching,
    Limit,
    Phase,
    Preempted,
    Started,
    Submitted,
    Succeeded,
    Terminated,
)
from sky_core.store import Event, Job, Store
from sky_core.webhooks import Webhook
from tests.conftest import until

PLACE = {"cloud": "aws", "region": "us-east-1", "zone": "us-east-1a", "instance_type": "m5.large", "use_spot": True}
LIFE = [
    (0, Submitted(task="train", plan="night/1")),
    (2, Launching(attempt=1, machine="m", **PLACE)),
    (5, Launched(attempt=1, instances=["i-1"], **PLACE)),
    (35, Started(attempt=1, ips=["127.0.0.1"])),
    (36, Phase(attempt=1, phase="setup")),
    (46, Phase(attempt=1, phase="running")),
    (100, Preempted(attempt=1)),
    (101, Terminated(attempt=1, outcome="preempted")),
    (103, Launching(attempt=2, machine="m", **PLACE)),
    (104, Launched(attempt=2, instances=["i-2"], **PLACE)),
    (130, Started(attempt=2, ips=["127.0.0.1"])),
    (130, Phase(attempt=2, phase="running")),
    (200, Phase(attempt=2, phase="outputs")),
    (210, Phase(attempt=2, phase="done")),
    (211, Terminated(attempt=2, outcome="succeeded")),
    (211, Succeeded(exit_code=0)),
]


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/store.db")
    yield store
    store.close()


@pytest.fixture
def job(store) -> Job:
    return store.submit("night/1/train", plan_key="night/1", task="train", spec="{}", owner=None)


@pytest.fixture
def posted() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]], list[int]]]:
    """An address, what was posted there, and how it answers first."""
    got: list[tuple[dict[str, str], bytes]] = []
    answers: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers.pop(0) if answers else 204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook", got, answers
    server.shutdown()
    server.server_close()


def test_every_topic_is_one_of_a_kind_that_there_is():
    assert set(TOPICS) <= set(KINDS)
    assert set(TOPICS.values()) == set(Webhook(url="http://x").events)


def test_an_address_is_told_of_what_it_wants_to_know_and_can_see_that_it_is_us(posted, job):
    url, got, _ = posted
    herald = Herald([caller([Webhook(url=url, events=("late", "finished"), secret="of the team")])])
    danger = DeadlineInDanger(hours_left=1, hours_needed=2)
    herald.tell(Told(job, [danger, Preempted(attempt=1), Limit(why="x"), Cancelled()], 1795644000.0))
    herald.close()
    assert [json.loads(body)["event"] for _, body in got] == ["deadline in danger", "cancelled"]
    headers, body = got[0]
    assert headers["X-Skyloom-Signature"] == "sha256=" + hmac.new(b"of the team", body, hashlib.sha256).hexdigest()
    assert json.loads(body) == {
        "version": 1, "topic": "late", "event": "deadline in danger", "at": "2026-11-25T22:00:00+00:00",
        "text": f"train of night/1: {danger.words()}", "job": {"id": job.id, "run": "night/1", "task": "train"},
    }  # fmt: skip


def test_a_server_in_trouble_is_called_again_and_one_that_refuses_is_not(posted, job):
    url, got, answers = posted
    call = caller([Webhook(url=url)])
    answers += [503]
    call(Told(job, [Succeeded()], 0.0))
    assert len(got) == 2
    answers += [404]
    call(Told(job, [Succeeded()], 0.0))
    assert len(got) == 3


def test_nothing_waits_for_an_address_that_does_not_answer(job):
    told = []

    def slow(what: Told) -> None:
        time.sleep(0.5)
        raise OSError("away")

    herald = Herald([slow, told.append])
    began = time.perf_counter()
    for _ in range(3):
        herald.tell(Told(job, [Succeeded()], 0.0))
    assert time.perf_counter() - began < 0.4, "a step does not wait"
    until(lambda: len(told) == 3)
    herald.close()


@pytest.mark.parametrize(
    ("table", "words"),
    [('url = "ftp://x"', "webhooks.0.url"), ("", "webhooks.0.url"),
     ('url = "http://x"\nevent = []', "did you mean events?"),
     ('url = "http://x"\nevents = ["lost"]', "webhooks.0.events.0: 'lost' is not 'preempted'")],
)  # fmt: skip
def test_a_slip_in_the_settings_is_named(tmp_path, table, words):
    (tmp_path / "config.toml").write_text(f"[[webhooks]]\n{table}\n")
    with pytest.raises(SpecError, match=words.replace("?", r"\?")):
        Settings.load({"SKYLOOM_HOME": str(tmp_path)})


def test_a_life_is_cut_into_its_parts():
    events = [Event(number, "job", at, what.kind, what.data()) for number, (at, what) in enumerate(LIFE)]
    found = stretches(events)
    assert [(one.name, one.begin, one.end) for one in found] == [
        ("plan", 0, 2), ("launch", 2, 5), ("boot", 5, 35), ("start", 35, 36), ("setup", 36, 46), ("run", 46, 101),
        ("plan", 101, 103), ("launch", 103, 104), ("boot", 104, 130), ("run", 130, 200), ("publish", 200, 210),
        ("end", 210, 211),
    ]  # fmt: skip
    assert [one.attributes.get("skyloom.attempt") for one in found] == [None, *[1] * 6, *[2] * 5]
    assert stretches(events[:1]) == []


def test_a_job_that_ends_is_a_trace_below_that_of_its_run(store, job):
    for _, what in LIFE[1:]:
        store.tell_once(job.id, what)
    exporter = InMemorySpanExporter()
    tell = traced(store, exporter)
    tell(Told(job, [Terminated(attempt=2, outcome="succeeded")], 0.0))
    assert exporter.get_finished_spans() == (), "it is not over"
    tell(Told(job, [Succeeded()], 0.0))
    *parts, whole = exporter.get_finished_spans()
    assert whole.name == "train"
    assert whole.attributes["skyloom.run"] == "night/1"
    assert {part.parent.span_id for part in parts} == {whole.context.span_id}
    other = store.submit("night/1/score", plan_key="night/1", task="score", spec="{}", owner=None)
    store.tell_once(other.id, Cancelled())
    tell(Told(other, [Cancelled()], 0.0))
    assert exporter.get_finished_spans()[-1].context.trace_id == whole.context.trace_id, "one trace for a run"


def test_without_an_endpoint_nothing_is_loaded(store):
    assert tracer(store, {}) is None
