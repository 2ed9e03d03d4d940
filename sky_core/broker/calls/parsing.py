"""Modules' text as trees, in a process whose threads parse side by side.

Python 3.11 counts how deep it is in a tree for the whole interpreter. Threads that parse at once, one of them switched
away by a finalizer in the middle, upset each other's count, and either is told "AST constructor recursion depth
mismatch" (https://github.com/python/cpython/issues/106905).
"""

from __future__ import annotations

import ast
import threading

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

PARSING = threading.Lock()
# Has a call made again whose parsing others upset, whom our lock does not hold back.
parsing_again = retry(
    retry=retry_if_exception_type(SystemError), wait=wait_random(0, 0.02), stop=stop_after_attempt(20), reraise=True
)


def parsed(source: bytes) -> ast.Module | None:
    """A module's tree; None of what Python cannot read, which whoever imports it is told."""
    try:
        return _parsed(source)
    except (SyntaxError, ValueError):
        return None


@parsing_again
def _parsed(source: bytes) -> ast.Module:
    with PARSING:
        return ast.parse(source)
