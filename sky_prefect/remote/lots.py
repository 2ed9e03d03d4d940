"""The calls of a batch, gathered into lots: what one job makes one after the other.

The tasks of a batch come here each in its own thread, when Prefect's engine calls their function. Most are there within
a moment, and then the lot goes. Some may never come (their value is in a cache), or only once another has ended (a
limit on their tag): a lot goes without those that are not there for a while, and they make the next. So do those that
are tried again, once the others are through.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

QUIET_S = 10.0  # after the last arrival a lot does not wait for others any longer


@dataclass(eq=False)
class Call:
    """One call on its way to a machine.

    Attributes:
        who: The one that makes it.
        tried: How often the same one had called before.
        along: Handed on by its caller.
        answer: Its packed result, and whether the call was made just now (False: it was found, from an earlier run).
    """

    who: Hashable
    tried: int
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    along: Any
    answer: Future[tuple[bytes, bool]] = field(default_factory=Future)


class Lots:
    """The lots of one batch, one at a time.

    Args:
        members: All that may call.
    """

    def __init__(self, members: Sequence[Hashable], quiet_s: float = QUIET_S) -> None:
        self._order = {member: number for number, member in enumerate(members)}
        self._expected = set(members)
        self._tried: Counter[Hashable] = Counter()
        self._quiet_s = quiet_s
        self._change = threading.Condition()
        self._here: list[Call] = []
        self._last = time.monotonic()  # arrival or departure
        self._busy = False

    def leave(self, member: Hashable) -> None:
        """This one will not call (again): nobody needs to wait for it."""
        with self._change:
            self._expected.discard(member)
            self._change.notify_all()

    def call(
        self,
        who: Hashable,
        make: Callable[[list[Call]], None],
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        along: Any = None,
    ) -> tuple[bytes, bool]:
        """Have a call made with others; its packed result, and whether it was made just now.

        Args:
            make: Makes a lot, in the thread of one of its members, and gives each call its answer.
            along: Handed on with the call.

        Raises:
            BaseException: what ``make`` raises, for every call that has no answer yet.
        """
        with self._change:
            mine = Call(who, self._tried[who], function, args, kwargs, along)
            self._tried[who] += 1
            self._here.append(mine)
            self._expected.discard(who)
            self._last = time.monotonic()
            self._change.notify_all()
            lot = self._mine_to_make(mine)
        if lot:
            try:
                make(lot)
            except BaseException as error:  # noqa: BLE001 - every member's
                for call in lot:
                    if not call.answer.done():
                        call.answer.set_exception(error)
            finally:
                with self._change:
                    self._busy = False
                    self._change.notify_all()
        return mine.answer.result()

    def _mine_to_make(self, mine: Call) -> list[Call]:
        """Wait until the call is answered (no calls), or until a lot with it has to be made here (its calls in order).

        The first to arrive makes it; the lock is held.
        """
        while not mine.answer.done():
            if mine not in self._here:
                self._change.wait()  # somebody is at it
            elif self._busy or self._here[0] is not mine:
                self._change.wait()
            elif self._expected and (left := self._last + self._quiet_s - time.monotonic()) > 0:
                self._change.wait(left)
            else:
                lot, self._here = sorted(self._here, key=lambda call: self._order[call.who]), []
                self._busy = True
                self._expected |= {call.who for call in lot}  # they may be tried again, unless they leave
                return lot
        return []
