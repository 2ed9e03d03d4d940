"""What stands for Prefect on a machine, beside :mod:`sky_prefect.remote.machine`. Needs the standard library only.

A machine has no Prefect API, no key, and perhaps no Prefect. What a function may ask for there was asked for where the
flow runs, before the call was sent, and came along (:class:`Here`): the runs' names and parameters, and the variables
that the function names; the values of secret blocks came sealed. What it tells (artifacts, events) goes back through
its log. Whatever else would need the API is refused.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import os
import pickle
import uuid
from typing import Any, ClassVar

SAYS = "SAYS"  # in place of a record's level: Prefect is to be told something
REFUSED = (
    "Prefect's API cannot be used on a machine: take concurrency limits by the task's tags, and read what the task's "
    "function does not name itself in the flow"
)
UNNAMED = "its name has to stand in the task's function"
BY_NAME = "by its name, in the task's function or in a local one that it calls"


class Here:
    """What a call knows of its runs; set before each call.

    Attributes:
        runs: What ``prefect.runtime`` says, by ``flow_run``, ``task_run`` and ``deployment``.
        variables: Values of those that the function names.
        written: What the call has set in its transaction.
        contexts: What ``TaskRunContext.get()`` and ``FlowRunContext.get()`` say, by class.
        absent: Names in the function that no variable or secret has.
        secrets: By block, the environment variable that has its value.
    """

    runs: ClassVar[dict[str, dict[str, Any]]] = {}
    contexts: ClassVar[dict[str, Any]] = {}
    written: ClassVar[dict[str, Any]] = {}
    variables: ClassVar[dict[str, Any]] = {}
    absent: ClassVar[frozenset[str]] = frozenset()
    secrets: ClassVar[dict[str, str]] = {}


class Runtime:
    """One of ``prefect.runtime``'s modules."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __getattr__(self, name: str) -> Any:
        """What the run's was when the call was sent."""
        try:
            return Here.runs[self.__dict__["kind"]][name]
        except KeyError:
            raise AttributeError(f"prefect.runtime: {name} is not known on a machine") from None


class Known:
    """An object of Prefect's: as much of it as came along."""

    def __init__(self, what: str, **fields: Any) -> None:
        self.__dict__.update(fields, _what=what)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python's own are asked for while this is unpickled
            raise AttributeError(name)
        raise AttributeError(f"{self.__dict__.get('_what')}.{name} is not known on a machine. {REFUSED}")


class Context(Known):
    """One of ``prefect.context``'s, as it was when the call was sent."""

    @classmethod
    def get(cls) -> Any:
        """The present one."""
        return Here.contexts.get(cls.__name__)


class TaskRunContext(Context):
    """``prefect.context.TaskRunContext``."""


class FlowRunContext(Context):
    """``prefect.context.FlowRunContext``."""


def get_run_context() -> Any:
    """``prefect.context.get_run_context``: the task run's."""
    found = TaskRunContext.get()
    if found is None:
        raise RuntimeError(f"No run context is known on this machine: call get_run_context {BY_NAME}. {REFUSED}")
    return found


class Transaction:
    """The task run's transaction: what is set is set there, for its hooks."""

    def set(self, name: str, value: Any) -> None:
        """Set a value, which is JSON: it goes by way of the log.

        Raises:
            TypeError: if it is not.
        """
        if json.loads(json.dumps(value)) != value:
            raise TypeError(f"{name!r}: a transaction on a machine takes what JSON can say, not {value!r}: return it")
        Here.written[name] = value
        say("set", uuid.uuid4(), {"name": name, "value": value})

    def get(self, name: str, default: Any = ...) -> Any:
        """What this call has set itself."""
        if name in Here.written:
            return Here.written[name]
        raise RuntimeError(f"the transaction's {name!r} is not known on a machine: get it in the flow and pass it")


def get_transaction() -> Transaction:
    """``prefect.transactions.get_transaction``."""
    return Transaction()


class Awaited:
    """A value that may also be awaited, as async functions do with Prefect's."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Any:
        yield from ()
        return self.value


def _given(value: Any) -> Any:
    """A value as Prefect's functions give it: to be awaited in a coroutine."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return value
    return Awaited(value)


