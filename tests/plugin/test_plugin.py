"""A package adds a cloud, a spot policy and an engine by entry points only; planned with and run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from sky_core.clouds.contract import PROMISES
from sky_core.endpoints import SANDBOX_FILE
from tests.conftest import Sandbox

HERE = Path(__file__).parent
FILE = HERE / "pasture.py"
DOCS = HERE.parents[1] / "docs" / "extend.md"
BUCKET = "skyloom-meadow"


def skyloom(*arguments: str, home: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command line in an environment in which the package is installed."""
    return python("-m", "sky_core.cli", *arguments, home=home, **environ)


def python(*arguments: str, home: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """An interpreter in that environment."""
    command = [sys.executable, *arguments]
    env = {
        **os.environ,
        "PYTHONPATH": f"{HERE}:{HERE.parents[1]}",
        "SKYLOOM_HOME": str(home),
        "COLUMNS": "160",
        **environ,
    }
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=280)


def test_a_plan_knows_the_cloud_and_the_file_of_the_package(tmp_path: Path) -> None:
    done = skyloom("plan", str(FILE), "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    (placement,) = json.loads(done.stdout)["placements"].values()
    assert (placement["cloud"], placement["zone"], placement["instance_type"]) == ("meadow", "north-1", "calf")
    assert placement["market"] == "spot", "the cheaper of its two"


def test_its_machines_hear_of_their_end_by_its_own_module(tmp_path: Path) -> None:
    """The agent's zip file as a machine has it, beside Meadow's metadata service."""

    class Metadata(BaseHTTPRequestHandler):
        looks = 0

        def do_GET(self) -> None:
            Metadata.looks += self.path == "/notice"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"1234.5" if Metadata.looks == 2 else b"")

    packed = "import sys; from sky_core.remote.bundle import agent; open(sys.argv[1], 'wb').write(agent()[1])"
    assert python("-c", packed, str(tmp_path / "agent.pyz"), home=tmp_path).returncode == 0
    heard = (
        "from skyloom_agent.host import belonging, eviction; "
        "print(eviction.watch('meadow'), belonging.way_out('meadow'))"
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        environ = {
            "PYTHONPATH": str(tmp_path / "agent.pyz"),
            "MEADOW_METADATA": f"http://127.0.0.1:{service.server_port}",
        }
        done = python("-c", heard, home=tmp_path, **environ)
        service.shutdown()
    assert done.stdout == "1234.5 None\n", done.stderr


def test_a_policy_that_is_no_policy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('spot_policy = "stuborn"\n')
    done = skyloom("plan", str(FILE), home=tmp_path)
    assert done.returncode == 1
    assert "did you mean stubborn?" in " ".join(done.stderr.split())


def test_options_that_the_policy_does_not_take_are_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('spot_policy = "stubborn"\nspot_policy_options = { markt = "spot" }\n')
    for command in (("plan", str(FILE)), ("doctor",)):
        done = skyloom(*command, home=tmp_path)
        said = " ".join((done.stdout + done.stderr).split())
        assert (done.returncode, "spot_policy_options" in said, "markt" in said) == (1, True, True), said
    (tmp_path / "config.toml").write_text('spot_policy = "stubborn"\nspot_policy_options = { market = "spot" }\n')
    assert "spot policy: stubborn (market='spot')" in " ".join(skyloom("doctor", home=tmp_path).stdout.split())


@pytest.fixture
def home(shared_sandbox: Sandbox, tmp_path: Path) -> Path:
    """A Skyloom home in which Meadow has an account: the sandbox's on AWS."""
    (tmp_path / SANDBOX_FILE).parent.mkdir(parents=True)
    shutil.copy(shared_sandbox.home / SANDBOX_FILE, tmp_path / SANDBOX_FILE)
    aws: dict[str, Any] = json.loads((tmp_path / SANDBOX_FILE).read_text())["clouds"]["aws"]
    credentials = aws.pop("credentials")
    theirs = {**aws, "bucket": f"s3://{BUCKET}"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in theirs.items() if value is not None]
    (tmp_path / "config.toml").write_text("\n".join([
        'spot_policy = "stubborn"', 'spot_policy_options = { market = "on_demand" }',
        "[clouds.meadow]", *lines, "[clouds.meadow.credentials]",
        *[f"{name} = {json.dumps(value)}" for name, value in credentials.items()],
    ]))  # fmt: skip
    from sky_core.clouds.aws.provider import Aws

    options = dict(Aws(shared_sandbox.settings.clouds["aws"]).storage_options())
    with contextlib.suppress(FileExistsError):
        fsspec.filesystem("s3", **options).mkdir(BUCKET)
    return tmp_path


@pytest.mark.slow
def test_a_run_uses_the_cloud_the_policy_and_the_engine_of_the_package(home: Path) -> None:
    done = skyloom("run", str(FILE), "--yes", home=home, SKYLOOM_PROFILE="sandbox")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "graze | grazing" in done.stdout, "the engine's own words"
    assert "led by a spot policy" in done.stdout
    assert "meadow/north-1 calf (on-demand) accepted the launch" in done.stdout, "though the plan has it on spot"


@pytest.mark.slow
def test_the_cloud_of_the_package_runs_the_contract_on_itself(home: Path) -> None:
    tests = ("-q", "-p", "no:cacheprovider", "--noconftest", str(HERE / "meadow" / "contract.py"))
    done = python("-m", "pytest", *tests, home=home, SKYLOOM_PROFILE="sandbox")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(PROMISES)} passed" in done.stdout


def test_the_page_shows_the_code_that_was_run() -> None:
    shown = re.findall(r"```(?:python|ini)\n# (\S+)\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert {name for name, _ in shown} >= {
        "meadow/facts.py",
        "meadow/provider.py",
        "meadow/machine.py",
        "meadow/policy.py",
        "meadow/engine.py",
        "meadow/contract.py",
    }
    for name, code in shown:
        assert code.strip() == (HERE / name).read_text().strip(), name
