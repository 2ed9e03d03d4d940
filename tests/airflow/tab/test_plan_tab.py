"""The plan page of a DAG run, as Airflow's API server would mount it."""

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

    from sky_airflow.plugins.sky import app

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


def test_a_run_without_a_plan_says_so(client):
    logged_in(client)
    page = client.get("/plan", params={"dag_id": "d", "run_id": "r"})
    assert (page.status_code, "has no plan yet" in page.text) == (404, True)


def test_nobody_sees_it_without_a_login(client):
    assert client.get("/plan", params={"dag_id": "d", "run_id": "r"}).status_code in (401, 403)


def test_who_may_not_see_the_dag_does_not_see_its_plan(client):
    logged_in(client, role=None)
    assert client.get("/plan", params={"dag_id": "d", "run_id": "r"}).status_code == 403


def test_links_begin_where_airflow_is_served(monkeypatch):
    from types import SimpleNamespace

    from sky_airflow.links.sky import SkyPlanLink

    key = SimpleNamespace(dag_id="d", run_id="r")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://host.example/airflow/")
    assert SkyPlanLink().get_link(None, ti_key=key) == "/airflow/skyloom/plan?dag_id=d&run_id=r"
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://host.example")
    assert SkyPlanLink().get_link(None, ti_key=key) == "/skyloom/plan?dag_id=d&run_id=r"