class Variable:
    """``prefect.variables.Variable``: those that the task's function names."""

    @classmethod
    def get(cls, name: str, default: Any = None) -> Any:
        """The value when the call was sent; the default if there was none."""
        return _given(cls._get(name, default))

    @classmethod
    async def aget(cls, name: str, default: Any = None) -> Any:
        """The same, awaited."""
        return cls._get(name, default)

    @classmethod
    def set(cls, *args: Any, **kwargs: Any) -> Any:
        """Refused: set it in the flow."""
        raise RuntimeError(REFUSED)

    aset = unset = aunset = set

    @classmethod
    def _get(cls, name: str, default: Any) -> Any:
        if name in Here.variables:
            return Here.variables[name]
        if name in Here.absent:
            return default
        raise RuntimeError(
            f"the variable {name!r} did not come along: its name has to stand in the function. {REFUSED}"
        )


class SealedValue:
    """A secret value, as pydantic's ``SecretStr``: it came sealed, as a variable of the job's environment."""

    def __init__(self, variable: str) -> None:
        self._variable = variable

    def get_secret_value(self) -> Any:
        """The secret itself."""
        if self._variable not in os.environ:
            raise RuntimeError("this secret was sealed for a machine, and can only be read there")
        return pickle.loads(base64.b64decode(os.environ[self._variable]))  # noqa: S301 - the flow's process wrote it

    def __len__(self) -> int:
        return len(self.get_secret_value())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SealedValue) and self.get_secret_value() == other.get_secret_value()

    def __hash__(self) -> int:
        return hash(self.get_secret_value())

    def __repr__(self) -> str:
        return "SecretStr('**********')"

    def __str__(self) -> str:
        return "**********"


class Secret:
    """``prefect.blocks.system.Secret``: those that the task's function names, and those that it is given."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def get(self) -> Any:
        """The secret itself; of a text that is JSON what it says, as Prefect has it."""
        value = self.value.get_secret_value()
        try:
            return json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError:
            return value

    def __repr__(self) -> str:
        return f"Secret(value={self.value!r})"

    @classmethod
    def load(cls, name: str, **_: Any) -> Any:
        """The block of that name."""
        return _given(cls._load(name))

    @classmethod
    async def aload(cls, name: str, **_: Any) -> Any:
        """The same, awaited."""
        return cls._load(name)

    @classmethod
    def _load(cls, name: str) -> Any:
        name = name.rpartition("/")[2]
        if name in Here.secrets:
            return cls(SealedValue(Here.secrets[name]))
        if name in Here.absent:
            raise ValueError(f"Unable to find block document named {name} for block type secret")
        raise RuntimeError(f"the secret {name!r} did not come along: {UNNAMED}. {REFUSED}")


class Teller:
    """A function of Prefect's that tells of something, as ``create_table_artifact``: done where the flow runs."""

    def __init__(self, name: str, parameters: tuple[str, ...]) -> None:
        self.name, self.parameters = name, parameters

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Say so in the log. What is told has an id of its own there; by the one given here it can be updated."""
        said = {**dict(zip(self.parameters, args)), **kwargs}  # noqa: B905 - as Python binds them
        id = uuid.uuid4()
        say(self.name, id, said)
        return _given(id)


def say(what: str, id: uuid.UUID, said: dict[str, Any]) -> None:
    """Let the flow's process hear of it, in the log."""
    text = json.dumps({"what": what, "id": str(id), "said": said}, default=str)
    print(f"\x1f{SAYS}\x1f {text}", flush=True)


class Module:
    """A module of Prefect's: what stands for its members, and nothing else."""

    def __init__(self, name: str, members: dict[str, Any]) -> None:
        self.__name__, self.members = name, {key: one for key, one in members.items() if not isinstance(one, Module)}
        self.__dict__.update(members)

    def __getattr__(self, name: str) -> Any:
        """Any other member, where setup has installed Prefect; refused elsewhere."""
        if name.startswith("__"):  # Python's own are asked for while this is unpickled
            raise AttributeError(name)
        try:
            real = importlib.import_module(self.__name__)
        except ImportError:
            real = self  # type: ignore[assignment]
        if isinstance(real, Module):
            raise AttributeError(f"{self.__name__}.{name} is not to be had on a machine. {REFUSED}")
        return getattr(real, name)
