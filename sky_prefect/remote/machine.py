"""What goes along with a task's function to its machine. Needs the standard library only.

On a machine there is no flow run and no Prefect API, and perhaps no Prefect. What a function uses of Prefect and can
be had without them is replaced by what is here; all of this file travels by value (:mod:`sky_core.broker.calls.local`).
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

MARK = "\x1f"  # around a record's level, at the start of its line in the job's log
TURN = "TURN"  # in place of a level: from here on it is the turn of the call of that number
LINE_ENDS, IN_THEIR_PLACE = "\n\r", "\x17\x15"  # within a record
TRACE = "\x16"  # between a record's message and its traceback


class ToTheFlow(logging.Handler):
    """Writes each record as one line that :func:`sky_prefect.remote.packing.log_line` reads where the flow runs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, with its traceback if it has one, to the job's log."""
        message, whole = record.getMessage(), self.format(record)
        text = message + TRACE * (len(whole) > len(message)) + whole[len(message) + 1 :]
        text = text.translate(str.maketrans(LINE_ENDS, IN_THEIR_PLACE))
        print(f"{MARK}{record.levelno}{MARK} {text}", file=sys.stdout, flush=True)


def run_logger(context: Any = None, **extra: Any) -> logging.LoggerAdapter[logging.Logger]:
    """Prefect's ``get_run_logger`` on a machine: what is logged arrives in the task run's log, at its level."""
    logger = logging.getLogger("skyloom.task")
    if not logger.handlers:
        logger.addHandler(ToTheFlow())
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    return logging.LoggerAdapter(logger, extra)


class NestedFuture:
    """What a nested task's ``submit`` gives: it is done already."""

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self._value, self._error = value, error

    def wait(self, timeout: float | None = None) -> None:
        """Nothing to wait for."""

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """The value; what the task raised is raised, or else returned."""
        if self._error is not None and raise_on_failure:
            raise self._error
        return self._value if self._error is None else self._error


class NestedTask:
    """A task that a task's function calls on its machine: it runs there as part of that task, with its retries."""

    def __init__(self, function: Callable[..., Any], name: str, retries: int, delays_s: float | list[float] | None):
        self.fn, self.name, self.retries = function, name, retries
        self._delays_s = delays_s

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function; a generator's values come as a list, a coroutine is the caller's to await."""
        if inspect.iscoroutinefunction(self.fn):
            return self._awaited(args, kwargs)
        for tried in range(self.retries + 1):
            try:
                value = self.fn(*args, **kwargs)
                return list(value) if inspect.isgenerator(value) else value
            except Exception as error:
                if tried == self.retries:
                    raise
                time.sleep(self._failed(tried, error))
        return None

    async def _awaited(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Any:
        for tried in range(self.retries + 1):
            try:
                return await self.fn(*args, **kwargs)
            except Exception as error:
                if tried == self.retries:
                    raise
                await asyncio.sleep(self._failed(tried, error))
        return None

    def _failed(self, tried: int, error: Exception) -> float:
        """Tell of a failed try; how many seconds to wait before the next."""
        again = f"retry {tried + 1}/{self.retries} follows"
        run_logger().info("nested task %r failed with exception: %r - %s", self.name, error, again)
        delays = self._delays_s or 0
        return float(delays if isinstance(delays, int | float) else delays[min(tried, len(delays) - 1)])

    def submit(self, *args: Any, **kwargs: Any) -> NestedFuture:
        """Run it now."""
        try:
            value = self(*args, **kwargs)
            return NestedFuture(asyncio.run(value) if inspect.iscoroutine(value) else value)
        except Exception as error:  # noqa: BLE001 - its result() raises it
            return NestedFuture(error=error)


class StateMaker:
    """One of ``prefect.states``' functions: what it makes is a state of Prefect's once it is where the flow runs."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, **fields: Any) -> MadeState:
        """The state, as yet unmade; the class that Prefect lets be named is left out."""
        return MadeState(self.name, fields)


class MadeState:
    """A state that a function has made on its machine: the function of ``prefect.states``, and what it was given."""

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self.name, self.fields = name, fields


class WithPrefect:
    """A function that uses Prefect by itself, with what stands for it on a machine.

    Args:
        modules: What stands for Prefect's modules, by name.
        here: What of :class:`sky_prefect.remote.standins.Here` is the call's own.
    """

    def __init__(self, function: Callable[..., Any], modules: Mapping[str, Any], here: type, about: Mapping[str, Any]):
        self.function, self.modules, self.here, self.about = function, modules, here, about
        self.__qualname__ = getattr(function, "__qualname__", repr(function))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Let imports of Prefect find what stands for it, and call the function."""
        for name, value in self.about.items():
            setattr(self.here, name, value)
        for name, module in self.modules.items():
            try:
                real = importlib.import_module(name)
            except ImportError:
                real = module
            if real is module or not hasattr(module, "members"):
                sys.modules[name] = module
            else:  # setup has installed Prefect
                vars(real).update(module.members)
        return self.function(*args, **kwargs)


class InTurn:
    """Calls that one machine makes one after the other, as one job. What one of them raises does not stop the next."""

    def __init__(self, calls: Iterable[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]) -> None:
        self.calls = list(calls)

    def __call__(self) -> list[bytes]:
        """Make them; what came of each, packed by itself as the agent packs the result of a single call."""
        from skyloom_agent import call  # type: ignore[import-not-found]  # where this runs, the agent does, too

        results: list[bytes] = []
        self.calls.reverse()
        while self.calls:
            print(f"{MARK}{TURN}{MARK} {len(results)}", flush=True)
            function, args, kwargs = self.calls.pop()  # its arguments are not needed any longer than it runs
            answer, _ = call.answer_of(functools.partial(function, *args, **kwargs))
            results.append(call.packed(answer)[0])
        return results
