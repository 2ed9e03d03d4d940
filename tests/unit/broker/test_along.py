"""What a call finds of what lies beside its modules here: their data, and modules whose names it makes up."""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import singledispatch, singledispatchmethod

import pytest

from sky_core.broker.calls import pack
from sky_core.broker.calls.files import LIMIT
from sky_core.errors import SpecError
from sky_core.remote.agent import call
from sky_core.remote.artifacts import load_result

PROJECT = {
    "flow.py": """
        import importlib, sys
        from functools import lru_cache
        from importlib.resources import files
        from pathlib import Path

        import project
        from project import core
        from project.core import TEXT
        from sky_core.broker.calls import pack

        HERE = Path(__file__).parent
        TABLE = str(HERE / "table.csv")

        def beside_the_script():
            return (HERE / "words" / "one.txt").read_text(), open(TABLE).read(), Path(__file__).name

        def by_resources():
            return (files(project) / "data.json").read_text(), (files("project.sub") / "inner.txt").read_text()

        def by_name():
            return importlib.import_module("project.plugins.first").NAME, importlib.import_module("late").read()

        def absent():
            return (HERE / "".join(["other", ".txt"])).read_text()

        def paths(where=core.DATA):
            return where.read_text(), open(TEXT).read()

        reads = core.Reader().read
        calls = [core.read, core.cached, core.plugin, beside_the_script, by_resources, by_name, paths, reads]
        for number, function in enumerate([*calls, absent]):
            Path(sys.argv[1], str(number)).write_bytes(pack(function, [], {})[0])
        print([function() for function in calls])
    """,
    "table.csv": "a,b",
    "words/one.txt": "one",
    "other.txt": "cannot be foreseen",
    "late.py": """
        from pathlib import Path
        def read():
            return (Path(__file__).parent / "words" / "one.txt").read_text() if Path(__file__).exists() else "not here"
    """,
    "project/__init__.py": "",
    "project/core.py": """
        import importlib
        import json
        from functools import lru_cache
        from pathlib import Path

        DATA = Path(__file__).with_name("data.json")
        TEXT = str(DATA)

        def read():
            return json.loads(Path(__file__).parent.joinpath("data.json").read_text())

        @lru_cache
        def cached(text="inner.txt"):
            from project.sub import value
            return value.read(text)

        def plugin():
            return [importlib.import_module(f"project.plugins.{name}").NAME for name in ("first", "second")]

        class Reader:
            data = DATA
            def read(self):
                return self.data.read_text()
    """,
    "project/data.json": '{"a": 1}',
    "project/sub/__init__.py": "",
    "project/sub/value.py": """
        from pathlib import Path
        def read(name):
            return Path(__file__).with_name(name).read_text()
    """,
    "project/sub/inner.txt": "inner",
    "project/.env": "PASSWORD=x",
    "project/plugins/first.py": "NAME = 1",
    "project/plugins/second.py": "NAME = 2",
}
RECEIVE = "import sys; from sky_core.remote.agent import call; sys.exit(call.main(sys.argv[1]))"


def called(payload, folder):
    """What a call comes to in another process, which knows nothing of where it was made."""
    environ = {**os.environ, "SKY_OUTPUT_RESULT": f"{payload}.result", "TMPDIR": str(folder)}
    subprocess.run([sys.executable, "-c", RECEIVE, payload], cwd=folder, env=environ, capture_output=True)
    return load_result(payload.with_name(f"{payload.name}.result").read_bytes())


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """The folder of the calls, and what they came to here; the project is not there any more."""
    project, folder = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("sent")
    for name, text in PROJECT.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(textwrap.dedent(text))
    done = subprocess.run([sys.executable, "flow.py", folder], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    project.rename(project.with_name("elsewhere"))
    return folder, eval(done.stdout)


@pytest.mark.parametrize("number", range(8))
def test_what_lies_beside_a_module_is_read_as_it_is_here(sent, tmp_path, number):
    folder, came = sent
    assert called(folder / str(number), tmp_path) == came[number]
    assert list(tmp_path.iterdir()) == [], "nothing stays"


def test_what_did_not_go_along_is_told_with_what_to_do(sent, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"other\.txt") as caught:
        called(sent[0] / "8", tmp_path)
    assert any("pass what they hold" in note for note in caught.value.__notes__)


def test_of_a_large_package_go_its_modules_and_what_its_functions_name(tmp_path, monkeypatch):
    package = tmp_path / "large"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from pathlib import Path\n"
        "HERE = Path(__file__).parent\n"
        "def read(): return (HERE / 'small.txt').read_text(), (HERE / '.env').read_text()\n"
    )
    for name, size in {"other.py": 1, "small.txt": 5, "weights.bin": LIMIT + 1, ".env": 1, "fast.so": 1}.items():
        (package / name).write_bytes(b"#" * size)
    monkeypatch.syspath_prepend(tmp_path)
    import large

    payload, _ = pack(large.read, [], {})
    files = pickle.loads(call.unpack("call", payload))
    assert set(files) == {"large/__init__.py", "large/other.py", "large/small.txt"}


COUNT = ContextVar("count", default=0)
LOCK = threading.Lock()
UNSET = ContextVar("unset")


@singledispatch
def said(value):
    """What is said of it."""
    return f"{value!r}"


@said.register
def _(value: list):
    return [said(each) for each in value]


@said.register(int)
@said.register(bool)
def of_number(value):
    return f"#{value}"


class Sayer:
    @singledispatchmethod
    def of(self, value):
        return said(value)

    @of.register
    def _(self, value: str):
        return value.upper()


def received(function, *args):
    """What a call comes to once it is unpickled."""
    function, args, _ = call.loaded(call.unpack("call", pack(function, args, {})[0]))
    return function(*args)


def test_functions_that_look_at_the_type_of_what_they_are_given_are_sent():
    def work(value):
        return said(value), said.__name__, said.__doc__, said.dispatch(int).__name__, Sayer().of("a"), Sayer().of(1)

    work.__module__ = said.__module__ = "__main__"
    assert received(work, [1, None]) == (["#1", "None"], "said", "What is said of it.", "of_number", "A", "#1")


def test_variables_of_the_context_are_sent_with_what_they_are_set_to():
    def work():
        return COUNT.get(), COUNT is again.get(), UNSET.get("none"), threading_sees(COUNT)

    def threading_sees(variable):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(variable.get).result()

    again = ContextVar("again")
    again.set(COUNT)
    COUNT.set(3)
    assert received(work) == (3, True, "none", 3)


def takes_turns():
    with LOCK:
        return 1


def test_what_cannot_be_sent_is_named():
    held = threading.Lock()

    def around():
        return held

    def deep():
        return takes_turns()

    for function, args, named in [
        (takes_turns, (), r"the global 'LOCK' of \S+test_along.py, which is of type lock: "),
        (deep, (), "the global 'LOCK' of "),
        (functools.partial(deep), (), "the global 'LOCK' of "),
        (around, (), "'held', which .*around has around it"),
        (len, ([], held), "argument 2: "),
    ]:
        with pytest.raises(SpecError, match=named) as caught:
            pack(function, args, {})
        assert "inside the function" in str(caught.value)
    with pytest.raises(SpecError, match="the argument 'lock'"):
        pack(len, [], {"lock": held})
