"""Where this machine is seen: at one address, which may change, or at those of a pool."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest

from sky_core.clouds import caller
from sky_core.errors import UnknownOutcome


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterable[str]], list[str]]:
    """What a look finds while connections are seen at these addresses in turn; "" is a connection that fails."""
    here = caller.Here()

    def look(addresses: Iterable[str]) -> list[str]:
        turns = itertools.cycle(addresses)

        def ask(url: str) -> str:
            if not (address := next(turns)):
                raise UnknownOutcome("no answer")
            return address

        monkeypatch.setattr(caller, "public_address", ask)
        return here.look("http://where")

    return look


def test_who_has_moved_is_where_it_is_now(seen: Callable[[Iterable[str]], list[str]]) -> None:
    assert [seen([address]) for address in "aba"] == [["a"], ["b"], ["a"]]


def test_of_a_pool_all_that_was_seen_lately_counts(seen: Callable[[Iterable[str]], list[str]]) -> None:
    assert seen("ab") == ["a", "b"]
    assert seen("bc") == ["a", "b", "c"]
    assert seen("a") == ["a", "b", "c"], "by chance all looks had the same"
    assert seen("d") == ["d"], "it has moved"
    assert len(seen([str(number) for number in range(caller.LOOKS)])) == caller.LOOKS + 1


def test_one_look_that_fails_does_not_matter(seen: Callable[[Iterable[str]], list[str]]) -> None:
    assert seen(["", "a"]) == ["a"]
    with pytest.raises(UnknownOutcome):
        seen([""])
