"""Archives of the user's folder, and the agent's zip."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tarfile
import zipfile

import pytest

from sky_core.errors import SpecError
from sky_core.remote import bundle, workdir


def packed(folder):
    with workdir.packed(str(folder)) as (digest, file), tarfile.open(fileobj=file) as archive:
        return digest, sorted(archive.getnames())


@pytest.fixture
def folder(tmp_path):
    for name in ("a.py", "sub/b.py", "sub/data.bin", "__pycache__/a.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_the_same_content_gives_the_same_archive(folder):
    first, _ = packed(folder)
    os.utime(folder / "a.py", (1, 1))
    assert packed(folder)[0] == first
    (folder / "a.py").write_text("changed")
    assert packed(folder)[0] != first


def test_git_decides_what_is_sent(folder):
    assert packed(folder)[1] == ["a.py", "sub/b.py", "sub/data.bin"]
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / ".gitignore").write_text("*.bin\n__pycache__\n")
    subprocess.run(["git", "-C", str(folder), "add", "a.py", "sub"], check=True)
    (folder / "a.py").unlink()  # deleted, not yet committed
    assert packed(folder)[1] == [".gitignore", "sub/b.py"]


def test_a_folder_that_git_ignores_as_a_whole_is_sent(folder):
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / ".gitignore").write_text("sub\n")
    assert packed(folder / "sub")[1] == ["b.py", "data.bin"]


def git(folder, *arguments):
    known = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "protocol.file.allow=always")
    subprocess.run(["git", "-C", str(folder), *known, *arguments], check=True, capture_output=True)


def repository(folder, name):
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / name).write_text(name)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "x")
    return folder


def sent(folder):
    """Names in the archive: where a link leads, the content of a file, "/" for a folder."""
    with workdir.packed(str(folder)) as (_, file), tarfile.open(fileobj=file) as archive:
        return {
            entry.name: f"-> {entry.linkname}"
            if entry.issym()
            else "/"
            if entry.isdir()
            else archive.extractfile(entry).read().decode()
            for entry in archive
        }


def test_submodules_and_repositories_within_are_sent(tmp_path):
    top = repository(tmp_path / "top", "main.py")
    git(top, "submodule", "add", "-q", str(repository(tmp_path / "lib", "lib.py")), "vendor")
    repository(top / "nested", "n.py")
    (top / "nested/.gitignore").write_text("*.bin\n")
    (top / "nested/x.bin").write_text("")
    assert {"main.py", "vendor/lib.py", "nested/n.py"} == sent(top).keys() - {".gitmodules", "nested/.gitignore"}


def test_empty_folders_are_sent(tmp_path):
    (tmp_path / "logs/deep").mkdir(parents=True)
    (tmp_path / "main.py").write_text("x")
    assert sent(tmp_path) == {"logs/deep": "/", "main.py": "x"}
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert sent(tmp_path) == {"logs/deep": "/", "main.py": "x"}


def test_links_within_stay_and_links_out_become_what_they_lead_to(tmp_path):
    top, shared = tmp_path / "top", tmp_path / "shared"
    for folder in (top / "data", shared / "deep"):
        folder.mkdir(parents=True)
    (top / "data/x").write_text("x")
    (shared / "lib.py").write_text("lib")
    (shared / "deep/round").symlink_to(shared)
    for name, target in {
        "current": "data", "absolute": top / "data/x", "roundabout": "../top/data", "lib.py": "../shared/lib.py",
        "deep": shared / "deep", "gone": "nowhere",
    }.items():  # fmt: skip
        (top / name).symlink_to(target)
    assert sent(top) == {
        "data/x": "x", "current": "-> data", "absolute": "-> data/x", "roundabout": "-> data", "lib.py": "lib",
        "deep": "/", "gone": "-> nowhere",
        "deep/round": "/", "deep/round/lib.py": "lib",
    }  # fmt: skip


def test_a_link_to_a_folder_that_holds_the_workdir_is_refused(tmp_path):
    (tmp_path / "top").mkdir()
    (tmp_path / "top/up").symlink_to("..")
    with pytest.raises(SpecError, match=r"the link .*/up leads to .*, which holds the workdir itself \(remove it"):
        sent(tmp_path / "top")


def test_skyignore_decides_instead_of_gitignore(tmp_path):
    for name in ("secret.env", "a.ckpt", "main.py", "kept.ckpt", "data/big"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / ".gitignore").write_text("*.ckpt\n")
    assert sent(tmp_path).keys() == {"secret.env", "main.py", "data/big", ".gitignore"}
    (tmp_path / ".skyignore").write_text("# not these\nsecret.env\n*.ckpt\n!kept.ckpt\n/data\n")
    kept = {"main.py", "kept.ckpt", ".gitignore", ".skyignore"}
    assert sent(tmp_path).keys() == kept
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert sent(tmp_path).keys() == kept


def test_local_files_to_mount_are_packed_by_number(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/in").write_text("in")
    (tmp_path / "file").write_text("f")
    (tmp_path / "file").chmod(0o755)
    sources = [tmp_path / "file", tmp_path / "folder"]
    with workdir.packed_sources(sources) as (_, file), tarfile.open(fileobj=file) as archive:
        assert [(entry.name, entry.mode & 0o700) for entry in archive if entry.isreg()] == [
            ("0", 0o700),
            ("1/in", 0o600),
        ]


def test_no_folder(tmp_path):
    with pytest.raises(SpecError, match=r"workdir: .* is not a folder"), workdir.packed(str(tmp_path / "none")):
        pass


def test_the_agent_needs_nothing_but_the_standard_library(tmp_path):
    name, content = bundle.agent()
    program = tmp_path / name
    program.write_bytes(content)
    assert bundle.agent.__wrapped__() == (name, content)
    told = subprocess.run(
        ["python3", "-I", "-S", str(program), "poll", "job", "1", "0"],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
    )
    assert told.stdout == b'{"phase": "missing"}\n'


def test_a_python_that_is_too_old_says_so(tmp_path):
    name, content = bundle.agent()
    (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / name) as archive:
        ast.parse(archive.read("__main__.py"), feature_version=(3, 4))
    old = f"import runpy, sys; sys.version_info = (3, 8, 1); runpy.run_path({str(tmp_path / name)!r}, {{}}, '__main__')"
    told = subprocess.run([sys.executable, "-S", "-c", old], input=b"{}", capture_output=True, check=True).stdout
    assert told.split(maxsplit=2) == [b"unfit", os.uname().machine.encode(), b"Python 3.9 or later\n"]


def test_the_same_sources_give_the_same_bytes_whatever_else_the_process_holds():
    script = """
