"""The task's log goes on where it was when another triggerer takes over, and where tasks wait."""

import asyncio
import re
from configparser import RawConfigParser
from datetime import UTC, datetime
from functools import partial

import pytest
from airflow.sdk import DAG
from airflow.sdk.configuration import conf

from sky_airflow.operators import sky as operators
from sky_airflow.operators.sky import SkyOperator
from sky_airflow.triggers.sky import SkyJobTrigger
from sky_core.broker import Broker


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKYLOOM_HOME", str(tmp_path))
    (tmp_path / "config.toml").write_text("[clouds.aws]\nenabled = true\n")
    return Broker.open().store


def watched(job, capsys, owner="try-1", kill=False):
    """What one triggerer tells of a job before it is stopped."""
    trigger = SkyJobTrigger(job_id=job.id, owner=owner, until=1.0)
    capsys.readouterr()

    async def one_look():
        async for _ in trigger.run():
            break
        if not kill:
            await trigger.cleanup()

    asyncio.run(one_look())
    return re.findall(r"tick \d", capsys.readouterr().out)


def test_the_next_triggerer_goes_on_with_the_log(store, capsys):
    job = store.submit("k", plan_key="p", task="a", spec="{}", owner=None)
    store.lease_due("driver", 600, 1)
    store.save_job(job, "driver", log=(0, b"tick 1\ntick 2\nti"))
    assert watched(job, capsys) == ["tick 1", "tick 2"]
    store.save_job(job, "driver", log=(16, b"ck 3\ntick 4\n"))
    assert watched(job, capsys, kill=True) == ["tick 3", "tick 4"]
    assert watched(job, capsys) == ["tick 3", "tick 4"], "after a kill -9 the last seconds are told again"
    assert watched(job, capsys) == []
    assert watched(job, capsys, owner="try-2") == [f"tick {number}" for number in (1, 2, 3, 4)], "a log of its own"


@pytest.mark.parametrize(
    ("variables", "written", "waits"),
    [
        ({}, {}, True),
        ({"OPERATORS__DEFAULT_DEFERRABLE": "true"}, {}, True),
        ({"OPERATORS__DEFAULT_DEFERRABLE": "false"}, {}, False),
        ({}, {("operators", "default_deferrable"): "false"}, True),  # as Airflow itself writes it into airflow.cfg
        ({}, {("skyloom", "deferrable"): "false"}, False),
        ({"SKYLOOM__DEFERRABLE": "true", "OPERATORS__DEFAULT_DEFERRABLE": "false"}, {}, True),
    ],
)
def test_where_tasks_wait_is_airflows_setting(variables, written, waits, monkeypatch, request):
    for name, value in variables.items():
        monkeypatch.setenv(f"AIRFLOW__{name}", value)
    for (section, option), value in written.items():
        if not RawConfigParser.has_section(conf, section):
            RawConfigParser.add_section(conf, section)
            request.addfinalizer(partial(RawConfigParser.remove_section, conf, section))
        RawConfigParser.set(conf, section, option, value)
        request.addfinalizer(partial(RawConfigParser.remove_option, conf, section, option))
    operators.waits_in_triggerer.cache_clear()
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        assert SkyOperator(task_id="a", run="x").deferrable is waits
        assert SkyOperator(task_id="b", run="x", deferrable=True).deferrable
    operators.waits_in_triggerer.cache_clear()


def test_a_job_is_charged_to_the_owner_that_a_task_names():
    assert [operators.charged_to(owner) for owner in ("ada", "airflow")] == ["ada", None]
