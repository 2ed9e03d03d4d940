"""Listings of jobs: what options choose, how pages follow on each other, and by what names a job is found."""

from __future__ import annotations

import csv
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import jsonschema
import pytest
from typer.testing import CliRunner

from sky_core.cli.app import app
from sky_core.config import Settings
from sky_core.errors import SkyloomError
from sky_core.job.bill import make_bill
from sky_core.job.cost.charges import charges
from sky_core.measures.scale import Scale
from sky_core.overview.glance import look
from sky_core.store import Choice, Store
from sky_core.store.database.revision import VERSION_TABLE
from sky_core.store.reading.glimpse import Glimpse
from tests.unit.cli.few_jobs import BEGAN, HOUR, RUN, fill, launch, submitted

NOW = BEGAN + 3 * HOUR
DOCUMENTS = (("jobs", "--limit", "0"), ("top",), ("cost", "--by", "day,cloud"))


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url, clock=lambda: NOW)
    yield store
    store.close()


@pytest.fixture
def home(tmp_path, monkeypatch) -> Iterator[Store]:
    """The store of commands run in this process, with four jobs."""
    monkeypatch.setenv("SKYLOOM_HOME", str(tmp_path))
    store = Store(Settings.load().store_url)
    fill(store)
    yield store
    store.close()


