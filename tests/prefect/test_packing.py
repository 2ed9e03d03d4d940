"""Functions that use Prefect work on a machine that has none, and say there what they would say here."""

import json
import logging
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import prefect
import prefect.artifacts
from prefect import State, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.blocks.system import Secret
from prefect.events import emit_event
from prefect.runtime import flow_run, task_run
from prefect.states import Failed
from prefect.variables import Variable
from pydantic import SecretBytes, SecretStr

from sky_core.broker.calls import pack
from sky_core.remote.agent import call
from sky_core.remote.agent.call import RAISED
from sky_prefect.needs import build_task
from sky_prefect.remote.along import as_variable
from sky_prefect.remote.packing import Listener, Sealed, explained, for_machine, from_machine, log_line, ready

# What a machine does with a call, without Prefect and with nothing of ours.
RECEIVE = """
    import pickle, sys
    sys.modules["prefect"] = sys.modules["sky_prefect"] = sys.modules["sky_core"] = None
    with open(sys.argv[1], "rb") as file:
        file.readline(), pickle.load(file)
        function, args, kwargs = pickle.load(file)
    print("value", function(*args, **kwargs))
"""

tries = []


@task(retries=2, retry_delay_seconds=0.01)
def shaky(x):
    tries.append(x)
    if len(tries) < 3:
        raise ValueError(x)
    return 10 * x


@task
async def later(x):
    return x + 1


@task
def countdown(n):
    yield from range(n, 0, -1)


def nested(x):
    import asyncio

    get_run_logger().warning("here\n  and there")
    get_run_logger().info("%d of %d", 1, 2)
    try:
        get_run_logger().log(25, "between")
        raise KeyError(x)
    except KeyError:
        get_run_logger().exception("caught\r\nit")
    return shaky(x), asyncio.run(later(x)), countdown(2), shaky.submit(x).result(), shaky.name


def returns_a_state():
    made = Failed(message="no", name="Refused")
    return made.name, made.fields


def on_a_machine(function, args, tmp_path):
    payload, _ = pack(ready(function)[0], args, {}, plain=for_machine)
    (tmp_path / "call").write_bytes(payload)
    command = [sys.executable, "-c", textwrap.dedent(RECEIVE), tmp_path / "call"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_tasks_and_the_run_logger_go_along(tmp_path, caplog):
    said = on_a_machine(nested, (4,), tmp_path)
    assert said[-1] == "value (40, 5, [2, 1], 40, 'shaky')"
    logger = logging.getLogger("here")
    with caplog.at_level(logging.DEBUG, "here"):
        for line in [*said[:-1], "printed 100%", "\x1fLOUD\x1f no level"]:
            log_line(logger, line)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "here\n  and there"),
        ("INFO", "1 of 2"),
        ("Level 25", "between"),
        ("ERROR", "caught\r\nit"),
        ("INFO", "nested task 'shaky' failed with exception: ValueError(4) - retry 1/2 follows"),
        ("INFO", "nested task 'shaky' failed with exception: ValueError(4) - retry 2/2 follows"),
        ("INFO", "printed 100%"),
        ("INFO", "\x1fLOUD\x1f no level"),
    ]
    traces = [record.exc_text for record in caplog.records if record.exc_text]
    assert len(traces) == 1
    assert traces[0].startswith("Traceback (most recent call last):\n")
    assert traces[0].endswith("\nKeyError: 4")


def test_a_traceback_in_the_job_s_log_is_not_said_again(caplog):
    """Prefect logs the exception itself, with its traceback as a note."""
    lines = ["before", RAISED, "Traceback", "ValueError: x", "\x1f30\x1f logged at exit"]
    with caplog.at_level(logging.DEBUG, "raised"):
        listener = Listener(logging.getLogger("raised"))
        for line in lines:
            listener.hear(line)
    assert [record.levelname for record in caplog.records] == ["INFO", "DEBUG", "DEBUG", "DEBUG", "WARNING"]


def test_a_state_made_on_a_machine_is_one_of_prefect_s_here(tmp_path):
    assert on_a_machine(returns_a_state, (), tmp_path) == ["value ('Failed', {'message': 'no', 'name': 'Refused'})"]
    state = from_machine(for_machine(Failed)(message="no", name="Refused"))
    assert isinstance(state, State)
    assert (state.type.value, state.name, state.message) == ("FAILED", "Refused", "no")
    assert from_machine(3) == 3


