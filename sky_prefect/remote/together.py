"""Calls that share a machine with others of their batch: one job for a lot, and each call's own answer out of it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from sky_core.errors import TaskFailed
from sky_core.remote.artifacts import load_result
from sky_prefect.needs import with_secrets
from sky_prefect.remote.job import Calls, run_job, show_state, teller
from sky_prefect.remote.lots import Call
from sky_prefect.remote.machine import InTurn
from sky_prefect.remote.packing import Listener, explained, from_machine, ready, turn_of
from sky_prefect.window import Batch, Node


def made_together(
    node: Node, calls: Calls, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """What a call comes to that shares its machine with those of its batch."""
    batch = node.batch
    assert batch is not None
    make = functools.partial(_make, batch, calls)
    sent, secrets = ready(function)
    member = Member(node, Listener(get_run_logger()), secrets)
    while True:
        content, now = batch.lots.call(node, make, sent, args, kwargs, member)
        try:
            value = from_machine(load_result(content))
        except Exception as error:  # noqa: BLE001 - the user's
            failure = explained(error)
        except BaseException as left:  # noqa: BLE001 - an exit there is a failure here
            code = getattr(left, "code", 1)
            failure = TaskFailed(node.name, code if isinstance(code, int) else 1, repr(left))
        else:
            if now or not (isinstance(value, State) and value.is_failed()):
                return value
            continue  # what an earlier run has found to fail, this one is to try anew
        if now:
            raise failure


@dataclass(frozen=True)
class Member:
    """What goes along with the call of one of a batch."""

    node: Node
    listener: Listener
    secrets: Mapping[str, str]


def _make(batch: Batch, calls: Calls, lot: list[Call]) -> None:
    """Have one job make the calls of a lot, one after the other."""
    members = [cast(Member, call.along) for call in lot]
    nodes = [member.node for member in members]
    on_machine = f"on the machine of {batch.name}"
    turn = Turn(
        [member.listener for member in members], lambda number: show_state(nodes[number], "Running", on_machine)
    )
    # The same lot, asked for again by a run that was killed, is the same job.
    names = "\n".join(f"{node.name} {call.tried}" for node, call in zip(nodes, lot, strict=True))
    stem = f"{calls.plan_key}/{batch.name}/{hashlib.sha256(names.encode()).hexdigest()[:16]}"
    secrets = {name: value for member in members for name, value in member.secrets.items()}
    together = InTurn([(call.function, call.args, call.kwargs) for call in lot])
    job, found = run_job(
        calls, stem, batch.name, with_secrets(batch.needs, secrets), nodes[0].task_run, together, (), {},
        on_event=teller(nodes, members[0].listener.logger), on_log=turn.hear,
    )  # fmt: skip
    for call, content in zip(lot, calls.broker.value(job), strict=True):
        call.answer.set_result((content, not found))


class Turn:
    """A lot's log, line by line: each to the log of the call whose turn it is."""

    def __init__(self, listeners: Sequence[Listener], on_turn: Callable[[int], None]) -> None:
        self._listeners, self._on_turn, self._now = listeners, on_turn, 0

    def hear(self, line: str) -> None:
        """Take the next line."""
        number = turn_of(line)
        if number is None or number >= len(self._listeners):
            self._listeners[self._now].hear(line)
        else:
            self._now = number
            self._on_turn(number)
