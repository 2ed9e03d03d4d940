"""The pages over all runs: nothing without the token, nothing of a user's taken for markup, and what stands on them."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

import pytest

from sky_core.cli.records.top import summary
from sky_core.config import Settings
from sky_core.measures.scale import Scale
from sky_core.overview.glance import look
from sky_core.overview.pipelines import pipelines
from sky_core.overview.runs import timeline
from sky_core.overview.spot import spot_market
from sky_core.planner.plan import Placement, Plan, Span
from sky_core.spec import Objective
from sky_core.store import Observation, Store
from sky_core.ui.answers import Asked
from sky_core.ui.metrics import metrics
from sky_core.ui.pages import PAGES
from sky_core.ui.server import Server
from tests.unit.cli.few_jobs import HOUR, launch, submitted

TOKEN = "a-token-of-this-test"
ODD = "<b>&\"'</b>"  # a task's name that is no markup
RUN = "nightly/1"


def fill(store: Store, began: float) -> dict[str, str]:
    """A run of two tasks, one moved from spot to on-demand; the jobs by task."""
    store.create_plan(RUN, '{"name": "nightly"}', planned(began).model_dump_json())
    jobs = {task: submitted(store, task, "running", run=RUN) for task in ("train", ODD)}
    moved = {"cloud": "gcp", "region": "us-central1", "zone": "us-central1-a", "price": 2.0, "began": began + HOUR}
    store.put_cluster(launch(jobs["train"], 1, hours=1, use_spot=True, began=began, outcome="preempted"))
    store.put_cluster(launch(jobs["train"], 2, hours=None, state="launched", **moved))
    for at, kind in ((0, "launched"), (1, "preempted"), (2, "capacity"), (3, "launched")):
        store.observe(Observation(began + at * HOUR / 4, "aws", "us-east-1", "us-east-1a", "m5.large", "spot", kind))  # type: ignore[arg-type]
    return {task: job.id for task, job in jobs.items()}


def planned(began: float) -> Plan:
    place = Placement(
        task="train", cloud="aws", region="us-east-1", zone="us-east-1a", instance_type="m5.large", accelerator=None,
        accelerator_count=0, arch="x86_64", use_spot=True, num_nodes=1, price=0.1, hours=3, hours_at_most=3,
        hours_source="user", boot_hours=0, compute_usd=0.3,
    )  # fmt: skip
    return Plan(
        pipeline="nightly", objective=Objective(), cost_usd=0.6, hours=4, bound=0.6, optimal=True, method="highs",
        placements={task: place.model_copy(update={"task": task}) for task in ("train", ODD)},
        schedule={"train": Span(start=0, end=3, slack=0), ODD: Span(start=3, end=4, slack=0)},
        catalog_version="1", dag_hash="0", created_at=began,
    )  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[tuple[Server, dict[str, str]]]:
    """A server, and the jobs in its store."""
    settings = Settings.load({"SKYLOOM_HOME": str(tmp_path_factory.mktemp("home"))})
    store = Store(settings.store_url)
    jobs = fill(store, time.time() - 2 * HOUR)
    server = Server(settings, 0, TOKEN)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server, jobs
    server.shutdown()
    server.server_close()
    thread.join()
    store.close()


@pytest.fixture
def get(served):
    def ask(path: str, headers: dict[str, str] | None = None) -> tuple[int, str, http.client.HTTPResponse]:
        link = http.client.HTTPConnection("127.0.0.1", served[0].server_address[1], timeout=60)
        link.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"} if headers is None else headers)
        answer = link.getresponse()
        body = answer.read().decode()
        link.close()
        return answer.status, body, answer

    return ask


class TestToken:
    @pytest.mark.parametrize("path", [*PAGES, "/metrics", "/nothing"])
    def test_without_it_there_is_no_data(self, get, path):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "skyloom=wrong; broken==;"}):
            status, body, _ = get(f"{path}?key={RUN}", headers)
            assert status == 401
            assert "nightly" not in body
        assert get(f"{path}?token=", {})[0] == 401, "an empty one is none"

    def test_it_goes_from_the_address_into_a_cookie(self, get):
        status, body, answer = get(f"/run?key={quote(RUN, safe='')}&token={TOKEN}", {})
        assert (status, body) == (303, "")
        assert answer.headers["Location"] == "/run?key=nightly%2F1", "and is not in the address any more"
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert get("/", {"Cookie": cookie.partition(";")[0]})[0] == 200

    def test_nobody_is_sent_elsewhere(self, get):
        assert get(f"//evil.example/?token={TOKEN}", {})[2].headers["Location"].startswith("/evil.example/")

    def test_it_is_served_on_loopback_only(self, served):
        assert served[0].server_address[0] == "127.0.0.1"


class TestPages:
    @pytest.mark.parametrize("path", [path for path in PAGES if path not in ("/run", "/plan", "/job")])
    def test_every_page_is_one_and_takes_any_query(self, get, path):
        for query in ("", "?days=3&page=2&name=x&state=failed", "?days=-1&page=x&name=%00%25&state=odd", "?days=1e9"):
            status, body, _ = get(path + query)
            assert status == 200, body
            assert body.count("<h1>") == body.count("</main>") == 1

    def test_what_users_named_is_text(self, get, served):
        for path in ("/jobs", f"/run?key={RUN}", f"/job?id={served[1][ODD]}", f"/plan?key={RUN}"):
            body = get(path)[1]
            assert ODD not in body, path
            assert "&lt;b&gt;&amp;" in body, path

    def test_nothing_is_fetched_from_elsewhere(self, get):
        for path in (*PAGES, f"/run?key={RUN}"):
            assert not re.search(r"""(src|href|action)=["']?(https?:)?//""", get(path)[1])

    def test_a_run_is_told_in_time_and_money(self, get, served):
        body = get(f"/run?key={RUN}")[1]
        assert "$2.10" in body, "an hour on spot at 0.10, one on demand at 2.00"
        assert "$0.60" in body, "by the plan"
        assert body.count('class="bar planned"') == 2
        assert body.count("on-spot") - body.count(".on-spot") == 1
        assert "preempted" in body

    def test_a_job_has_its_events_and_log(self, get, served):
        body = get(f"/job?id={served[1]['train']}")[1]
        assert "submitted under plan nightly/1" in body
        assert "nothing yet" in body

    def test_what_is_not_there_is_not_found(self, get):
        for path in ("/job", "/job?id=job-", "/run", "/run?key=nightly", "/plan?key=x", "/favicon.ico"):
            assert get(path)[0] == 404, path

    def test_metrics_are_in_prometheus_form(self, get):
        status, body, answer = get("/metrics")
        assert status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        samples = dict(re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", body, re.MULTILINE))
        assert samples['skyloom_jobs{state="running"}'] == "2"
        assert samples['skyloom_machines{cloud="gcp",market="on-demand",state="live"}'] == "1"
        assert samples['skyloom_usd_per_hour{cloud="gcp",market="on-demand",state="live"}'] == "2"
        assert samples['skyloom_events_total{kind="submitted"}'] == "2"
        for name in {re.split(r"[{ ]", name)[0] for name in samples}:
            assert body.count(f"# TYPE {name} ") == 1


def test_a_timeline_has_what_was_planned_and_what_happened(served):
    server, _ = served
    seen = timeline(server.store, server.settings.scale, RUN)
    train = next(line for line in seen.tasks if line.task == "train")
    assert train.planned == (0, 3)
    assert [(leg.market, leg.outcome) for leg in train.legs] == [("spot", "preempted"), ("on-demand", "")]
    assert train.legs[0].end == pytest.approx(train.legs[1].begin, abs=0.01)
    assert seen.hours == pytest.approx(4)


def test_bars_come_to_the_bill_where_a_cloud_charges_for_a_minute_at_least(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/store.db")
    began = time.time() - HOUR
    store.create_plan("short/1", '{"name": "short"}', planned(began).model_dump_json())
    job = submitted(store, "train", "succeeded", run="short/1")
    store.put_cluster(launch(job, 1, hours=10 / HOUR, price=3.6, num_nodes=2, began=began))  # ten seconds on each
    seen = timeline(store, Scale(), "short/1")
    assert sum(leg.usd for line in seen.tasks for leg in line.legs) == pytest.approx(2 * 60 / HOUR * 3.6)
    assert seen.usd == pytest.approx(2 * 60 / HOUR * 3.6)
    store.close()


def test_machines_that_are_kept_are_named_wherever_money_is(tmp_path):
    settings = Settings.load({"SKYLOOM_HOME": str(tmp_path)})
    store, now = Store(settings.store_url), time.time()
    job = submitted(store, "warm", "succeeded", run="short/1")
    kept = {"state": "kept", "kept_at": now - HOUR, "kept_until": now + HOUR, "kept_as": "dev", "num_nodes": 2}
    store.put_cluster(launch(job, 1, hours=None, began=now - 2 * HOUR, price=0.5, **kept))
    asked = Asked(store, settings, {})
    said = metrics(asked).text
    assert 'skyloom_machines{cloud="aws",market="on-demand",state="kept"} 2\n' in said
    assert 'skyloom_usd_per_hour{cloud="aws",market="on-demand",state="kept"} 1\n' in said
    assert "<b>$1.00</b> of it for machines kept idle as dev" in PAGES["/"](asked).text
    assert "<b>$1.00</b> of it for machines that were kept and idle" in PAGES["/cost"](asked).text
    assert "of it $1.00 for machines kept idle as dev" in summary(look(store, Scale())).plain
    store.close()


def test_a_market_is_up_from_one_sign_to_the_next():
    kinds = ("launched", "released", "preempted", "capacity", "quota", "launched")
    blank = Observation(0, "aws", "r", "z", "t", "spot", "launched")
    seen = [replace(blank, at=float(at), kind=kind) for at, kind in enumerate(kinds)]  # type: ignore[arg-type]
    (market,) = spot_market([*seen, replace(blank, market="on-demand")], [], now=10.0)
    assert [(one.begin, one.end, one.up) for one in market.stretches] == [(0, 2, True), (2, 5, False), (5, 10, True)]
    assert (market.launched, market.refused, market.preempted) == (2, 2, 1)


def test_a_pipeline_gets_cheaper_by_what_its_runs_cost():
    from sky_core.job.cost.charges import Charge

    def cost(run: int, usd: float, *, running: bool = False) -> Charge:
        whose, where = ("p", f"r{run}", "t", f"j{run}", "?", {}), ("c", "r", "spot", f"2026-11-{run:02}")
        return Charge(*whose, *where, usd, running=running)

    halved = [cost(run, 10 if run <= 5 else 5) for run in range(1, 11)]
    (row,) = pipelines([*halved, cost(11, 0.1, running=True)])
    assert (row.first_usd, row.now_usd, row.change) == (10, 5, -0.5), "the one that runs is left out"
    assert pipelines([cost(1, 1.0)])[0].change is None
