"""The command line as a user meets it: one line for each slip, and what he wrote is printed as he wrote it."""

from __future__ import annotations

import csv
import json
import sys

import pytest

from sky_core.broker import runner
from sky_core.broker.runner import new_key
from sky_core.cli import app
from sky_core.config import Settings
from sky_core.planner.view.document import PlanDocument
from sky_core.recovery.policies import NAMES

ENABLED = "".join(f"[clouds.{name}]\nenabled = true\n" for name in ("aws", "gcp", "azure"))
TASK = "name: t\nresources: {infra: aws/us-east-1, instance_type: m5.large}\nrun: echo\n"


@pytest.fixture
def skyloom(tmp_path, monkeypatch, capsys):
    """Runs a command in a home of its own; its exit status and what it said."""
    monkeypatch.setenv("SKYLOOM_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "config.toml").write_text(ENABLED)
    (tmp_path / "t.yaml").write_text(TASK)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["skyloom", *arguments])
        with pytest.raises(SystemExit) as left:
            app.run()
        told = capsys.readouterr()
        return left.value.code, told.out + told.err

    return call


@pytest.mark.parametrize(
    ("toml", "environ", "words"),
    [
        ('spot_policy = "unifrom-progress"\n', {}, ["config.toml: spot_policy", "did you mean uniform-progress?"]),
        ("poll_s = -5\n", {}, ["config.toml: poll_s", "greater than 0"]),
        ("pol_s = 5\n", {}, ["pol_s: no such setting", "did you mean poll_s?"]),
        ("[clouds.aswz]\n", {}, ["clouds: no cloud 'aswz'", "did you mean aws?"]),
        ("[clouds.lab]\n", {}, ["clouds: no cloud 'lab'; there are aws, azure, gcp"]),
        ("[clouds.gcp]\nenabeld = true\n", {}, ["clouds.gcp.enabeld", "did you mean enabled?"]),
        ('clouds = "gcp"\n', {}, ["clouds: write a table for each cloud"]),
        ('store_url = "nonsense"\n', {}, ["store_url: 'nonsense'"]),
        ("= 5\n", {}, ["config.toml: "]),
        ("", {"SKYLOOM_CLOUDS": "awz"}, ["SKYLOOM_CLOUDS: no cloud 'awz'", "did you mean aws?"]),
        ("", {"SKYLOOM_PROFILE": "Sandbox"}, ["SKYLOOM_PROFILE: 'Sandbox'", "did you mean sandbox?"]),
        ("", {"SKYLOOM_STORE": "oracle://x"}, ["store_url: oracle"]),
    ],
)
def test_a_slip_in_the_settings_is_refused_in_one_line(skyloom, tmp_path, monkeypatch, toml, environ, words):
    (tmp_path / "config.toml").write_text(toml)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    code, said = skyloom("plan", "t.yaml")
    assert code == 1
    assert said.startswith("error: ")
    assert len(said.strip().splitlines()) == 1
    assert all(word in said for word in words), said


def test_the_settings_take_every_spot_policy(tmp_path):
    for name in NAMES:
        (tmp_path / "config.toml").write_text(f'spot_policy = "{name}"\n')
        assert Settings.load({"SKYLOOM_HOME": str(tmp_path)}).spot_policy == name


def test_square_brackets_are_printed_as_they_are(skyloom, tmp_path):
    (tmp_path / "t.yaml").write_text(TASK.replace("aws/us-east-1", "aws").replace("{", "{region: '[/x]', "))
    code, said = skyloom("plan", "t.yaml")
    assert code == 1
    assert "[/x]" in said
    (tmp_path / "t.yaml").write_text(TASK.replace("name: t", "name: 't[1]'"))
    assert "t[1]" in skyloom("plan", "t.yaml")[1]