import importlib, pkgutil, sys
from sky_core.remote import agent, bundle
before = bundle.agent.__wrapped__()
for module in pkgutil.walk_packages(agent.__path__, agent.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
sys.exit(before != bundle.agent.__wrapped__())
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_python_of_the_drivers_version_finds_the_agent_compiled_and_others_its_sources(tmp_path):
    name, content = bundle.agent()
    (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / name) as archive:
        sources = {one: archive.read(one) for one in archive.namelist() if one.startswith(bundle.PACKAGE)}
    assert {f"{one}c" for one in sources if one.endswith(".py")} == {one for one in sources if one.endswith(".pyc")}

    def loaded(program):
        script = (
            f"import sys; sys.path.insert(0, {str(program)!r}); import {bundle.PACKAGE}.job as m; print(m.__file__)"
        )
        told = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True)
        return os.path.relpath(told.stdout.strip(), program)

    with zipfile.ZipFile(tmp_path / "other.pyz", "w") as other:
        for one, text in sources.items():
            other.writestr(one, b"\0\0\0\0" + text[4:] if one.endswith(".pyc") else text)  # of another version
    assert loaded(tmp_path / name) == f"{bundle.PACKAGE}/job.pyc"
    assert loaded(tmp_path / "other.pyz") == f"{bundle.PACKAGE}/job.py"
