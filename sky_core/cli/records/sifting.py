"""What of a log is let through: the lines that a pattern is found in, those of a node."""

from __future__ import annotations

import re

from sky_core.errors import SpecError

OF_RANK = re.compile(rb"\(rank (\d+)\) ")  # how a gang's lines begin


class Sieve:
    """Lets lines through whole, as the bytes they are. A line that is drawn over itself counts with all it was."""

    def __init__(self, pattern: str | None = None, rank: int | None = None) -> None:
        """
        Raises:
            SpecError: if the pattern is none.
        """
        try:
            self._pattern = re.compile((pattern or "").encode())
        except re.error as error:
            cure = "it is a regular expression: put a backslash before what stands for itself"
            raise SpecError(f"--grep: {pattern!r} is no pattern: {error}", cure=cure) from None
        self._rank, self._rest = rank, b""

    def feed(self, data: bytes) -> bytes:
        """What of the lines that ``data`` completes is let through."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return b"".join(line + b"\n" for line in lines if self._fits(line))

    def end(self) -> bytes:
        """The last line, which nothing ends, if it is let through."""
        line, self._rest = self._rest, b""
        return line + b"\n" if line and self._fits(line) else b""

    def _fits(self, line: bytes) -> bool:
        told = OF_RANK.match(line)
        of = int(told[1]) if told else 0
        return (self._rank is None or of == self._rank) and self._pattern.search(line) is not None
