"""Ctrl-C during a run: what is to become of it is asked first. Pressed once more, it cancels."""

from __future__ import annotations

import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sky_core.cli.terminal import complain, say

if TYPE_CHECKING:
    from types import FrameType

    from sky_core.cli.runs.screen import Screen

QUESTION = "Cancel the run (c), leave it running (l), or go on watching (Enter)? Ctrl-C again cancels: "


class LeftRunning(Exception):
    """Whoever sat there has left; the run goes on."""


class Interrupts:
    """Asks, where somebody can answer; elsewhere an interrupt stays one.

    Args:
        screen: What is on the screen meanwhile.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._pressed = False

    @contextmanager
    def heard(self, *, able: bool = True) -> Iterator[None]:
        """As long as Ctrl-C asks, if whoever asks is ``able`` to do as is answered."""
        if not (able and sys.stdin.isatty() and sys.stdout.isatty()):
            yield
            return
        before = signal.signal(signal.SIGINT, self._press)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _press(self, number: int, frame: FrameType | None) -> None:
        self._pressed = True

    def turn(self) -> None:
        """Ask, if it was pressed.

        Raises:
            KeyboardInterrupt: if the run is to be cancelled.
            LeftRunning: if it is to go on by itself.
        """
        if self._pressed:
            self._pressed = False
            with self._screen.aside():
                self._ask()
                say("going on", "dim")

    def _ask(self) -> None:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            while True:
                said = _answer().strip().lower()
                if said in ("c", "cancel"):
                    raise KeyboardInterrupt
                if said in ("l", "leave"):
                    raise LeftRunning
                if not said:
                    return
                complain(f"{said!r} is neither c nor l", "yellow")
        except EOFError:
            raise KeyboardInterrupt from None
        finally:
            signal.signal(signal.SIGINT, before)


def _answer() -> str:
    """The line that was typed. ``input`` misses a Ctrl-C between its question and its reading, until the next key."""
    print(QUESTION, end="", flush=True)
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        pass
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
