"""Archives of the user's folder, and the agent's zip."""

from __future__ import annotations

import os
import subprocess
import tarfile

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
