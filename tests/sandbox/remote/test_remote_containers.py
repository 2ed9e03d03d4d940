"""Commands in a container on a machine: an image of a registry on loopback, unpacked without root's privileges."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import fsspec
import pytest

from sky_core.remote.artifacts import load_result, read_result
from sky_core.remote.executor import JobRequest
from sky_core.remote.functions import pack
from tests.conftest import until
from tests.sandbox.loopback import store_options
from tests.sandbox.park import archive
from tests.sandbox.registry import LOGIN, Registry, layer, tools

numbers = itertools.count(1)
ENV = {"PATH": "/opt/tools:/usr/bin:/bin", "WHO": "the image"}


@pytest.fixture(scope="module")
def machine(park):
    return park.boot()


@pytest.fixture(scope="module")
def registry():
    registry = Registry()
    below = {
        "etc/os-release": "NAME=below\n",
        "srv/old/a": "a",
        "srv/old/b": "b",
        "srv/gone": "x",
        "data/here": "mine\n",
    }
    base = layer(host=tools(), files=below, links={"run": "/var/run", "leads/out": "/../../etc"})
    over = {
        "etc/os-release": "NAME=ours\n", "srv/old/.wh..wh..opq": "", "srv/old/c": "c", "srv/.wh.gone": "",
        "leads/out/through": "a link\n", "opt/tools/told": "echo told by the image\n",
    }  # fmt: skip
    upper = layer(files=over)
    registry.image = registry.push("open/base", [base, upper], ENV)
    registry.private = registry.push("private/base", [base], ENV)
    yield registry
    registry.close()


def job(image, **about):
    return JobRequest(
        **{"job_id": f"container-{next(numbers)}", "attempt": 1, "cloud": "aws", "container": image, **about}
    )


def test_a_command_has_the_image_s_files_and_the_job_s_folders_and_variables(
    park, machine, registry, endpoint, tmp_path
):
    (tmp_path / "code").mkdir()
    (tmp_path / "code/main.txt").write_text("the code\n")
    (tmp_path / "app.yaml").write_text("the settings\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/joined").write_text("joined\n")
    files = tmp_path / "files"
    files.mkdir()
    (tmp_path / "app.yaml").rename(files / "0")
    (tmp_path / "more").rename(files / "1")
    options = store_options(endpoint)
    fsspec.filesystem("s3", **options["s3"]).pipe_file("jobs/container-in/given", b"from a bucket\n")
    script = """
      cat /etc/os-release /etc/through; echo /srv/* /srv/old/*; echo "$WHO|$HOME|$A|$S|$(id -u)"; bash /opt/tools/told
      cat main.txt; cat ~/settings/app.yaml; cat /data/here /data/joined; cat "$SKY_INPUT_GIVEN/given"
      test "$(realpath ~/sky_workdir)" = "$(realpath .)" && echo "in the workdir"
      cat prepared; echo done > "$SKY_OUTPUT_MADE"; echo kept > $SKY_CHECKPOINT_DIR/state; test ! -e /home/skyloom/.ssh
    """
    request = job(
        registry.image, setup="echo in $WHO > prepared; echo lost > /etc/motd", run=script, envs={"A": "a 'b'"},
        secrets={"S": "hidden"}, workdir=archive(tmp_path / "code"), files=archive(files),
        mounts=({"path": "~/settings/app.yaml", "url": None, "file": 0, "write_back": False, "make": False},
                {"path": "/data", "url": None, "file": 1, "write_back": False, "make": False}),
        inputs={"given": "s3://jobs/container-in"}, outputs={"made": "s3://jobs/container-out"},
        checkpoint_url="s3://jobs/container-ckpt", storage_options=options,
    )  # fmt: skip
    state = park.run(machine, request)
    said = state.log.decode().split("\n", 1)
    assert said[0].startswith(f"[skyloom] pulling {registry.image}: 2 layers"), state
    assert said[1].splitlines() == [
        "NAME=ours", "a link", "/srv/old /srv/old/c", "the image|/root|a 'b'|hidden|0", "told by the image", "the code",
        "the settings", "mine", "joined", "from a bucket", "in the workdir", "in the image",
    ]  # fmt: skip
    assert (state.phase, state.exit_code) == ("done", 0)
    assert set(state.moved["outputs"]) == {"made"}
    assert not Path("/etc/through").exists()  # a layer's link led nowhere but into its image
    assert any(wanted for _, wanted in registry.asked)  # what was cut off was taken up again
    before = len(registry.asked)
    assert park.run(machine, job(registry.image, run="exit 7")).exit_code == 7
    assert len(registry.asked) == before  # what the machine has is not asked for again


def test_it_is_stopped_and_leaves_nothing(park, machine, registry, endpoint):
    script = """
      trap 'echo last > $SKY_CHECKPOINT_DIR/state; echo told to end; exit' TERM
      (exec -a left-behind sleep 1000) & touch "$SKY_CHECKPOINT_DIR/begun"; while :; do sleep 0.1; done
    """
    options = store_options(endpoint)
    request = job(registry.image, run=script, checkpoint_url="s3://jobs/container-stop", storage_options=options)
    park.executor.start([machine], request)
    place = park.folder(machine) / f".skyloom/jobs/{request.job_id}/1"
    while not (place / "checkpoint/begun").exists():
        time.sleep(0.05)
    park.executor.leave([machine], request.job_id, 1, 20)
    state = park.follow(machine, request)
    assert (state.detail, state.last_checkpoint) == ("moved", True), state
    assert b"told to end" in state.log
    until(lambda: not (place / "root").exists())  # put away once the end is told
    lines = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert not any(b"left-behind" in line for line in lines)


def test_private_images_want_the_login(park, machine, registry):
    asked = job(registry.private, run="echo in")
    state = park.run(machine, asked)
    assert state.exit_code == 1
    assert "the registry refuses" in state.detail
    login = dict(zip(("SKYPILOT_DOCKER_USERNAME", "SKYPILOT_DOCKER_PASSWORD"), LOGIN, strict=True))
    bare = registry.private.partition("/")[2]
    state = park.run(machine, job(bare, run="echo in", secrets={**login, "SKYPILOT_DOCKER_SERVER": registry.host}))
    assert (state.exit_code, state.log.splitlines()[-1]) == (0, b"in")
    assert "there is no such image" in park.run(machine, job(f"{registry.image}-not", run="true")).detail
    assert "not the name of an image" in park.run(machine, job("UPPER/x:1", run="true")).detail


def test_a_function_runs_in_an_image_with_its_python(park, machine, registry, endpoint):
    python = Path(sys.base_prefix).resolve()
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    more = map(str, python.glob(f"lib/{name}/lib-dynload/*.so"))
    shown = [python / "lib" / name, *python.glob(f"lib/lib{name}*.so*"), *tools(str(python / "bin" / name), *more)]
    links = {"usr/local/python/python3": str(python / "bin" / name)}
    image = registry.push("open/python", [layer(host=shown, links=links)], {"PATH": "/usr/local/python:/usr/bin:/bin"})

    def where() -> tuple[str, int]:
        import os

        return os.environ["HOME"], 6 * 7

    options = store_options(endpoint)
    url = f"s3://jobs/container-value-{next(numbers)}"
    state = park.run(machine, job(image, payload=pack(where), outputs={"result": url}, storage_options=options))
    assert state.exit_code == 0, state.log
    assert load_result(read_result(url, options)) == ("/root", 42)
