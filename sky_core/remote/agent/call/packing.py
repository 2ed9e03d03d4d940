"""Packed files: one line that says what it is and which Python has pickled it, and pickles."""

from __future__ import annotations

import sys

MAGIC = b"skyloom-pickle"


class WrongPython(Exception):
    """The pickle was made by another minor version of Python."""


def pack(what: str, data: bytes) -> bytes:
    """A packed file's content."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return b" ".join([MAGIC, what.encode(), version.encode()]) + b"\n" + data


def python_of(content: bytes) -> str:
    """The minor version of Python that made a packed file, such as "3.12"."""
    return content.partition(b"\n")[0].split(b" ")[-1].decode()


def unpack(what: str, content: bytes) -> bytes:
    """The pickle in a packed file.

    Raises:
        ValueError: if this is no packed file of that kind.
        WrongPython: if another minor version of Python made it.
    """
    head, _, data = content.partition(b"\n")
    words = head.split(b" ")
    if len(words) != 3 or words[:2] != [MAGIC, what.encode()]:
        raise ValueError(f"not a packed {what}")
    theirs, ours = words[2].decode(), f"{sys.version_info.major}.{sys.version_info.minor}"
    if theirs != ours:
        raise WrongPython(
            f"this {what} was pickled by Python {theirs} and this is Python {ours} ({sys.executable}): "
            f"let python3 be {theirs} on PATH, as it was before setup"
        )
    return data
