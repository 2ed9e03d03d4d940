"""Functions that use Prefect work on a machine that has none, and say there what they would say here."""

import logging
import subprocess
import sys
import textwrap

from prefect import State, get_run_logger, task
from prefect.states import Failed

from sky_core.broker.calls import pack
from sky_prefect.needs import build_task
from sky_prefect.remote.packing import explained, for_machine, from_machine, log_line, ready

# What a machine does with a call, without Prefect and with nothing of ours.
RECEIVE = """
    import pickle, sys
    sys.modules["prefect"] = sys.modules["sky_prefect"] = sys.modules["sky_core"] = None
    with open(sys.argv[1], "rb") as file:
        file.readline()
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
    return shaky(x), asyncio.run(later(x)), countdown(2), shaky.submit(x).result(), shaky.name


def returns_a_state():
    made = Failed(message="no", name="Refused")
    return made.name, made.fields


def on_a_machine(function, args, tmp_path):
    payload, _ = pack(ready(function), args, {}, plain=for_machine)
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
        ("INFO", "nested task 'shaky' failed with exception: ValueError(4) - retry 1/2 follows"),
        ("INFO", "nested task 'shaky' failed with exception: ValueError(4) - retry 2/2 follows"),
        ("INFO", "printed 100%"),
        ("INFO", "\x1fLOUD\x1f no level"),
    ]


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

    assert ready(nested) is nested
    assert ready(imports).__qualname__ == imports.__qualname__
    program = """
        import sys
        from sky_prefect.remote import machine
        def imports():
            from prefect import get_run_logger
            from prefect.logging import get_run_logger as again
            get_run_logger().info("one"), again().error("two")
        machine.WithPrefect(imports, machine.run_logger)()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["\x1fINFO\x1f one", "\x1fERROR\x1f two"], done.stderr


def test_the_api_is_refused_on_a_machine_and_the_refusal_says_what_to_do():
    task = build_task("t", {"cpus": 1, "envs": {"A": "1"}}, function="planned")
    assert task.envs == {
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false", "PREFECT_LOGGING_TO_API_ENABLED": "false", "A": "1",
    }  # fmt: skip
    error = explained(explained(ValueError("No Prefect API URL provided.")))
    assert "read variables" in "".join(error.__notes__)
    assert len(error.__notes__) == 1
    (note,) = explained(ModuleNotFoundError("No module named 'prefect'", name="prefect.variables")).__notes__
    assert "have setup install it" in note
    assert not hasattr(explained(ValueError("mine")), "__notes__")
