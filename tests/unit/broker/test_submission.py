"""What a job takes along from its submitter: fixed, sealed and checked before any money is spent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sky_core import Pipeline, Resources, Task
from sky_core.broker import submission
from sky_core.broker.broker import Broker
from sky_core.config import CloudConfig, Settings
from sky_core.errors import NoFeasibleOffering, SpecError
from sky_core.events import KeyMissing
from sky_core.job import needs
from sky_core.job.needs import Needs, kept_folder
from sky_core.planner.market import current_market
from sky_core.planner.planning import make_plan
from sky_core.remote.keys import team_key
from sky_core.store import Reach, Store

CLOUDS = {name: {"enabled": True} for name in ("aws", "gcp", "azure")}
TASK = Task(name="train", run="true", secrets=("A_TOKEN",), workdir="code")


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", store_url=f"sqlite:///{tmp_path / 's.db'}", clouds=CLOUDS)


@pytest.fixture
def store(settings):
    store = Store(settings.store_url)
    yield store
    store.close()


@pytest.fixture
def code(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code/a.py").write_text("print(1)")
    return tmp_path


def submitted(store, settings, key, task=TASK, base=None, **environ):
    found = submission.needs_of(task, store.job_id(key), settings, store, environ, base or Path.cwd())
    return store.submit(key, plan_key="p", task=task.name, spec=task.model_dump_json(), owner=None,
                        needs=found.model_dump(mode="json"))  # fmt: skip


class TestWhoseItIs:
    def test_it_is_whom_the_settings_name_or_the_login_here(self, store, settings, monkeypatch):
        named, task = settings.model_copy(update={"person": "ada"}), Task(name="t", run="true")
        monkeypatch.setenv("LOGNAME", "bob")
        here = [submission.needs_of(task, "j", one, store, {}, Path.cwd()).person for one in (named, settings)]
        assert here == ["ada", "bob"]
        assert submission.needs_of(task, "j", named, store, {}, Path.cwd(), "the owner").person == "the owner"

    def test_a_process_without_a_name_submits_all_the_same(self, settings, monkeypatch):
        def nobody() -> str:
            raise KeyError("getpwuid(): uid not found: 1234")

        monkeypatch.setattr("getpass.getuser", nobody)
        assert submission.who_submits(settings) is None


class TestWhatIsMissing:
    def test_secrets_are_named_in_one_line(self):
        task = TASK.model_copy(update={"secrets": ("A", "B", "C")})
        with pytest.raises(SpecError, match=r"^Task\.train: secrets: A, C not set .*export") as refused:
            submission.secrets_of(task, {"B": ""})
        assert "\n" not in str(refused.value)

    def test_a_relative_folder_starts_at_the_base(self, code):
        assert submission.workdir_of(TASK, code) == code / "code"
        with pytest.raises(SpecError, match=r"^Task\.train: workdir: /etc/code is not a folder"):
            submission.workdir_of(TASK, Path("/etc"))

    def test_a_preview_tells_a_missing_folder(self, settings, tmp_path):
        pipeline = Pipeline(name="p", tasks=(TASK,))
        with pytest.raises(SpecError, match=r"Task\.train: workdir"):
            Broker(settings).preview(pipeline, base=tmp_path)

    def test_a_folder_that_is_too_large_is_refused(self, store, code, monkeypatch):
        monkeypatch.setattr(needs, "LIMIT_BYTES", 1 << 20)
        (code / "code/large").write_bytes(os.urandom(2 << 20))
        with pytest.raises(SpecError, match=r"Task\.train: workdir: .* has 2 MiB when packed, more than 1 .*input"):
            needs.keep_folder(store, code / "code", "train")


class TestWhatIsKept:
    def test_secrets_are_nowhere_in_plain(self, store, settings, code, tmp_path):
        job = submitted(store, settings, "k", base=code, A_TOKEN="in-plain-words")
        assert team_key(settings).unseal(Needs.of(job).sealed, job.id) == {"A_TOKEN": "in-plain-words"}
        assert "in-plain-words" not in repr(job)
        store.close()
        assert all(b"in-plain-words" not in file.read_bytes() for file in tmp_path.glob("s.db*"))

    def test_each_job_has_its_own_value(self, store, settings, code):
        jobs = [submitted(store, settings, f"k{value}", base=code, A_TOKEN=value) for value in "12"]
        opened = [team_key(settings).unseal(Needs.of(job).sealed, job.id) for job in jobs]
        assert opened == [{"A_TOKEN": "1"}, {"A_TOKEN": "2"}]

    def test_a_folder_goes_in_pieces_and_comes_back_whole(self, store, code, monkeypatch):
        monkeypatch.setattr(needs, "PIECE_BYTES", 1000)
        (code / "code/data").write_bytes(os.urandom(5000))
        parcel = needs.keep_folder(store, code / "code", "train")
        assert len(parcel.pieces) > 5
        with kept_folder(store, parcel).open() as file:
            content = file.read()
        (code / "code/data").unlink()
        again = needs.keep_folder(store, code / "code", "train")
        assert again.sha256 != parcel.sha256
        with kept_folder(store, parcel).open() as file:
            assert file.read() == content


class TestWhereItMayRun:
    def test_clouds_and_regions_are_the_submitters(self, store, settings, code):
        only = settings.model_copy(update={"clouds": {"gcp": CloudConfig(enabled=True, regions=("europe-*",)),
                                                      "aws": CloudConfig(enabled=False)}})  # fmt: skip
        found = Needs.of(submitted(store, only, "k", base=code, A_TOKEN="x"))
        assert found.allows("gcp", "europe-west4")
        assert not found.allows("gcp", "us-central1")
        assert not found.allows("aws", "eu-west-1")
        elsewhere = found.narrowed(settings)
        assert elsewhere.enabled_clouds() == ("gcp",)
        assert elsewhere.clouds["gcp"].regions == ("europe-*",)

    def test_a_driver_with_less_enabled_still_follows_the_submitter(self, settings):
        found = Needs(profile="default", clouds={"aws": ("*",)}, key_id="k")
        drivers = settings.model_copy(update={"clouds": {"aws": CloudConfig(enabled=False), "gcp": CloudConfig()}})
        assert found.narrowed(drivers).enabled_clouds() == ("aws",)

    def test_plans_stay_in_the_regions(self, store, settings):
        clouds = {"aws": CloudConfig(enabled=True, regions=("eu-*", "ap-south-1"))}
        market = current_market(settings.model_copy(update={"clouds": clouds}), store, "p")
        assert set(market.catalog.table["region"].cast(str).to_list()) > {"eu-west-1", "ap-south-1"}

        def planned(**where):
            task = Task(name="t", run="true", resources=Resources(cpus="4+", **where))
            return make_plan(Pipeline(name="p", tasks=(task,)), market).placements["t"].region

        assert planned().startswith(("eu-", "ap-south-1"))
        with pytest.raises(NoFeasibleOffering):
            planned(region="us-east-1")


class TestWhoMayDrive:
    def test_only_drivers_with_the_key_and_of_the_profile(self, store, settings, code):
        job = submitted(store, settings, "k", base=code, A_TOKEN="x")
        mine = Reach("default", team_key(settings).id)
        for other in (Reach("sandbox", mine.key_id), Reach("default", "another")):
            assert store.lease_due("driver", 60, 10, other) == []
            assert not store.has_live(other)
        assert [found.id for found in store.lease_due("driver", 60, 10, mine)] == [job.id]

    def test_jobs_of_an_earlier_version_are_anybodys(self, store):
        job = store.submit("k", plan_key="p", task="t", spec="{}", owner=None)
        assert [found.id for found in store.lease_due("driver", 60, 10, Reach("default", "any"))] == [job.id]

    def test_a_driver_without_the_key_says_so_once(self, store, settings, code):
        job = submitted(store, settings, "k", base=code, A_TOKEN="x")
        other = Reach("default", "another")
        assert [found.id for found in store.left_alone(other)] == [job.id]
        assert store.left_alone(Reach("sandbox", "another")) == []
        told = KeyMissing(needs=job.key_id, has="another", host="here")
        assert [store.tell_once(job.id, told) for _ in range(2)] == [True, False]
        store.lease_due("driver", 60, 10, Reach("default", team_key(settings).id))
        assert store.left_alone(other) == [], "somebody drives it"
