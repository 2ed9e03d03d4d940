"""A log's bytes as lines, as they come."""

from __future__ import annotations


class Lines:
    """Cuts what a command prints into lines, for readers that take whole lines only.

    A progress bar draws one line again and again, each time after a carriage return. Of that line it gives what
    would be seen of it: how it stands each time more of it has come, and how it stood in the end.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._shown = b""

    def feed(self, data: bytes, *, end: bool = False) -> list[str]:
        """The lines that ``data`` completes, the unfinished one as well at the ``end``, and how a drawn one stands."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if end and self._rest:
            whole, self._rest = [*whole, self._rest], b""
        found = [seen for line in whole if (seen := self._seen(line)) is not None]
        if b"\r" in self._rest:
            drawn = self._rest.rpartition(b"\r")[0].rstrip(b"\r").rpartition(b"\r")[2]
            self._rest = b"\r" + drawn + self._rest[self._rest.rindex(b"\r") :]  # what it was before is painted over
            if drawn.strip() and drawn != self._shown:
                self._shown = drawn
                found.append(drawn)
        return [line.decode(errors="replace") for line in found]

    def _seen(self, line: bytes) -> bytes | None:
        """What is seen of a line in the end; None if that was given already."""
        if b"\r" not in line:
            return line
        states = [state for state in line.split(b"\r") if state.strip()]
        last, shown, self._shown = (states[-1] if states else b""), self._shown, b""
        return None if states and last == shown else last