def test_the_cure_of_a_cloud_names_its_table(skyloom, tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text("[clouds.azure]\n")
    monkeypatch.setenv("AZURE_CLIENT_ID", "x")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_SUBSCRIPTION_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    said = skyloom("check")[1]
    assert "[clouds.azure]" in said
    assert "team key: " in said


def test_cancel_and_logs_of_nothing_say_so(skyloom):
    for command in ("cancel", "logs"):
        code, said = skyloom(command, "job-0000000000000000")
        assert (code, said) == (1, "error: there is no job 'job-0000000000000000' (skyloom jobs lists them)\n")


def test_a_plan_needs_no_account_yet(skyloom, tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text("[clouds.gcp]\nenabled = false\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    code, said = skyloom("plan", "t.yaml")
    assert code == 0
    assert "m5.large" in said
    assert "To be set up: aws (no credentials" in said
    assert "Left out: gcp (disabled" in said
    assert skyloom("run", "t.yaml", "--yes")[0] == 1


def test_a_plan_prices_clouds_without_an_account_and_marks_them(skyloom, tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text("[clouds.aws]\nenabled = true\n[clouds.gcp]\naccount = 'p'\n")
    (tmp_path / "t.yaml").write_text("name: t\nresources: {accelerators: tpu-v5e-8}\nrun: echo\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    code, said = skyloom("plan", "t.yaml")
    assert (code, "To be set up: gcp (no credentials" in said) == (0, True)
    code, said = skyloom("plan", "t.yaml", "--usable")
    assert code == 1
    assert said.startswith("error: t.yaml:2: Task.t: ")


class TestForPrograms:
    def test_a_document_reads_back_as_it_was_written(self, skyloom):
        code, said = skyloom("plan", "t.yaml", "--json")
        assert code == 0
        document = PlanDocument.model_validate_json(said)
        assert document.model_dump_json(indent=2) + "\n" == said
        assert document.placements["t"].instance_type == "m5.large"
        assert document.totals.cost_usd == sum(one.compute_usd + one.egress_usd for one in document.totals.by_cloud)

    def test_its_schema_needs_no_file_and_describes_every_field(self, skyloom):
        code, said = skyloom("plan", "--json-schema")
        assert code == 0
        schema = json.loads(said)
        written = json.loads(skyloom("plan", "t.yaml", "--json")[1])
        assert set(schema["properties"]) == set(written)
        assert schema["properties"]["version"]["const"] == 1

    def test_a_table_has_a_row_per_task(self, skyloom):
        code, said = skyloom("plan", "t.yaml", "--csv")
        (row,) = csv.DictReader(said.splitlines())
        assert (code, row["task"], row["instance_type"], row["market"]) == (0, "t", "m5.large", "on-demand")

    def test_one_output_takes_one_format(self, skyloom):
        code, said = skyloom("plan", "t.yaml", "--csv", "--json")
        assert (code, said.startswith("error: --json, --csv")) == (1, True)


class TestWhatOnlyTheSubmitterHas:
    def test_a_missing_folder_is_told_when_planned(self, skyloom, tmp_path):
        (tmp_path / "t.yaml").write_text(TASK + "workdir: ./nowhere\n")
        code, said = skyloom("plan", "t.yaml")
        assert code == 1
        assert said.startswith(f"error: Task.t: workdir: {tmp_path}/nowhere is not a folder")

    def test_a_missing_secret_is_a_word_in_a_plan_and_an_end_of_a_run(self, skyloom, tmp_path):
        (tmp_path / "t.yaml").write_text(TASK + "secrets: [A_TOKEN_NOBODY_SET]\n")
        code, said = skyloom("plan", "t.yaml")
        assert (code, "A_TOKEN_NOBODY_SET is not set" in said) == (0, True)
        code, said = skyloom("run", "t.yaml", "--yes")
        assert code == 1
        assert said.startswith("error: Task.t: secrets: A_TOKEN_NOBODY_SET not set")


def test_two_runs_of_one_second_have_keys_of_their_own(monkeypatch):
    monkeypatch.setattr(runner.time, "gmtime", lambda: runner.time.struct_time((2026, 10, 25, 2, 30, 0, 6, 298, 1)))
    first, second = new_key("nightly"), new_key("nightly")
    assert first != second
    assert first.startswith("nightly/2026-10-25T02:30:00Z-")


def test_options_that_a_python_file_would_ignore_are_refused(skyloom, tmp_path):
    (tmp_path / "flow.py").write_text("import prefect\n")
    for option in (["--budget", "1"], ["--detach"], ["--key", "k"], ["--minimize", "time"]):
        code, said = skyloom("run", "flow.py", *option)
        assert (code, "are for YAML files" in said) == (1, True)
