"""Waiting for a job in the triggerer: only the store is watched, in threads, and nothing secret is serialized."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from sky_airflow.hooks.sky import SkyHook
from sky_airflow.told import Told
from sky_airflow.wanting import waiter_of

# One pool for all our triggers of the process: the event loop belongs to every trigger of the installation.
_THREADS = ThreadPoolExecutor(8, thread_name_prefix="sky-trigger")
DRIVER_CHECK_S = 5.0


class SkyJobTrigger(BaseTrigger):
    """Fires when a job is over, handing its events and log lines to the task's log as they come.

    Args:
        job_id: The job.
        owner: The try that waits: only it may cancel.
        until: Absolute time (epoch seconds) of the task's execution_timeout, which Airflow ignores while deferred.
        how: How Airflow can be asked whether it still wants the job (:func:`sky_airflow.wanting.how_of`).
    """

    def __init__(
        self,
        job_id: str,
        owner: str | None = None,
        until: float | None = None,
        sky_conn_id: str | None = None,
        how: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow leaves it without types
        self.job_id = job_id
        self.owner = owner
        self.until = until
        self.sky_conn_id = sky_conn_id
        self.how = dict(how or {})
        self._hook = SkyHook(sky_conn_id)
        self._told: Told | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        names = ("job_id", "owner", "until", "sky_conn_id", "how")
        return "sky_airflow.triggers.sky.SkyJobTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Follow the job; also keeps alive the interest in it and the driver that advances it."""
        from sky_core.broker.lines import Lines
        from sky_core.broker.spawn import ensure_driver
        from sky_core.job.narrate import describe

        broker = await in_thread(lambda: self._hook.broker)
        waiter = waiter_of(self.owner or self.job_id, self.how)
        told = self._told = await in_thread(lambda: Told.of(broker.store, waiter, self.job_id))
        following = broker.follow_output(self.job_id, told.event, told.offset)
        lines = Lines()
        checked = 0.0

        def look() -> Any:
            told.keep()
            waiter.renew(broker.store, broker.settings, self.job_id)
            return next(following)

        while True:
            job, events, data = await in_thread(look)
            for text in [*map(describe, events), *lines.feed(data, end=job.over)]:
                self.log.info(text)
            told.add(events, data)
            if job.over:
                yield TriggerEvent({"job_id": job.id, "state": job.state})
                return
            if self.until is not None and time.time() > self.until:
                yield TriggerEvent({"job_id": job.id, "state": job.state, "timeout": True})
                return
            if time.monotonic() - checked > DRIVER_CHECK_S:
                await in_thread(partial(ensure_driver, broker.settings))
                checked = time.monotonic()
            await asyncio.sleep(min(broker.settings.poll_s, 2.0))

    async def on_kill(self) -> None:
        """Called for mark failed, clear, a failed run and its time-out, not when a triggerer stops: cancel the job."""
        why = "the Airflow task was ended"
        await in_thread(lambda: self._hook.broker.cancel(self.job_id, why, owner=self.owner))

    async def cleanup(self) -> None:
        """Called when a triggerer stops, too: the next one goes on with the log where this one was."""
        if self._told is not None:
            await in_thread(partial(self._told.keep, at_once=True))


async def in_thread(call: Callable[[], Any]) -> Any:
    """What a blocking call gives, made in the pool of our triggers."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, call)
