"""The values of cloud tasks in the flow's process: what Prefect, hooks, caches and the flow itself get to see.

A value that was made in a cloud is loaded here when its task ends, so that everything that Prefect does with a value
is done with this one. Where it also lies is remembered, and a cloud task that takes it loads it from there. Only a
value that cannot be loaded here (its package is on the machines, and not where the flow runs) stays a reference.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from prefect.client.schemas.objects import State
from prefect.results import ResultRecord, should_persist_result  # type: ignore[attr-defined]  # passed on by it
from pydantic import PrivateAttr

from sky_core.broker import Broker
from sky_core.broker.calls import RESULT, Reference
from sky_core.errors import TransferError
from sky_core.store import Job
from sky_prefect.remote.packing import from_machine

INLINE = 16 << 10  # bytes; a smaller value goes along with the call instead of by way of a bucket

for_a_machine: ContextVar[bool] = ContextVar("sky_for_a_machine", default=False)
"""Whether what is resolved now goes to a machine, which can follow references that cannot be followed here."""


class Values:
    """Where the values of this runner's cloud tasks lie, by the identity of the objects loaded here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, tuple[Any, Reference]] = {}  # with the object, so that its id is not given to another

    def of(self, broker: Broker, job: Job) -> Any:
        """What the function of a job that succeeded has returned; a reference if that cannot be loaded here.

        Raises:
            TransferError: if it cannot be loaded here and Prefect is to keep it.
        """
        from sky_core.remote.artifacts import load_result

        reference = Reference(job.id, broker.outputs(job)[RESULT])
        try:
            if "value" not in job.result:
                return broker.value(job)  # says why it is not here
            content = broker.store.payload(job.result["value"])
            value = from_machine(load_result(content))
        except TransferError:
            if should_persist_result():
                raise
            return reference
        if len(content) > INLINE:
            with self._lock:
                self._known[id(value)] = value, reference
        return value

    def reference(self, value: Any) -> Reference | None:
        """Where an object lies that has come from a cloud; None for any other, and for one that is small."""
        found = self._known.get(id(value))
        return found[1] if found else None


class ValueElsewhere(ResultRecord[Any]):
    """A state's record of a value that was left where it was made: each look at it fetches it, or says why not."""

    _fetch: Callable[[], Any] = PrivateAttr()

    def __getattribute__(self, name: str) -> Any:
        if name == "result" and not for_a_machine.get():
            return self._fetch()
        return super().__getattribute__(name)


def without_reference(state: State[Any], broker: Broker) -> State[Any]:
    """A task run's final state; if its value is a reference, with a record that hands out the value instead."""
    record = state.data
    if isinstance(record, ResultRecord) and isinstance(record.result, Reference):
        reference = record.result
        lazy = ValueElsewhere(metadata=record.metadata, result=reference)
        lazy._fetch = lambda: broker.value(broker.job(reference.job_id))
        state.data = lazy
    return state
