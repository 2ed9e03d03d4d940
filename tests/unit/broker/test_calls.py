"""Calls travel whole: references become inputs, local modules go along, nothing else is needed over there."""

import ast
import io
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import zipfile
from datetime import datetime
from pathlib import Path

import pendulum
import pytest

import sky_core.driver
from sky_core import Artifact, errors
from sky_core.broker.calls import Reference, pack
from sky_core.remote.agent import call
from sky_core.remote.agent.data.artifacts import publish
from sky_core.remote.artifacts import load_result, read_result

MODEL = Reference("job-1", Artifact(uri="s3://b/model", size_gb=0.1, location="aws/us-east-1"))
IMAGES = Reference("job-2", Artifact(uri="gs://b/images"))


def unpack(payload, values):
    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid):
            return values[pid[1]]

    packed = io.BytesIO(call.unpack("call", payload))
    assert pickle.load(packed) == {}, "no files go along"
    return Unpickler(packed).load()


def test_references_become_inputs_however_deep_and_once_each():
    payload, inputs = pack(len, [MODEL, {"x": [IMAGES, MODEL]}], {"k": (IMAGES,)})
    assert inputs == {"arg_0": MODEL.artifact, "arg_1": IMAGES.artifact}
    _, args, kwargs = unpack(payload, {"arg_0": "the model", "arg_1": "the images"})
    assert args == ("the model", {"x": ["the images", "the model"]})
    assert kwargs == {"k": ("the images",)}


@pytest.mark.parametrize("value", [3, "text", [1, 2], {"a": (1,)}])
def test_plain_arguments_stay_as_they_are(value):
    payload, inputs = pack(repr, [value], {})
    assert inputs == {}
    function, args, _ = unpack(payload, {})
    assert function(*args) == repr(value)


