"""The cloud that this machine belongs to, as far as it can be asked from here (:mod:`.clouds`)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Protocol, cast


class OnMachine(Protocol):
    """A cloud's module."""

    def notices(self) -> Iterator[float | None]:
        """At each look None, or when the machine will be taken back, in seconds since the epoch by our clock."""


def module_of(cloud: str) -> OnMachine | None:
    """The module that came along for the cloud; None if it brought none, as for machines of the user's own."""
    name = f"{__package__}.clouds.{cloud}"
    try:
        return cast(OnMachine, importlib.import_module(name))
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def way_out(cloud: str) -> Callable[[], str] | None:
    """What asks the cloud to end this machine; None where powering off does."""
    found: Callable[[], str] | None = getattr(module_of(cloud), "end_bill", None)
    return found


def answerless() -> tuple[type[Exception], ...]:
    """What asking a cloud's service raises that gives no answer."""
    from http.client import HTTPException  # with it comes what reads mail: a fifth of what the agent's start takes

    return OSError, ValueError, KeyError, HTTPException  # URLErrors and time-outs are OSErrors
