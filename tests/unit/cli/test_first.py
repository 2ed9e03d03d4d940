"""The first minutes: what ``init`` writes is what the settings read, and ``doctor`` names what is wrong."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from sky_core.cli.app import app
from sky_core.config import Settings
from sky_core.errors import SpecError


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home of a user who has an account of one cloud."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SKYLOOM_HOME", str(tmp_path / "sky"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    return tmp_path / "sky"


def said(*words: str, typed: str = "", code: int = 0) -> str:
    result = CliRunner().invoke(app, words, input=typed, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


class TestInit:
    def test_it_asks_and_writes_what_was_said(self, home):
        text = said("init", typed="n\nus-*, eu-west-*\n$12.50\n")
        assert "aws: found" in text
        assert "no cloud yet" in text
        settings = Settings.load()
        assert settings.defaults.regions == ("us-*", "eu-west-*")
        assert settings.limits.usd_per_day == 12.5
        assert not settings.clouds["aws"].enabled

    def test_with_yes_it_asks_nothing(self, home):
        assert "next: skyloom check --deep" in said("init", "--yes")
        settings = Settings.load()
        assert settings.defaults == Settings.load({"SKYLOOM_HOME": str(home / "none")}).defaults
        assert settings.clouds["aws"].enabled
        assert settings.limits.usd_per_day is None

    def test_what_cannot_be_meant_is_refused_and_not_left(self, home):
        with pytest.raises(SpecError, match="usd_per_day"):
            said("init", "--yes", "--usd-per-day", "-3")
        with pytest.raises(SpecError, match="no amount of USD"):
            said("init", typed="y\n\nmuch\n")
        assert not (home / "config.toml").exists()

    def test_a_file_that_is_there_is_left_as_it_is(self, home):
        said("init", "--yes")
        (home / "config.toml").write_text("# mine\n")
        with pytest.raises(SpecError, match="is there already"):
            said("init", "--yes")
        assert (home / "config.toml").read_text() == "# mine\n"


class TestDoctor:
    def test_a_healthy_machine(self, home):
        text = said("doctor")
        assert "aws: has credentials" in text
        assert "store: 0 jobs" in text

    def test_no_cloud_is_something_to_mend(self, home, monkeypatch):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        assert "none can be used: log in to one, or try skyloom sandbox up" in said("doctor", code=1)

    def test_settings_that_cannot_be_read_are_named(self, home):
        home.mkdir()
        (home / "config.toml").write_text("max_atempts = 3\n")
        assert "did you mean max_attempts?" in said("doctor", code=1)