class Odd(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


def test_an_error_that_asks_for_more_than_it_hands_on_is_an_argument_too():
    payload, _ = pack(repr, [Odd(3, "bad"), FileNotFoundError(2, "none", "x")], {})
    _, (odd, missing), _ = unpack(payload, {})
    assert (odd.code, odd.args, missing.filename) == (3, ("3: bad",), "x")


MOMENTS = [
    pendulum.datetime(2026, 3, 1, 6, tz="Europe/Berlin"), pendulum.naive(2026, 3, 1), pendulum.date(2026, 3, 1),
    pendulum.time(6, 30), pendulum.duration(hours=-30), pendulum.datetime(2026, 3, 1) - pendulum.datetime(2026, 1, 1),
    datetime(2026, 3, 1, tzinfo=pendulum.timezone("UTC")), datetime(2026, 3, 1, tzinfo=pendulum.timezone(3600)),
    datetime(2026, 3, 1, tzinfo=pendulum.timezone("Europe/Berlin")),
]  # fmt: skip


@pytest.mark.parametrize("there", [True, False])
def test_moments_are_pendulums_where_the_machine_has_it(there, tmp_path):
    payload, _ = pack(list, [[*MOMENTS, MOMENTS[0].timezone]], {})
    (tmp_path / "call").write_bytes(payload)
    program = """
        import pathlib, pickle, sys
        if sys.argv[2] == "False":
            sys.modules["pendulum"] = None
        from sky_core.remote.agent import call
        data = call.unpack("call", pathlib.Path(sys.argv[1]).read_bytes())
        function, args, kwargs = call.loaded(data)
        pathlib.Path(sys.argv[1]).write_bytes(pickle.dumps(function(*args)))
    """
    run(program, tmp_path / "call", there, path=sys.path)
    *found, zone = pickle.loads((tmp_path / "call").read_bytes())
    assert found == MOMENTS
    assert [one.utcoffset() for one in found[:2]] == [one.utcoffset() for one in MOMENTS[:2]]
    kinds = {type(one).__module__.partition(".")[0] for one in [*found[:-3], *(one.tzinfo for one in found[-3:]), zone]}
    assert kinds == ({"pendulum"} if there else {"datetime", "zoneinfo"})


def run(program, *args, path=""):
    """What a program says in an interpreter of its own, line by line."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, args)]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


RECEIVE = """
    import pickle, sys
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            file.readline(), pickle.load(file)
            print(pickle.load(file)[0]())
"""


def test_what_is_local_travels_by_value(tmp_path):
    flow, site = tmp_path / "flow", tmp_path / "site-packages"
    files = {
        flow / "beside.py": "from deeper import two\ndef four():\n    return 2 * two()\n",
        flow / "deeper.py": "def two():\n    return 2\n",
        # modules of a package that know each other
        flow / "project/__init__.py": "from project import one\n",
        flow / "project/one.py": "import project\ndef work():\n    return project.two.value()\n",
        flow / "project/two.py": "import project\ndef value():\n    return 3 if project.one else 0\n",
        # a namespace package
        flow / "space/inner.py": "def value():\n    return 5\n",
        # a project in editable mode: its folder is on the path by a .pth file
        tmp_path / "src/mine.py": "def work():\n    return 7\n",
        site / "mine.pth": f"{tmp_path / 'src'}\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    send = """
        import pathlib, site, sys
        site.addsitedir(sys.argv[2])
        import beside, mine, project.two, space.inner
        from sky_core.broker.calls import pack
        from sky_core.errors import TaskFailed
        def through_the_namespace(): return space.inner.value()
        def error(said=TaskFailed("train", 3, "the last lines")): return said.exit_code, "sky_core" in sys.modules
        for number, work in enumerate([beside.four, project.one.work, through_the_namespace, mine.work, error]):
            pathlib.Path(sys.argv[1], str(number)).write_bytes(pack(work, (), {})[0])
    """
    run(send, tmp_path, site, path=[flow])
    assert run(RECEIVE, *(tmp_path / str(number) for number in range(5))) == ["4", "3", "5", "7", "(3, False)"]


@pytest.mark.parametrize("names", [0, 300], ids=["short", "long"])
def test_what_is_imported_only_while_the_call_runs_goes_along(tmp_path, names):
    """Also what those import, in whatever way; what is installed does not, and nothing is run here to find it out.

    The numbers of a long function's names do not fit into its instructions.
    """
    files = {
        "project/__init__.py": "ran = 1\n",
        "project/util.py": "from . import deep\nfrom .deep import inner as i\ndef triple(x): return i.value() * x\n",
        "project/deep/inner.py": "def value():\n    import beside\n    return beside.THREE\n",
        "beside.py": "import json, not_here_either_until_it_runs\nTHREE = 3\n",
        "not_here_either_until_it_runs.py": "import sys\n",
    }
    for name, text in files.items():
        (tmp_path / "flow" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "flow" / name).write_text(text)
    send = """
        import pathlib, sys
        from sky_core.broker.calls import pack
        def work(x):
            def inside():
                if x is None: NAMES
                from project import util
                return util.triple(x)
            return inside()
        payload, _ = pack(work, (4,), {})
        pathlib.Path(sys.argv[1]).write_bytes(payload)
        print("project" in sys.modules, "beside" in sys.modules, b"JSONDecoder" in payload)
    """
    send = send.replace("NAMES", "; ".join(f"x.a{number}" for number in range(names)) or "pass")
    assert run(send, tmp_path / "call", path=[tmp_path / "flow"]) == ["False False False"]
    receive = """
        import os, sys
        os.environ["SKY_OUTPUT_RESULT"] = sys.argv[1] + ".result"
        from sky_core.remote.agent import call
        assert call.main(sys.argv[1]) == 0
        print(call.load(call.unpack("result", open(sys.argv[1] + ".result", "rb").read())))
    """
    assert run(receive, tmp_path / "call") == ["('value', 12)"]


def test_what_is_installed_in_any_way_stays_where_it_is(tmp_path):
    """Each of these has a lock at module level, which cannot be sent."""
    text = "import threading\n_lock = threading.Lock()\ndef double(x):\n    with _lock: return 2 * x\n"
    places = [tmp_path / "lib/python3/dist-packages", tmp_path / "user/site-packages", tmp_path / "b.egg"]
    for name, place in zip("abc", places, strict=True):
        place.mkdir(parents=True)
        (place / f"tool_{name}.py").write_text(text)
    places += [tmp_path / "zipped.egg"]
    with zipfile.ZipFile(places[-1], "w") as archive:
        archive.writestr("tool_d.py", text)
    send = """
        import tool_a, tool_b, tool_c, tool_d
        from sky_core.broker.calls import pack
        def work(): return tool_a, tool_b.double, tool_c.double, tool_d.double
        print(len(pack(work, (), {})[0]) > 0)
    """
    assert run(send, path=places) == ["True"]


def test_a_spawned_process_can_send_what_its_main_file_defines(tmp_path):
    """There the file stands in ``sys.modules`` twice, as ``__main__`` and ``__mp_main__``."""
    (tmp_path / "main.py").write_text(
        textwrap.dedent("""
        import multiprocessing, pathlib, sys
        def work(): return 11
        def child(target):
            from sky_core.broker.calls import pack
            pathlib.Path(target).write_bytes(pack(work, (), {})[0])
        if __name__ == "__main__":
            process = multiprocessing.get_context("spawn").Process(target=child, args=(sys.argv[1],))
            process.start(); process.join(); sys.exit(process.exitcode)
    """)
    )
    subprocess.run([sys.executable, tmp_path / "main.py", tmp_path / "call.pkl"], check=True)
    assert run(RECEIVE, tmp_path / "call.pkl") == ["11"]


def test_calls_packed_at_the_same_time_are_whole(tmp_path, monkeypatch):
    import cloudpickle

    (tmp_path / "shapes_beside.py").write_text("class Point:\n    x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import shapes_beside

    def work():
        return shapes_beside.Point

    alone, got = len(pack(work, (), {})[0]), []
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        threads = [threading.Thread(target=lambda: got.extend(len(pack(work, (), {})[0]) for _ in range(8)))
                   for _ in range(8)]  # fmt: skip
        [thread.start() for thread in threads], [thread.join() for thread in threads]
    finally:
        sys.setswitchinterval(before)
    assert set(got) == {alone}
    assert len(got) == 64
    assert cloudpickle.list_registry_pickle_by_value() == set(), "the process's other pickles stay as they were"


@pytest.mark.parametrize(
    "error",
    [
        errors.TaskFailed("train", 3, "the last lines"),
        errors.NoFeasibleOffering("train", "region", ["m5"], "nothing is left", cure="ask for less"),
        errors.Infeasible("budget_usd", 3.5, "too dear", cure="pay more"),
        errors.SandboxNotRunning("no file"),
        errors.MissingExtra("boto3", "aws"),
        errors.CapacityError("none", scope="region", code="Insufficient"),
        errors.QuotaError("none", scope="cloud", code="Limit"),
        errors.JobCancelled("enough"),
    ],
)
def test_errors_survive_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.args, vars(again)) == (type(error), str(error), error.args, vars(error))


class Refused(ValueError):
    """An error as people write them: it wants more than what it hands to its base."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


class Bad(Exception):
    def __reduce__(self):
        raise TypeError("not to be pickled")


class Hostile:
    """What a machine may write in place of a value: code that runs when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def test_what_a_machine_wrote_is_bytes_until_somebody_asks_for_the_value(tmp_path):
    mark, url = tmp_path / "it ran", f"file://{tmp_path}/bucket"
    (tmp_path / "result").write_bytes(call.pack("result", pickle.dumps(("value", Hostile(str(mark))))))
    publish(tmp_path / "result", url, "one", {})
    content = read_result(url, {})
    assert not mark.exists(), "the driver does this, and has every cloud's credentials"
    load_result(content)
    assert mark.exists(), "only whoever wants the value takes the risk"


def test_the_driver_unpickles_nothing():
    driver = Path(sky_core.driver.__file__).parent
    names = {
        getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None)
        for path in driver.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
    }
    assert "read_result" in names
    assert names & {"pickle", "cloudpickle", "load_result", "value_of"} == set()


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (Refused(42, "bad"), Refused, "42: bad"),
        (ValueError("outer", Refused(42, "inner")), ValueError, "('outer', Refused('42: inner'))"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "why"), UnicodeDecodeError, "codec can't decode byte"),
        (OSError(2, "gone", "file"), FileNotFoundError, "gone: 'file'"),
        (Bad("text"), call.RemoteError, "Bad: text"),
    ],
)
def test_a_functions_own_error_comes_back(tmp_path, monkeypatch, error, kind, said):
    monkeypatch.setenv("SKY_OUTPUT_RESULT", str(tmp_path / "result"))
    monkeypatch.setattr(call.running, "answer_of", lambda made: (("error", error), 1))
    assert call.main(str(tmp_path / "call")) == 1
    with pytest.raises(kind) as caught:
        call.value_of(*call.load(call.unpack("result", (tmp_path / "result").read_bytes())))
    assert said in str(caught.value)
    if kind is Refused:
        assert caught.value.code == 42


class Unsent(Exception):
    """An error that holds what cannot be pickled."""

    def __init__(self, text):
        super().__init__(text)
        self.held = threading.Lock()


def raises_with_a_chain():
    try:
        try:
            raise Unsent("deep")
        except Unsent:
            {}["x"]
    except KeyError as error:
        raise ValueError("outer") from error


def raises_a_group():
    try:
        raise OSError(2, "gone", "file")
    except OSError as error:
        inner = LookupError("inner")
        inner.__cause__ = error
        raise ExceptionGroup("all", [inner, ExceptionGroup("more", [ValueError(1)])]) from None


def test_an_error_comes_back_with_what_it_was_raised_from(capsys):
    def sent(function):
        answer, code = call.answer_of(function)
        content, meant = call.packed(answer)
        assert (code, meant) == (1, True)
        return call.load(call.unpack("result", content))[1]

    error = sent(raises_with_a_chain)
    assert repr(error) == "ValueError('outer')"
    assert error.__cause__ is error.__context__
    assert (repr(error.__cause__), error.__suppress_context__) == ("KeyError('x')", True)
    deepest = error.__cause__.__context__
    assert (type(deepest), str(deepest)) == (call.RemoteError, f"{__name__}.Unsent: deep"), "it cannot be pickled"
    (note,) = error.__notes__
    assert note.startswith("On the machine:\nTraceback"), "where it was raised"
    assert ("raise Unsent" in note, "answer_of" in note) == (True, False)
    assert capsys.readouterr().err.startswith(f"{call.RAISED}\nTraceback")

    group = sent(raises_a_group)
    assert group.__suppress_context__
    assert group.__cause__ is None
    assert [repr(one) for one in group.exceptions] == [
        "LookupError('inner')",
        "ExceptionGroup('more', [ValueError(1)])",
    ]
    assert group.exceptions[0].__cause__.filename == "file"


SCRIPT = """
import functools, pickle, sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from sky_core.broker.calls import pack

@functools.lru_cache(maxsize=50)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

@dataclass
class Point:
    x: int

def double(n):
    return 2 * n

def work():
    with ProcessPoolExecutor(1) as pool:
        doubled = list(pool.map(double, [1, 2]))
    return fib(40), fib.cache_info().maxsize, pickle.loads(pickle.dumps(Point(3))).x, doubled

Path(sys.argv[1]).write_bytes(pack(work, [], {})[0])
"""


def test_a_script_is_whole_where_it_is_called(tmp_path):
    """A cached function that calls itself, and what the call pickles of the script it comes from."""
    (tmp_path / "script.py").write_text(SCRIPT)
    subprocess.run([sys.executable, "script.py", "packed"], cwd=tmp_path, check=True)
    body = "import sys; from sky_core.remote.agent import call; sys.exit(call.main('packed'))"
    environ = {**os.environ, "SKY_OUTPUT_RESULT": str(tmp_path / "result")}
    subprocess.run([sys.executable, "-c", body], cwd=tmp_path, env=environ, check=True)
    assert load_result((tmp_path / "result").read_bytes()) == (102334155, 50, 3, [2, 4])
