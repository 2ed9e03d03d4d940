"""The package index for machines without a way out, by the client that reads it there."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from sky_sandbox.machines import index
from sky_sandbox.machines.wheels import installed
from tests.sandbox.loopback import serve

UV = Path(sys.prefix) / "bin" / "uv"
MOVERS = ("obstore", "fsspec", "s3fs", "gcsfs", "adlfs")


@pytest.fixture(scope="module")
def url():
    with serve(index.app()) as base:
        yield f"{base}{index.SIMPLE}"


@pytest.fixture
def install(url, tmp_path):
    """Install packages into an empty environment, whose folder this gives."""
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "empty"], check=True)

    def run(*packages):
        python = tmp_path / "empty/bin/python"
        asked = [UV, "pip", "install", "--no-cache", "--default-index", url, "--python", python, *packages]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return tmp_path / "empty"

    return run


def test_what_moves_data_needs_nothing_else(install):
    install("--dry-run", *MOVERS)


def test_all_that_is_installed_here_can_be_had(install):
    found = {one.name: one.version for one in metadata.distributions() if installed(one.name)}
    assert len(found) > 50
    install("--dry-run", "--no-deps", *[f"{name}=={version}" for name, version in found.items()])


def test_a_package_comes_with_its_programs_and_lacks_no_file(install):
    folder = install("--no-deps", "uv", "fsspec", "prefect")
    told = subprocess.run([folder / "bin/uv", "--version"], capture_output=True, text=True, check=True).stdout
    assert metadata.version("uv") in told
    assert str(folder) in (folder / "bin/prefect").read_text(), "made anew for where it is installed"
    packages = next((folder / "lib").glob("python3.*/site-packages"))
    for name in ("fsspec", "prefect"):
        for file in installed(name).files:
            if file.suffix == ".py":
                assert (packages / file).read_bytes() == Path(file.locate()).read_bytes()


def test_what_is_not_installed_is_refused_by_name(url, install):
    with pytest.raises(AssertionError, match="nowhere"):
        install("nowhere")
    assert installed("skyloom") is None, "an editable package's files are not where it is installed"
