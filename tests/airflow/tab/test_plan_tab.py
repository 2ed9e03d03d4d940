"""The plan page of a DAG run, as Airflow's API server would mount it."""

import re
from html import unescape

import pytest
from fastapi.testclient import TestClient

from sky_core import Pipeline, Task
from sky_core.broker import Broker

ENABLED = "".join(f"[clouds.{name}]\nenabled = true\naccount = 'a'\n" for name in ("aws", "gcp", "azure"))


@pytest.fixture
def client(tmp_path, monkeypatch):
    from airflow.api_fastapi.app import create_auth_manager
    from airflow.api_fastapi.core_api.security import get_user
    from airflow.models import dag

    from sky_airflow.plugins import sky
    from sky_airflow.plugins.sky import app

    monkeypatch.setattr(sky, "connections_of", lambda *_: [])  # which asks Airflow's database: see test_survival.py
    create_auth_manager()  # Airflow's simple one
    monkeypatch.setitem(dag._team_name_cache, "d", None)  # which is looked up in Airflow's database else
    monkeypatch.setenv("SKYLOOM_HOME", str(tmp_path))
    (tmp_path / "config.toml").write_text(ENABLED)
    yield TestClient(app)
    app.dependency_overrides.pop(get_user, None)


def logged_in(client, role="VIEWER"):
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.security import get_user

    client.app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="somebody", role=role)


def test_the_tab_shows_the_newest_plan_of_the_run(client):
    logged_in(client)
    requires = {"cloud": "aws", "instance_type": "m5.large"}
    pipeline = Pipeline(name="d", tasks=(Task(name="count", run="true", hours=1, resources=requires),))
    Broker.open().plan("airflow/d/run<1>/0", pipeline)
    page = client.get("/plan", params={"dag_id": "d", "run_id": "run<1>"})
    assert page.status_code == 200
    assert "count" in page.text
    assert "m5.large" in page.text
    assert "<h1>d, run&lt;1&gt;</h1>" in page.text


def planned(dag="d"):
    """A run with a plan and a job, each of its own DAG; the job."""
    requires = {"cloud": "aws", "instance_type": "m5.large"}
    task = Task(name="count", run="true", hours=1, resources=requires)
    broker = Broker.open()
    broker.plan(f"airflow/{dag}/r/0", Pipeline(name=dag, tasks=(task,)))
    return broker.store.submit(f"airflow/{dag}/r/count/-1/0/0", plan_key=f"airflow/{dag}/r/0", task="count",
                               spec=task.model_dump_json(exclude={"hours"}), owner=None)  # fmt: skip


def test_the_runs_page_leads_to_its_jobs_and_nowhere_else(client):
    logged_in(client)
    job, other = planned(), planned("other")
    run = client.get("/run", params={"dag_id": "d", "run_id": "r"})
    assert (run.status_code, "count" in run.text) == (200, True)
    links = {unescape(link) for link in re.findall(r'href="(/[^"]*)"', run.text)}
    same = "dag_id=d&run_id=r"
    assert links == {f"/skyloom/plan?{same}", f"/skyloom/run?{same}", f"/skyloom/job?{same}&id={job.id}",
                     f"/skyloom/plan?{same}&key=airflow%2Fd%2Fr%2F0"}  # fmt: skip
    for asked in ({"id": job.id}, {"task_id": "count"}):
        page = client.get("/job", params={"dag_id": "d", "run_id": "r", **asked})
        assert (page.status_code, job.id in page.text) == (200, True)
    for asked in ({"id": other.id}, {"task_id": "none"}, {"task_id": "count", "map_index": 3}):
        assert client.get("/job", params={"dag_id": "d", "run_id": "r", **asked}).status_code == 404


@pytest.mark.parametrize("page", ["/plan", "/run", "/job"])
def test_no_page_without_a_login_or_for_who_may_not_see_the_dag(client, page):
    where = {"dag_id": "d", "run_id": "r"}
    assert client.get(page, params=where).status_code in (401, 403)
    logged_in(client, role=None)
    assert client.get(page, params=where).status_code == 403


def test_a_run_without_a_plan_says_so(client):
    logged_in(client)
    page = client.get("/plan", params={"dag_id": "d", "run_id": "r"})
    assert (page.status_code, "has no plan yet" in page.text) == (404, True)


def test_links_begin_where_airflow_is_served(monkeypatch):
    from types import SimpleNamespace

    from sky_airflow.links.sky import SkyPlanLink

    key = SimpleNamespace(dag_id="d", run_id="r")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://host.example/airflow/")
    assert SkyPlanLink().get_link(None, ti_key=key) == "/airflow/skyloom/plan?dag_id=d&run_id=r"
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://host.example")
    assert SkyPlanLink().get_link(None, ti_key=key) == "/skyloom/plan?dag_id=d&run_id=r"
