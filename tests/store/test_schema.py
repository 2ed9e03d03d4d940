"""Upgrades: a store made before there were versions loses nothing, and a store from the future is left alone."""

import hashlib
import json
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from sky_core.errors import StoreTooNew
from sky_core.store import Launch, Observation, Store
from sky_core.store.database.revision import HEAD, VERSION_TABLE
from sky_core.store.database.schema import MIGRATIONS
from sky_core.store.database.urls import parse
from sky_core.store.tables import METADATA

BASELINE = Path(__file__).parent / "baseline"
TRAIN = "job-b6dc2d0f354d474d"


def run_sql(url: str, script: str) -> None:
    """Run statements on a database that no store has open."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
            db.executescript(script)
    else:
        import psycopg

        with psycopg.connect(url) as db:
            db.execute(script)


@contextmanager
def made_by_revision(revision, url):
    """A connection to a new store as the version of that revision made it."""
    engine = sa.create_engine(parse(url))
    with engine.begin() as db:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = db
        command.upgrade(config, revision)
        yield db
    engine.dispose()


@pytest.fixture
def old_url(store_url):
    """A store that was made, with one of everything in it, by the last version whose stores had no versions."""
    kind = "sqlite" if store_url.startswith("sqlite") else "postgres"
    run_sql(store_url, (BASELINE / f"{kind}.sql").read_text())
    return store_url


def test_an_old_store_is_upgraded_without_loss(old_url):
    with closing(Store(old_url)) as store:
        assert store.id == "sky-8fc244a1549547ee", "machines are tagged with it"
        job = store.job(TRAIN)
        assert (job.key, job.owner, job.state, job.attempt) == ("flow/run-1/train/0", "try-1", "running", 1)
        assert (job.memory, job.needs, job.lease_epoch) == ({"x": [1, 2]}, {}, 0)
        assert [event.kind for event in store.events(TRAIN)] == ["submitted", "launched"]
        assert store.log(TRAIN) == b"hello\n"
        assert store.plan("flow/run-1").plan == '{"version": 2}'
        assert store.payload("34df0af5f543b1a3935e89cbd4356abea2165656212d82216206bac6f0416aaa") == b"\x00pickled\xff"
        (cluster,) = store.clusters(open_only=True)
        assert (cluster.token, cluster.instance_ids, cluster.accelerator) == ("sky-1-1", ("i-1", "i-2"), "T4")
        assert (cluster.started_at, cluster.stopped_at) == (None, None)
        assert [seen.accelerator for seen in store.observations()] == ["T4"]
        assert [run.hours for run in store.runs("p")] == [1.5]


def test_an_upgraded_store_takes_what_is_new(old_url):
    with closing(Store(old_url)) as store:
        long = store.submit("k" * 1500, plan_key="p" * 600, task="t", spec="{}", owner="o" * 300, needs={"a": 1})
        assert store.job(long.id).needs == {"a": 1}
        assert {job.id for job in store.lease_due("me", 60, 9)} >= {long.id}
        owed = Launch("token", long.id, "aws", "us-east-1", None, 1.0)
        store.save_job(long, "me", log=(2**31 + 10, b"x"), launches=[owed])
        assert store.owed_launches() == [owed]
        assert store.events(TRAIN)[-1].id < store.events(long.id)[-1].id


def test_an_older_store_gets_the_columns_it_lacks(old_url):
    drop = "ALTER TABLE observations DROP COLUMN accelerator; ALTER TABLE clusters DROP COLUMN accelerator;"
    run_sql(old_url, drop)
    with closing(Store(old_url)) as store:
        store.observe(Observation(1.8e9, "gcp", "r", None, "t", "spot", "capacity", accelerator="V100"))
        assert [item.accelerator for item in store.observations()] == [None, "V100"]


def test_an_upgrade_forgets_the_secrets_of_jobs_that_are_over(store_url):
    sealed = {"profile": "default", "sealed": "YWJj"}
    sha = hashlib.sha256(b"call").hexdigest()
    job = {"plan_key": "p", "task": "t", "spec": "{}", "attempt": 0, "created_at": 1.0, "updated_at": 1.0,
           "wake_at": 1.0, "memory": "{}", "result": "{}", "lease_until": 0.0, "needs": json.dumps(sealed)}  # fmt: skip
    with made_by_revision("0003", store_url) as db:
        jobs, payloads = (sa.Table(name, sa.MetaData(), autoload_with=db) for name in ("jobs", "payloads"))
        for name, state in (("over", "failed"), ("live", "running")):
            db.execute(sa.insert(jobs).values(job | {"id": name, "key": name, "state": state}))
        db.execute(sa.insert(payloads).values(sha256=sha, data=b"call"))
    with closing(Store(store_url)) as store:
        assert store.job("over").needs == {"profile": "default", "sealed": ""}
        assert store.job("live").needs == sealed
        assert store.payloads_before(time.time() - 60) == set(), "as if it had been handed in just now"
        assert store.payload(sha) == b"call"


def test_a_store_of_a_newer_version_says_so(store_url):
    Store(store_url).close()
    run_sql(store_url, f"UPDATE {VERSION_TABLE} SET version_num = '0999'")
    with pytest.raises(StoreTooNew, match=r"has schema 0999.*upgrade Skyloom"):
        Store(store_url)


def test_the_revisions_lead_to_the_tables(store_url):
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    newest = ScriptDirectory.from_config(config).get_current_head()
    assert newest == HEAD, "HEAD in sky_core/store/database/schema.py has to name the newest revision"
    Store(store_url).close()
    engine = sa.create_engine(parse(store_url))
    with engine.connect() as db:
        kinds = db.dialect.name == "postgresql"  # SQLite has no lengths, and keeps the names of old types
        context = MigrationContext.configure(db, opts={"version_table": VERSION_TABLE, "compare_type": kinds})
        assert compare_metadata(context, METADATA) == [], "what the revisions make is not what tables.py has"
    engine.dispose()
