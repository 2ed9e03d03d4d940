"""Texts are read while other threads read theirs, as those of one flow do."""

from __future__ import annotations

import ast
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import pytest

from sky_core.broker.calls.parsing import parsed

TEXT = ("def f(a):\n" + "    x = g(h(i(j(k))))\n" * 60).encode() * 3


@contextmanager
def interrupted(read: Callable[[bytes], object]) -> Iterator[list[object]]:
    """The first collection of garbage, which is in the middle of a tree, lets another thread read a text."""
    came: list[object] = []
    with ThreadPoolExecutor(1) as other:
        other.submit(int).result()  # has its thread begin

        def collected(phase: str, info: dict[str, int]) -> None:
            if phase == "stop" and not came:
                came.append(other.submit(read, b"x = 1"))
                wait(came, timeout=0.2)

        before = gc.get_threshold()
        gc.set_threshold(200)
        gc.callbacks.append(collected)
        try:
            yield came
        finally:
            gc.callbacks.remove(collected)
            gc.set_threshold(*before)


@pytest.mark.parametrize("others", [parsed, ast.parse], ids=["ours", "of other libraries"])
def test_a_text_is_read_while_others_read_theirs(others):
    right = ast.dump(ast.parse(TEXT))
    with interrupted(others) as came:
        tree = parsed(TEXT)
    assert ast.dump(tree) == right
    assert ast.dump(came[0].result()) == ast.dump(ast.parse("x = 1"))


def test_what_python_cannot_read_is_none():
    assert parsed(b"def") is None
    assert parsed(b"\0") is None
