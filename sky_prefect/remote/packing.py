"""A task's function made ready for a machine, where there is no flow run and perhaps no Prefect."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any

import pydantic
from prefect import Task, artifacts, states
from prefect.blocks.system import Secret
from prefect.events import emit_event
from prefect.futures import PrefectFutureList
from prefect.transactions import get_transaction
from pydantic import SecretBytes, SecretStr

from sky_core.remote.agent.call import RAISED
from sky_prefect.remote import machine, standins
from sky_prefect.remote.along import MODULES, TOLD, along, as_variable, stand_in
from sky_prefect.remote.standins import REFUSED

LINE_ENDS = str.maketrans(machine.IN_THEIR_PLACE, machine.LINE_ENDS)
Logger = logging.Logger | logging.LoggerAdapter[Any]
API = {"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false", "PREFECT_LOGGING_TO_API_ENABLED": "false"}
"""Variables of every task: code that asks for Prefect's API on a machine is refused, instead of starting a server."""

NO_API = f"{REFUSED}."
NO_PREFECT = f"machines have no Prefect but what goes along; for more, have setup install it. Even so: {NO_API}"


class Sealed:
    """The secrets among what a call is given: each goes sealed, as a variable of its job's environment.

    Attributes:
        values: By variable.
    """

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self._seen: dict[int, tuple[Any, standins.SealedValue]] = {}  # with the object, so that its id stays its own

    def for_machine(self, thing: Any) -> Any:
        """As :func:`for_machine`; for a secret what reads it from there."""
        if isinstance(thing, Secret):
            return standins.Secret(thing.value)
        if not isinstance(thing, SecretStr | SecretBytes | pydantic.Secret):
            return for_machine(thing)
        if id(thing) not in self._seen:
            variable = f"SKY_PREFECT_GIVEN_{len(self._seen)}"
            self.values[variable] = as_variable(thing.get_secret_value())
            self._seen[id(thing)] = thing, standins.SealedValue(variable)
        return self._seen[id(thing)][1]


def for_machine(thing: Any) -> Any:
    """What stands for an object of Prefect's on a machine; any other object is returned as it is."""
    if type(thing) is PrefectFutureList:
        return list(thing)
    if isinstance(thing, Task):
        return machine.NestedTask(thing.fn, thing.name, thing.retries, thing.retry_delay_seconds)
    found = stand_in(thing)
    return thing if found is None else found


def from_machine(value: Any) -> Any:
    """What a function has returned, as it would have here: a state that it made is one of Prefect's."""
    if type(value).__name__ != machine.MadeState.__name__:  # by its name: its class may have come with it
        return value
    made: Any = getattr(states, value.name)
    return made(**{field: given for field, given in value.fields.items() if field != "cls"})


def ready(function: Callable[..., Any]) -> tuple[Callable[..., Any], Mapping[str, str]]:
    """The function as it is sent, for the present task run, and what has to be sealed for it, by variable."""
    goes = along(function)
    if goes is None:
        return function, {}
    return machine.WithPrefect(function, MODULES, standins.Here, goes.about), goes.secrets


class Listener:
    """Takes a job's log, line by line: what its task logs and prints to the task run's log, what it tells to Prefect.

    Args:
        logger: The task run's, which is the present one.
    """

    def __init__(self, logger: Logger) -> None:
        self.logger, self._context = logger, copy_context()
        self._ids: dict[str, Any] = {}  # of artifacts here, by their id on the machine
        self._raised = False

    def hear(self, line: str) -> None:
        """Take the next line."""
        level, text = marked(line)
        self._raised = self._raised or line == RAISED
        if level == standins.SAYS:
            self._context.run(self._tell, text)
        elif self._raised and not level:  # Prefect logs the exception itself, and its traceback is a note of it
            self.logger.debug("%s", line)
        else:
            log_line(self.logger, line)

    def _tell(self, text: str) -> None:
        try:
            told = json.loads(text)
            what, said = told["what"], told["said"]
            if "artifact_id" in said:
                said["artifact_id"] = self._ids[said["artifact_id"]]
            if what == "set":
                transaction = get_transaction()
                assert transaction is not None, "there is no transaction"
                transaction.set(said["name"], said["value"])
                return
            do: Any = emit_event if what == "emit_event" else getattr(artifacts, what) if what in TOLD else None
            self._ids[told["id"]] = do(**said) if what == "emit_event" else do(**said, _sync=True)
        except Exception as error:  # noqa: BLE001 - what a machine wrote may be anything, and must not end the flow
            self.logger.warning("the machine told Prefect what it does not take: %s", error)


def marked(line: str) -> tuple[str, str]:
    """What a line of a job's log is marked as, a level or another word of the machine's, and its text; or no mark."""
    _, _, rest = line.partition(machine.MARK)
    level, mark, text = rest.partition(machine.MARK)
    return (level, text) if mark else ("", line)


def log_line(logger: Logger, line: str) -> None:
    """Log a line of a job's log: one that the task logged at its level, one that it printed as information."""
    level, text = marked(line)
    if not level.isdecimal():
        logger.info("%s", line)
        return
    message, _, trace = text.removeprefix(" ").translate(LINE_ENDS).partition(machine.TRACE)
    if trace:
        _log_with_trace(logger, int(level), message, trace)
    else:
        logger.log(int(level), "%s", message)


def _log_with_trace(logger: Logger, level: int, message: str, trace: str) -> None:
    """Log a record with a traceback that is a text: ``exc_info`` would have to be an exception."""
    given: Any = {}
    while isinstance(logger, logging.LoggerAdapter):
        _, given = logger.process(message, given)
        logger = logger.logger
    if logger.isEnabledFor(level):
        extra = given.get("extra")
        record = logger.makeRecord(logger.name, level, __file__, 0, "%s", (message,), None, extra=extra)
        record.exc_text = trace
        logger.handle(record)


def turn_of(line: str) -> int | None:
    """The number of the call whose turn a line of a job's log announces; None for any other line."""
    level, number = marked(line)
    return int(number) if level == machine.TURN and number.strip().isdigit() else None


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
