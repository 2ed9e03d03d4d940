"""A task's function made ready for a machine, where there is no flow run and perhaps no Prefect."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

from prefect import Task, states
from prefect.futures import PrefectFutureList
from prefect.logging import get_run_logger

from sky_prefect.remote import machine

Logger = logging.Logger | logging.LoggerAdapter[Any]
LEVELS = logging.getLevelNamesMapping()
STATES = ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling")  # that a function may make and return
API = {"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false", "PREFECT_LOGGING_TO_API_ENABLED": "false"}
"""Variables of every task: code that asks for Prefect's API on a machine is refused, instead of starting a server."""

NO_API = (
    "Prefect's API cannot be used on a machine: read variables and blocks in the flow and pass their values, and take "
    "concurrency limits by the task's tags"
)
NO_PREFECT = (
    "machines have no Prefect but the run's logger, nested tasks and returned states; for more, have setup install "
    f"it. Even so: {NO_API}"
)


def for_machine(thing: Any) -> Any:
    """What stands for an object of Prefect's on a machine; any other object is returned as it is."""
    if type(thing) is PrefectFutureList:
        return list(thing)
    if thing is get_run_logger:
        return machine.run_logger
    if isinstance(thing, FunctionType) and thing.__module__ == states.__name__ and thing.__name__ in STATES:
        return machine.StateMaker(thing.__name__)
    if isinstance(thing, Task):
        return machine.NestedTask(thing.fn, thing.name, thing.retries, thing.retry_delay_seconds)
    return thing


def from_machine(value: Any) -> Any:
    """What a function has returned, as it would have here: a state that it made is one of Prefect's."""
    if type(value).__name__ != machine.MadeState.__name__:  # by its name: its class may have come with it
        return value
    made: Any = getattr(states, value.name)
    return made(**{field: given for field, given in value.fields.items() if field != "cls"})


def ready(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, or wrapped so that Prefect's logger works if its body imports it."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is not None and "get_run_logger" not in getattr(function, "__globals__", {}) and _names_logger(code):
        return machine.WithPrefect(function, machine.run_logger)
    return function


def _names_logger(code: CodeType) -> bool:
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return "get_run_logger" in code.co_names or any(map(_names_logger, inner))


def log_line(logger: Logger, line: str) -> None:
    """Log a line of a job's log: one that the task logged at its level, one that it printed as information."""
    _, mark, rest = line.partition(machine.MARK)
    level, mark, text = rest.partition(machine.MARK)
    if not mark or level not in LEVELS:
        logger.info("%s", line)
        return
    logger.log(LEVELS[level], "%s", text.removeprefix(" ").replace(machine.NEWLINE, "\n"))


def explained(error: Exception) -> Exception:
    """A function's own error; one about Prefect or its API, which it has missed on the machine, with what to do."""
    note = None
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "prefect":
        note = NO_PREFECT
    elif "Prefect API" in str(error):
        note = NO_API
    if note and note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return error