def said(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


class TestChoosing:
    def test_jobs_are_chosen_by_state_time_name_and_run(self, store):
        fill(store)
        submitted(store, "100%_sure", run="Weekly/1")
        assert {line.task for line in store.job_lines(Choice(states=("failed", "running")))} == {
            "failed-job", "running-job"}  # fmt: skip
        assert len(store.job_lines(Choice(since=NOW))) == 5
        assert store.job_lines(Choice(since=NOW + 1)) == []
        assert [line.task for line in store.job_lines(Choice(name="weekly"))] == ["100%_sure"], "whatever its case"
        assert [line.task for line in store.job_lines(Choice(name="0%_s"))] == ["100%_sure"]
        assert store.job_lines(Choice(name="1%sure")) == [], "signs that stand for others elsewhere do not here"
        assert len(store.job_lines(Choice(runs=(RUN,)))) == 4
        assert store.count_jobs(Choice(runs=(RUN,)))["failed"] == 1

    def test_pages_are_all_jobs_once(self, store):
        for number in range(7):
            submitted(store, f"t{number}")
        pages = [store.job_lines(limit=3, skip=3 * page) for page in range(4)]
        assert [len(page) for page in pages] == [3, 3, 1, 0]
        assert sorted(line.task for page in pages for line in page) == [f"t{number}" for number in range(7)]

    def test_more_ids_than_a_statement_takes(self, store, tmp_path):
        job = submitted(store, "one")
        store.put_cluster(launch(job, 1, hours=1))
        ids = [f"job-{number}" for number in range(1200)] + [job.id]
        assert [cluster.job_id for cluster in store.clusters_of(ids)] == [job.id]
        assert store.events_of(("submitted",), jobs=ids)[0].job_id == job.id

    def test_a_job_is_found_by_each_of_its_names(self, store):
        job = fill(store)[0]
        for name in (job.id, job.id[:-1], job.id[4:12], job.task, f"{RUN}/{job.task}", job.key):
            assert [line.id for line in store.called(name, 9)] == [job.id], name
        assert store.called("job-%", 9) == []
        assert store.called("nothing", 9) == []

    def test_an_id_is_never_taken_for_the_beginning_of_another(self, store):
        one = submitted(store, "one")
        submitted(store, one.id, run="other")  # a task that is called like a job
        assert [line.id for line in store.called(one.id, 9)] == [one.id]


class TestGlimpse:
    """A SQLite store looked at by Python's own library says what the whole store says."""

    def test_it_sees_what_the_store_sees(self, home):
        glimpse, ids = Glimpse.at(Settings.load().store_url), [line.id for line in home.job_lines()]
        assert glimpse is not None
        for ask in (
            lambda of: of.job_lines(Choice(states=("failed", "running"), name="job", since=BEGAN), limit=3),
            lambda of: of.run_lines(limit=9),
            lambda of: of.count_jobs(),
            lambda of: of.called("running-job", 9),
            lambda of: of.clusters_of(ids),
            lambda of: of.events_of(("moved", "restored", "submitted")),
            lambda of: of.egress_of(ids),
            lambda of: charges(of, Scale(), NOW),
        ):
            assert ask(home), "nothing was asked"
            assert ask(glimpse) == ask(home)

    def test_what_it_does_not_know_it_leaves_to_the_store(self, home, tmp_path):
        url = Settings.load().store_url
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db, db:
            db.execute(f"UPDATE {VERSION_TABLE} SET version_num = '0999'")
        (tmp_path / "odd.db").write_text("no database at all")
        for other in (url, f"sqlite:///{tmp_path}/none.db", f"sqlite:///{tmp_path}/odd.db", "postgresql:///x"):
            assert Glimpse.at(other) is None, other
        assert not (tmp_path / "none.db").exists(), "nor is anything made"

    def test_a_listing_starts_without_what_only_drivers_need(self, home, tmp_path):
        code = (
            "import sys\nsys.argv = ['skyloom', *sys.argv[1].split()]\nfrom sky_core.cli.app import app\n"
            "app(standalone_mode=False)\n"
            "print(*sorted({'sqlalchemy', 'pydantic', 'polars', 'alembic', 'asyncio'} & sys.modules.keys()))"
        )
        for words in ("jobs --since 9d", "top --once", "cost --by day,cloud"):
            out = subprocess.run([sys.executable, "-c", code, words], capture_output=True, text=True, check=True).stdout
            assert out.splitlines()[-1] == "", f"skyloom {words} imports {out.splitlines()[-1]}"


class TestGlance:
    def test_it_adds_up_what_the_bills_do(self, store, tmp_path):
        jobs = fill(store)
        seen = look(store, Scale(), NOW)
        lines = make_bill(store, Settings.load({"SKYLOOM_HOME": str(tmp_path)}), jobs).lines
        bill = {line.job_id: line for line in lines}
        assert [row.job.task for row in seen.live] == ["running-job", "submitted-job"], "the dearest first"
        assert seen.usd_per_hour == pytest.approx(0.1)
        assert seen.live[0].spent.usd == pytest.approx(3 * 0.1)
        assert bill[jobs[0].id].usd == pytest.approx(1.5 * 0.4 + 4 * 2 + 0.09 + 0.08)
        # Midnight is two hours after the beginning, one hour before now.
        assert seen.usd_today == pytest.approx(0.1 + 3 * 2.0 + 0.17)
        assert list(seen.states) == ["submitted", "running", "succeeded", "failed"], "in the order of a life"


class TestCommands:
    def test_no_state_is_made_up(self, home):
        with pytest.raises(SkyloomError, match="did you mean succeeded"):
            said("jobs", "--state", "succeded")
        assert "no such jobs" in said("jobs", "--state", "cancelled")

    def test_states_go_by_groups_too(self, home):
        live = [row["task"] for row in csv.DictReader(said("jobs", "--state", "live", "--csv").splitlines())]
        assert sorted(live) == ["running-job", "submitted-job"]
        assert json.loads(said("jobs", "--state", "over", "--limit", "1", "--json"))["matching"] == 2

    def test_a_name_that_may_be_several_is_asked_about(self, home):
        submitted(home, "failed-job", run="elsewhere")
        with pytest.raises(SkyloomError, match=r"may be .*elsewhere.*RUN/TASK"):
            said("logs", "failed-job")
        assert "submitted under plan elsewhere" in said("logs", "elsewhere/failed-job")

    @pytest.mark.parametrize("words", DOCUMENTS, ids=lambda words: words[0])
    def test_a_document_is_as_its_schema_says(self, home, words):
        schema = json.loads(said(words[0], "--json-schema"))
        document = json.loads(said(*words, "--json"))
        # With what a later version adds, too: whoever has stored the schema goes on with it.
        for one in (document, document | {"more": 1}):
            jsonschema.validate(one, schema, jsonschema.Draft202012Validator)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document | {"version": 99}, schema, jsonschema.Draft202012Validator)

    def test_top_is_a_look_where_it_is_piped(self, home):
        text = said("top")
        assert "1 submitted, 1 running, 1 succeeded, 1 failed" in text
        assert "azure/us-east-1a m5.large" in text
        assert "succeeded-job" not in text

    def test_kept_machines_are_told_from_jobs_and_ended_one_at_a_time(self, home):
        keeper = submitted(home, "warm", "succeeded")
        kept = {"state": "kept", "kept_at": time.time(), "kept_until": time.time() + HOUR, "kept_as": "dev"}
        for attempt in (1, 2):
            home.put_cluster(launch(keeper, attempt, hours=None, **kept))
        for words in (("logs",), ("cancel",), ("ssh",), ("exec",)):
            with pytest.raises(
                SkyloomError, match=rf"there is no job 'dev': machines are kept .* of {keeper.id}"
            ) as no:
                said(*words, "dev", *(["ls"] if words == ("exec",) else []))
            assert "skyloom down dev" in no.value.cure
        assert "End dev (kept 2 times)?" in said("down", "dev", code=1), "and no answer is no"
        with pytest.raises(SkyloomError, match="dev and --all are both given"):
            said("down", "dev", "--all")
        assert [one.stopped_at for one in home.kept()] == [None, None]

    def test_cancel_wants_to_know_which(self, home):
        with pytest.raises(SkyloomError, match="--run RUN or --all"):
            said("cancel")
        with pytest.raises(SkyloomError, match="nothing is live"):
            said("cancel", "--run", "no-such-run")
        assert "Cancel 2 jobs?" in said("cancel", "--all", code=1), "and no answer is no"
        assert home.job_lines(Choice(states=("running",))), "nothing was ended"

    def test_cancel_of_all_is_of_more_than_a_listing_shows(self, home):
        for number in range(1001):
            home.submit(f"wide/{number}", plan_key="wide", task=f"t{number}", spec="{}", owner=None)
        assert "Cancel 1001 jobs?" in said("cancel", "--run", "wide", code=1)
        assert len(home.jobs(plan_key="wide")) == 1001
