"""A sign of life while a terminal waits: what is being done, from the first moment on.

Standard library only, and started before anything that takes long to import. It draws on stderr, only if that is a
terminal, and leaves the cursor where the next thing printed takes its place.
"""

from __future__ import annotations

import sys
import threading

FRAMES, PLAIN_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
TICK_S = 0.1
CLEAR = "\x1b[K"  # from the cursor to the end of the line


class Spinner:
    """Says what is being done until it is stopped."""

    def __init__(self) -> None:
        self._text = ""
        self._stopped = threading.Event()
        self._stopped.set()
        self._thread: threading.Thread | None = None

    def appear(self) -> None:
        """One frame, before it is known whether there is anything to wait for: whatever is printed covers it."""
        if sys.stderr.isatty():
            self._draw(0)

    def say(self, text: str) -> None:
        """Start, or say something else from now on."""
        self._text = text
        if not sys.stderr.isatty():
            return
        if not self._stopped.is_set():
            return
        self._stopped.clear()
        self._draw(0)
        self._thread = threading.Thread(target=self._turn, name="spinner", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it and leave an empty line to whoever prints next; nothing if it does not turn."""
        if self._thread is None:
            return
        self._stopped.set()
        self._thread.join()
        self._thread = None
        sys.stderr.write(CLEAR)
        sys.stderr.flush()

    def _turn(self) -> None:
        number = 1
        while not self._stopped.wait(TICK_S):
            self._draw(number)
            number += 1

    def _draw(self, number: int) -> None:
        frames = FRAMES if "utf" in (sys.stderr.encoding or "").lower() else PLAIN_FRAMES
        sys.stderr.write(f"{frames[number % len(frames)]} {self._text}{CLEAR}\r")
        sys.stderr.flush()


spinner = Spinner()
