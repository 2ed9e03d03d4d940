"""The digits training over three clouds whose images have other Pythons, led by a driver of yet another."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sky_core import Artifact, Pipeline, Resources, Task
from sky_core.broker import Broker
from sky_core.broker.runner import PipelineRun
from tests.conftest import Sandbox, until
from tests.sandbox.brokers import drivers, own_broker
from tests.sandbox.other_python import ROOT, another_python
from tests.sandbox.packages import wheels
from tests.sandbox.registry import Registry, layer, tools

pytestmark = [pytest.mark.slow, pytest.mark.alone]
SANDBOX = {"hours_per_second": 0.1, "images": "strict"}
NEEDED = ("scikit-learn",)
PLACES = {"process": ("aws", "us-east-1"), "train": ("gcp", "us-central1"), "infer": ("azure", "eastus")}


@pytest.fixture
def broker(world: Sandbox, tmp_path: Path, own_store_url: str) -> Iterator[Broker]:
    """Its only driver has another Python."""
    python, said = another_python(), tmp_path / "driver.log"
    with pytest.MonkeyPatch.context() as patch, own_broker(world, patch, own_store_url) as broker:
        command = [python, "-m", "sky_core.cli", "driver"]
        with said.open("wb") as log:
            process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd="/", stderr=log)
        try:
            until(lambda: "driving the jobs" in said.read_text())
            yield broker
        finally:
            process.kill()
            process.wait()


def locked(folder: Path) -> Path:
    """A project that needs scikit-learn, and its lock: the versions of this host."""
    packages, names = [], []
    for wheel in wheels(NEEDED):
        name, version, *_ = wheel.name.split("-")
        names.append(name.replace("_", "-").lower())
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        packages.append(
            f'[[package]]\nname = "{names[-1]}"\nversion = "{version}"\n'
            'source = { registry = "https://index.example/simple" }\n'
            f'wheels = [{{ url = "https://index.example/{wheel.name}", hash = "sha256:{digest}", size = 1 }}]\n'
        )
    own = ", ".join(f'{{ name = "{name}" }}' for name in names)
    project = f'[[package]]\nname = "digits"\nversion = "0"\nsource = {{ virtual = "." }}\ndependencies = [{own}]\n'
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "digits"\nversion = "0"\nrequires-python = ">=3.11"\ndependencies = ["scikit-learn"]\n'
    )
    lock = folder / "uv.lock"
    lock.write_text("\n".join(['version = 1\nrequires-python = ">=3.11"\n', project, *packages]))
    return lock


def pushed(registry: Registry, folder: Path) -> str:
    """An image with this Python and scikit-learn in it."""
    for wheel in wheels(NEEDED):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if "/tests/" not in name])
    base, name = Path(sys.base_prefix).resolve(), f"python{sys.version_info.major}.{sys.version_info.minor}"
    modules = [*base.glob(f"lib/{name}/lib-dynload/*.so"), *folder.rglob("*.so")]
    program = base / "bin" / name
    libraries = [path for path in tools(str(program), *map(str, modules)) if folder not in path.parents]
    shown = [base / "lib" / name, *base.glob(f"lib/lib{name}*.so*"), *libraries, folder]
    env = {"PATH": "/usr/local/python:/usr/bin:/bin", "PYTHONPATH": str(folder)}
    links = {f"usr/local/python/{python}": str(program) for python in ("python", "python3")}
    return registry.push("open/digits", [layer(host=shown, links=links)], env)


def digits(**about: str) -> Pipeline:
    """The three stages, each on a cloud of its own."""

    def stage(name: str, inputs: dict[str, str], output: str) -> Task:
        cloud, region = PLACES[name]
        needs = Resources(cloud=cloud, region=region, cpus="2+", image=about.get("image"))
        return Task(
            name=name, run=f"python stages.py {name}", workdir=str(ROOT / "example_flows/vision"), resources=needs,
            environment=about.get("environment"), inputs=inputs, outputs={output: Artifact(size_gb=0.01)}, hours=1,
            envs={"VISION_EPOCHS": "2"},
        )  # fmt: skip

    images = {"images": "process.images"}
    return Pipeline(name="digits", tasks=(
        stage("process", {}, "images"), stage("train", images, "model"),
        stage("infer", {**images, "model": "train.model"}, "predictions"),
    ))  # fmt: skip


def train(broker: Broker, pipeline: Pipeline) -> float:
    """The accuracy that comes of it."""
    lines: list[str] = []
    run = PipelineRun(broker, "run", pipeline, lambda *_: None, lambda name, line: lines.append(f"{name}: {line}"))
    jobs = run.run()
    assert {job.state for job in jobs.values()} == {"succeeded"}, "\n".join(lines)
    assert {name: jobs[name].memory["placement"]["cloud"] for name in PLACES} == {
        name: cloud for name, (cloud, _) in PLACES.items()
    }
    assert not drivers(broker), "the driver of another Python has done it"
    (accuracy,) = [line.split()[-1] for line in lines if line.startswith("infer: accuracy ")]
    return float(accuracy)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("minor", [11, 12, 13])
def test_a_function_finds_its_callers_minor_version(world, minor, own_store_url):
    python = another_python(minor)
    with pytest.MonkeyPatch.context() as patch, own_broker(world, patch, own_store_url):
        command = [python, ROOT / "tests/sandbox/remote/caller.py"]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environ, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        told = {line for line in done.stdout.splitlines() if " runs it on " in line}
        assert told == {f"{cloud} runs it on 3.{minor} for 3.{minor}" for cloud, _ in PLACES.values()}


@pytest.mark.timeout(600)
def test_from_a_lock(world, broker, tmp_path):
    assert train(broker, digits(environment=str(locked(tmp_path / "project")))) > 0.9


@pytest.mark.timeout(600)
def test_in_a_docker_image(world, broker, tmp_path):
    registry = Registry()
    try:
        (tmp_path / "packages").mkdir()
        assert train(broker, digits(image=f"docker:{pushed(registry, tmp_path / 'packages')}")) > 0.9
    finally:
        registry.close()
