"""``skyloom artifacts``: listed from the store, fetched and removed where they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sky_core.cli.app import app
from sky_core.config import Settings
from sky_core.errors import SkyloomError
from sky_core.remote.agent.data import artifacts
from sky_core.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("SKYLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return Store(Settings.load({"SKYLOOM_HOME": str(tmp_path / "home")}).store_url)


def said(*words: str) -> str:
    result = CliRunner().invoke(app, ["artifacts", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def published(store: Store, base: Path, run: str, url: str, content: str) -> str:
    """The id of a job that has published a folder under a URL, and an output of its own."""
    store.submit(f"{run}/train", plan_key=run, task="train", spec="{}", owner=None)
    [job] = store.lease_due("driver", 1, 60)
    about = {}
    for name, where in (("model", url), ("report", f"file://{base}/bucket/{job.id}/report")):
        source = base / f"{job.id}-{name}"
        source.mkdir()
        (source / "weights").write_text(content)
        artifacts.publish(source, where, artifacts.version(job.id, 1), {})
        about[name] = {"uri": where, "location": "aws/us-east-1", "size_gb": 0.001}
    result = {"exit_code": 0, "outputs": about}
    store.save_job(job, "driver", state="succeeded", result=result)  # type: ignore[arg-type]
    store.release_lease(job.id, "driver")
    return job.id


def test_they_are_listed_fetched_and_removed(store: Store, tmp_path: Path) -> None:
    shared = f"file://{tmp_path}/bucket/latest"
    old = published(store, tmp_path, "monday/1", shared, "old")
    new = published(store, tmp_path, "tuesday/1", shared, "new")
    assert said("ls").count("train") == 4
    assert said("ls", old).count("file://") == 2
    assert "weights" in said("ls", new, "model")
    said("get", new)
    assert Path("model/weights").read_text() == "new"
    with pytest.raises(SkyloomError, match="model is there already"):
        said("get", new, "model")
    said("get", old, "report", "--to", "elsewhere")
    assert Path("elsewhere/weights").read_text() == "old"
    assert "would remove" in said("rm", "--keep", "1", "--dry-run")
    assert said("ls").count("train") == 4
    told = said("rm", "--keep", "1")
    assert "latest: was gone, or replaced by another job's" in told
    assert "report: 3 bytes" in told
    assert said("ls").count("train") == 2
    said("get", new, "model", "--to", "again")  # of the shared place the present version stayed
    assert Path("again/weights").read_text() == "new"
    assert "nothing to remove" in said("rm", old)
    assert "3 bytes" in said("rm", new, "model")
    assert list((tmp_path / "bucket/latest").rglob("weights")) == []
    with pytest.raises(SkyloomError, match="has no output 'model'"):
        said("get", new, "model")


def test_what_a_run_under_way_may_need_stays(store: Store, tmp_path: Path) -> None:
    job = published(store, tmp_path, "wednesday/1", f"file://{tmp_path}/bucket/x", "x")
    store.submit("wednesday/1/score", plan_key="wednesday/1", task="score", spec="{}", owner=None)
    assert "those of runs under way stay" in said("rm", job)
    assert said("ls").count("train") == 2


def test_without_a_word_nothing_is_removed(store: Store) -> None:
    with pytest.raises(SkyloomError, match="nothing says which outputs"):
        said("rm")
