"""Where our triggers ask: one thread for each store, so that it has one connection, however many tasks wait.

The event loop belongs to every trigger of the installation: nothing that takes time is done in it, imports included,
and of those that have much to tell one at a time does.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from sky_airflow.hooks.sky import SkyHook
    from sky_core.store import Store
    from sky_core.store.reading.news import News, Seen

T = TypeVar("T")
SLICE_S = 0.01  # how long a trigger tells before the loop has its turn

_OPENING = ThreadPoolExecutor(1, thread_name_prefix="sky-opening")
_desks: dict[str, Desk] = {}
_making = Lock()
_telling: WeakKeyDictionary[AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class Desk:
    """All that is asked of one store, one after the other in one thread. What waits meanwhile is read together."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sky-trigger")
        self._lock = Lock()
        self._asked: list[tuple[Store, Seen, Future[News]]] = []

    @classmethod
    async def of(cls, hook: SkyHook) -> Desk:
        """The desk of the store that a connection leads to."""
        settings = await asyncio.get_running_loop().run_in_executor(_OPENING, lambda: hook.settings)
        with _making:
            return _desks.setdefault(settings.store_url, cls())

    async def call(self, work: Callable[[], T]) -> T:
        """What a call that uses the store gives."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def news(self, store: Store, seen: Seen) -> News:
        """What is new of a job.

        Raises:
            KeyError: if there is no such job.
            StoreTrouble: if the store cannot be used.
        """
        answer: Future[News] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._asked.append((store, seen, answer))
            first = len(self._asked) == 1
        if first:
            self._thread.submit(self._answer)
        return await answer

    def _answer(self) -> None:
        with self._lock:
            asked, self._asked = self._asked, []
        try:
            found = asked[0][0].news({seen for _, seen, _ in asked})
        except Exception as error:  # noqa: BLE001 - told to all who asked
            for _, _, answer in asked:
                _settle(answer, error)
            return
        for _, seen, answer in asked:
            _settle(answer, found.get(seen) or KeyError(seen.job_id))


def _settle(answer: Future[T], found: T | Exception) -> None:
    """Give an answer to a coroutine, from another thread, if it still waits."""

    def give() -> None:
        if answer.done():
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    with suppress(RuntimeError):  # its loop is closed
        answer.get_loop().call_soon_threadsafe(give)


async def tell(lines: Iterable[str], say: Callable[[str], object]) -> None:
    """Say the lines, and let the loop have its turn now and then, whoever else has much to say."""
    async with _telling.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        since = time.monotonic()
        for line in lines:
            say(line)
            if time.monotonic() - since > SLICE_S:
                await asyncio.sleep(0)
                since = time.monotonic()