def test_a_logger_that_the_function_imports_itself_works_too():
    def imports():
        from prefect import get_run_logger

        get_run_logger().info("x")

    assert ready(nested) == (nested, {})
    assert ready(imports)[0].__qualname__ == imports.__qualname__
    program = """
        import sys
        from sky_prefect.remote.packing import ready
        def imports():
            from prefect import get_run_logger
            from prefect.logging import get_run_logger as again
            get_run_logger().info("one"), again().error("two")
        sent, _ = ready(imports)
        for hidden in ([], [name for name in sys.modules if name.partition(".")[0] == "prefect"]):
            sys.modules.update(dict.fromkeys(hidden))
            sent()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert done.stdout.splitlines() == 2 * ["\x1f20\x1f one", "\x1f40\x1f two"], done.stderr


def the_limit():
    return Variable.get("limit")


def asks_and_tells(x):
    import json

    from prefect.logging import get_run_logger as again
    from prefect.runtime import task_run as mine

    again().info("at %s", mine.run_count)
    key = create_markdown_artifact("# Done", key="done")
    prefect.artifacts.update_progress_artifact(artifact_id=key, progress=1.0)
    emit_event("seen", {"prefect.resource.id": "x"}, payload={"x": x})
    missing = Variable.get("absent", default="none")
    refused = []
    for ask in (
        lambda: Variable.get("".join(["un", "named"])),
        lambda: Variable.set("limit", 2),
        lambda: prefect.no_such_thing,
    ):
        try:
            ask()
        except (RuntimeError, AttributeError) as error:
            refused.append("API cannot be used" in str(error))
    return json.dumps([the_limit(), Secret.load("word").get(), task_run.name, flow_run.parameters, missing, refused])


def test_what_a_function_asks_of_prefect_goes_along_and_what_it_tells_comes_back(tmp_path, monkeypatch, caplog):
    asked = []

    def asks(names, variables, secrets):
        asked.append((set(names), variables, secrets))
        return {"limit": 3}, {"word": {"a": "canary"}}

    monkeypatch.setattr("sky_prefect.remote.along._asked", asks)
    for name, value in {"TASK_RUN__NAME": "a-1", "TASK_RUN__RUN_COUNT": "2"}.items():
        monkeypatch.setenv(f"PREFECT__RUNTIME__{name}", value)
    sent, secrets = ready(asks_and_tells)
    assert {"limit", "word", "absent"} < asked[0][0]
    assert asked[0][1:] == (True, True)
    assert list(secrets.values()) == [as_variable({"a": "canary"})], "to be sealed"
    payload, _ = pack(sent, (4,), {}, plain=for_machine)
    assert b"canary" not in payload
    monkeypatch.setenv(*next(iter(secrets.items())))
    *told, value = on_a_machine(asks_and_tells, (4,), tmp_path)
    assert json.loads(value.removeprefix("value ")) == [
        3, {"a": "canary"}, "a-1", {}, "none",
        [True, True, True],
    ]  # fmt: skip

    done = []
    monkeypatch.setattr("prefect.artifacts.create_markdown_artifact", lambda **given: done.append(given) or "real id")
    monkeypatch.setattr("prefect.artifacts.update_progress_artifact", lambda **given: done.append(given))
    monkeypatch.setattr("sky_prefect.remote.packing.emit_event", lambda **given: done.append(given))
    listener = Listener(logging.getLogger("told"))
    with caplog.at_level(logging.INFO, "told"):
        for line in [*told, '\x1fSAYS\x1f {"what": "system", "said": {}, "id": 1}', "\x1fSAYS\x1f {"]:
            listener.hear(line)
    assert done == [
        {"markdown": "# Done", "key": "done", "_sync": True},
        {"artifact_id": "real id", "progress": 1.0, "_sync": True},
        {"event": "seen", "resource": {"prefect.resource.id": "x"}, "payload": {"x": 4}},
    ]
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "WARNING"], "and does nothing else"


@dataclass
class Login:
    user: str
    password: SecretStr


def uses_secrets(block, login, key, again):
    texts = [block.get(), block.value.get_secret_value(), login.password.get_secret_value(), key.get_secret_value()]
    return texts, isinstance(block, Secret), str(login), len(key), key == again, key is again


def test_secrets_that_a_function_is_given_go_sealed(tmp_path, monkeypatch):
    key = SecretBytes(b"canary-key")
    given = Secret(value="[1]"), Login("me", SecretStr("canary-word")), key, key
    sealed = Sealed()
    payload, _ = pack(uses_secrets, given, {}, plain=sealed.for_machine)
    assert b"canary" not in payload
    assert len(sealed.values) == 3
    for name, value in sealed.values.items():
        monkeypatch.setenv(name, value)
    function, args, kwargs = call.loaded(call.unpack("call", payload))
    assert function(*args, **kwargs) == (
        [[1], "[1]", "canary-word", b"canary-key"],
        True, "Login(user='me', password=SecretStr('**********'))", 10, True, True,
    )  # fmt: skip


def test_the_api_is_refused_on_a_machine_and_the_refusal_says_what_to_do():
    task = build_task("t", {"cpus": 1, "envs": {"A": "1"}}, function="planned")
    assert task.envs == {
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false", "PREFECT_LOGGING_TO_API_ENABLED": "false", "A": "1",
    }  # fmt: skip
    error = explained(explained(ValueError("No Prefect API URL provided.")))
    assert "concurrency limits by the task's tags" in "".join(error.__notes__)
    assert len(error.__notes__) == 1
    (note,) = explained(ModuleNotFoundError("No module named 'prefect'", name="prefect.variables")).__notes__
    assert "have setup install it" in note
    assert not hasattr(explained(ValueError("mine")), "__notes__")
