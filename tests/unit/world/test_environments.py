"""The submitter's packages as a list for the machine: from a requirements file, a uv.lock, a project, this Python."""

from __future__ import annotations

import tarfile
import venv
import zipfile
from importlib import metadata
from types import SimpleNamespace

import pytest
import uv

from sky_core.errors import SpecError
from sky_core.job.needs import keep_environment, kept_folder
from sky_core.remote.agent.pythons import fit
from sky_core.remote.pythons.locking import LOCK, write
from sky_core.spec import Resources, Task
from sky_core.store import Store
from tests.sandbox.packages import local_package

DIGEST = "sha256:" + "0" * 64
UV_LOCK = f"""
version = 1
requires-python = ">=3.9"

[[package]]
name = "project"
version = "0"
source = {{ virtual = "." }}
dependencies = [{{ name = "fsspec" }}, {{ name = "mine" }}]

[[package]]
name = "mine"
version = "1"
source = {{ editable = "libs/mine" }}

[[package]]
name = "fsspec"
version = "2026.1.0"
source = {{ registry = "https://index.example/simple" }}
wheels = [{{ url = "https://index.example/fsspec-2026.1.0-py3-none-any.whl", hash = "{DIGEST}", size = 1 }}]
"""
PROJECT = '[project]\nname = "project"\nversion = "0"\nrequires-python = ">=3.9"\ndependencies = ["fsspec", "mine"]\n'
SOURCES = '[tool.uv.sources]\nmine = { path = "libs/mine", editable = true }\n'


def lines(environment, base, folder):
    folder.mkdir()
    write(environment, base, folder)
    return (folder / LOCK).read_text().splitlines()


def modules(wheel):
    return [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")]


def test_a_requirements_file_with_what_it_includes_and_a_package_beside_it(tmp_path):
    local_package(tmp_path / "code/libs/mine")
    (tmp_path / "code/requirements.txt").write_text("# ours\n-r more/base.txt\n-e ./libs/mine  # editable\n")
    (tmp_path / "code/more").mkdir()
    (tmp_path / "code/more/base.txt").write_text("numpy==2.1 ; python_version < '4'\n--hash-is-no-comment#1\n")
    found = lines("code/requirements.txt", tmp_path, tmp_path / "out")
    assert found[:2] == ["numpy==2.1 ; python_version < '4'", "--hash-is-no-comment#1"]
    assert modules(tmp_path / "out" / found[2]) == ["mine.py"]


def test_a_lock_with_hashes_and_a_member_of_its_own(tmp_path):
    local_package(tmp_path / "libs/mine")
    (tmp_path / "pyproject.toml").write_text(PROJECT + SOURCES)
    (tmp_path / "uv.lock").write_text(UV_LOCK)
    found = lines("uv.lock", tmp_path, tmp_path / "out")
    assert f"fsspec==2026.1.0 --hash={DIGEST}" in [" ".join(line.split()) for line in found]
    (local,) = [line for line in found if line.startswith("./wheels")]
    assert modules(tmp_path / "out" / local) == ["mine.py"]


def test_this_python_s_own(tmp_path, monkeypatch):
    local_package(tmp_path / "mine")
    here = [one for one in metadata.distributions() if one.name in ("fsspec", "pip")]
    mine = tmp_path / "site/mine-1.dist-info"
    mine.mkdir(parents=True)
    (mine / "METADATA").write_text("Name: mine\nVersion: 1\n")
    (mine / "direct_url.json").write_text(f'{{"url": "file://{tmp_path}/mine", "dir_info": {{"editable": true}}}}')
    monkeypatch.setattr(metadata, "distributions", lambda: [*here, metadata.PathDistribution(mine)])
    found = lines("caller", tmp_path, tmp_path / "out")
    assert found[0] == f"fsspec=={metadata.version('fsspec')}"
    assert modules(tmp_path / "out" / found[1]) == ["mine.py"]


def wheel(folder, name, version, *needs):
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        needed = "".join(f"Requires-Dist: {one}\n" for one in needs)
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")


def test_packages_that_contradict_each_other_are_brought_as_they_are_here(tmp_path, monkeypatch):
    site, index, home = tmp_path / "site", tmp_path / "index", tmp_path / "home"
    for folder in (index, home / "bin"):
        folder.mkdir(parents=True)
    wheel(index, "old", "1", "new<2", "more")
    wheel(index, "new", "2")
    wheel(index, "more", "1")  # which this platform does without, and another may not
    for name in ("old-1", "new-2"):
        zipfile.ZipFile(index / f"{name}-py3-none-any.whl").extractall(site)
    listed = [metadata.PathDistribution(one) for one in site.glob("*.dist-info")]
    monkeypatch.setattr(metadata, "distributions", lambda: listed)
    lines("caller", tmp_path, tmp_path / "out")
    with tarfile.open(tmp_path / "packed.tar", "w") as packed:
        packed.add(tmp_path / "out", ".")
    (home / "bin/uv").symlink_to(uv.find_uv_bin())
    monkeypatch.setattr(fit, "root", lambda: home)
    monkeypatch.setattr(fit, "archive", lambda _: tmp_path / "packed.tar")
    made, place, job = tmp_path / "made", tmp_path / "place", SimpleNamespace(environment="e", index=f"file://{index}")
    place.mkdir()
    venv.create(made)
    fit._fill(made, job, SimpleNamespace(folder=place))
    assert {one.name.partition("-")[0] for one in made.glob("lib/*/site-packages/*.dist-info")} == {
        "old",
        "new",
        "more",
    }


def test_all_of_it_travels_by_the_store(tmp_path):
    local_package(tmp_path / "mine")
    (tmp_path / "requirements.txt").write_text("./mine\n")
    store = Store(f"sqlite:///{tmp_path}/store.db")
    parcel = keep_environment(store, "requirements.txt", tmp_path, "train")
    with kept_folder(store, parcel).open() as file:
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            names = archive.getnames()
    assert names == ["lock.txt", "wheels/0/mine-1-py3-none-any.whl"]
    store.close()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ("none.txt", "none.txt is not a file here"),
        ("environment.yml", "conda's environments are not made"),
        ("setup.cfg", "setup.cfg is none of uv.lock"),
        ("broken.txt", "libs is not a folder here"),
    ],
)
def test_what_cannot_be_had_is_told(tmp_path, environment, message):
    (tmp_path / "setup.cfg").touch()
    (tmp_path / "broken.txt").write_text("./libs\n")
    with pytest.raises(SpecError, match=message):
        write(environment, tmp_path, tmp_path)


def test_a_container_has_its_own_packages():
    with pytest.raises(SpecError, match="environment: a container's packages are those of its image"):
        Task(name="a", run="x", environment="uv.lock", resources=Resources(image="docker:python"))
