"""A Python of our own on machines whose image has another one, or none: brought over SSH, with nothing but a shell."""

from __future__ import annotations

import gzip
import hashlib
import sys
from dataclasses import replace

import fsspec
import pytest

from sky_core.config import PythonSource
from sky_core.errors import MachineError
from sky_core.remote.artifacts import load_result, read_result
from sky_core.remote.executor import JobRequest
from sky_core.remote.functions import pack
from sky_core.remote.pythons import locking, uv
from sky_core.remote.ssh_executor import SshExecutor
from sky_core.ssh.link import Link
from sky_sandbox.machines import index, pythons
from sky_sandbox.server import reserve_port
from tests.sandbox.loopback import serve, store_options
from tests.sandbox.packages import local_package
from tests.sandbox.park import Park, archive

VERDICT = "s3://jobs/own-python/verdict.json"
OURS = f"3.{sys.version_info.minor}"
UBUNTU_22 = "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id"
AMAZON_LINUX_2 = "/aws/service/ami-amazon-linux-latest/amzn2-ami-hvm-x86_64-gp2"
IMAGES = {UBUNTU_22: pythons.nearest(10).version, AMAZON_LINUX_2: pythons.nearest(7).version}


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A park whose machines have the Python of their image, and fetch what they lack from this host's folders."""
    with reserve_port() as ssh, reserve_port() as metadata, serve(index.app()) as packages:
        source = PythonSource(builds=pythons.mirror().as_uri(), index=f"{packages}{index.SIMPLE}")
        park = Park(tmp_path_factory.mktemp("strict"), ssh.getsockname()[1], metadata.getsockname()[1], source)
        yield park
        park.close()


def job(endpoint, name, **about):
    outputs = {"result": f"s3://jobs/own-python/{name}"} if "payload" in about else {}
    return JobRequest(name, 1, "aws", outputs=outputs, storage_options=store_options(endpoint), **about)


def call():
    def add(a, b):  # nested, so that it travels whole
        return a + b, sys.version_info[:2], sys.prefix

    return pack(add, (1, 2))


@pytest.mark.parametrize("image", [UBUNTU_22, AMAZON_LINUX_2])
def test_a_function_runs_whatever_python_the_image_has(strict, endpoint, image):
    machine = strict.boot("aws", image)
    link = Link(machine, strict.keys)
    assert link.run("python3 -c 'import fsspec' 2>/dev/null && echo seen || echo hidden") == b"hidden\n"
    request = job(endpoint, machine.ip, payload=call(), setup="python3 -m pip list")
    state = strict.run(machine, request)
    assert (state.phase, state.exit_code) == ("done", 0), state.log
    result, version, prefix = load_result(read_result(request.outputs["result"], request.storage_options))
    assert (result, version) == (3, sys.version_info[:2])
    assert prefix.endswith("/python-env")
    assert b"pip" in state.log
    brought = link.run("cd .skyloom/pythons && stat -c '%n %Y' */bin/python 3.*").decode()
    assert OURS in brought
    command = job(
        endpoint, f"{machine.ip}-2", run="python3 -S -c 'import sys; print(sys.version)'", verdict_url=VERDICT
    )
    assert strict.run(machine, command).log.decode().startswith(IMAGES[image]), "a command keeps the image's Python"
    assert link.run("cd .skyloom/pythons && stat -c '%n %Y' */bin/python 3.*").decode() == brought, "once per machine"


def test_a_command_finds_the_packages_of_its_environment(strict, endpoint, tmp_path):
    local_package(tmp_path / "mine")
    (tmp_path / "requirements.txt").write_text(f"fsspec=={fsspec.__version__}\n./mine\n")
    (tmp_path / "out").mkdir()
    locking.write("requirements.txt", tmp_path, tmp_path / "out")
    machine, packed = strict.boot("aws", UBUNTU_22), archive(tmp_path / "out")
    tell = "import fsspec, mine, sys; print(fsspec.__version__, mine.ANSWER, '%d.%d' % sys.version_info[:2])"
    about = {
        "environment": packed,
        "minor": locking.MINOR,
        "run": f'python -c "{tell}"',
        "setup": "python3 -m pip list",
    }
    state = strict.run(machine, JobRequest("environment", 1, "aws", **about))
    assert state.exit_code == 0, state
    assert state.log.decode().splitlines()[-1] == f"{fsspec.__version__} 42 {OURS}"
    again = strict.run(machine, JobRequest("environment", 2, "aws", **about))
    assert again.exit_code == 0, again
    lacking = replace(
        JobRequest("lacking", 1, "aws", **about), environment=archive(_with(tmp_path / "no", "nowhere==1"))
    )
    state = strict.run(machine, lacking)
    assert (state.phase, "nowhere" in state.detail) == ("done", True), state


def _with(folder, line):
    folder.mkdir()
    (folder / locking.LOCK).write_text(f"{line}\n")
    return folder


def test_where_nothing_can_be_fetched_it_is_the_places_fault(strict, endpoint):
    machine = strict.boot("aws", AMAZON_LINUX_2)
    nowhere = SshExecutor(strict.keys, PythonSource(mirror="http://127.0.0.1:9", index="http://127.0.0.1:9/simple"))
    with pytest.raises(MachineError, match=r"no Python of our own could be brought.*\[python\]"):
        nowhere.start([machine], job(endpoint, machine.ip, payload=call()))
    nowhere.close()
    left = sorted(path.name for path in (strict.folder(machine) / ".skyloom/pythons").iterdir())
    assert left == ["builds"], "however often that is tried"
    state = strict.executor.poll([machine], machine.ip, 1, [0])
    assert state.phase == "missing", "no job was begun"


def test_what_goes_to_machines_is_known_by_its_hash(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(uv, "_fetched", lambda machine: pytest.fail("fetched"))
    packed = uv.packed("x86_64")
    assert hashlib.sha256(gzip.decompress(packed.read_bytes())).hexdigest() == uv.SHA256["x86_64"]
    with pytest.raises(MachineError, match="riscv64"):
        uv.packed("riscv64")
