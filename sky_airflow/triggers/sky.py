"""Waiting for a job in the triggerer: only the store is watched, in threads, and nothing secret is serialized."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from sky_airflow.hooks.sky import SkyHook
from sky_airflow.triggers.desk import Desk, tell
from sky_core.errors import StoreTrouble

if TYPE_CHECKING:
    from sky_airflow.triggers.following import Following

LOOK_S = 2.0  # at most, between two looks


class SkyJobTrigger(BaseTrigger):
    """Fires when a job is over, handing its events and log lines to the task's log as they come.

    Args:
        job_id: The job.
        owner: The try that waits: only it may cancel.
        until: Absolute time (epoch seconds) of the task's execution_timeout, which Airflow ignores while deferred.
        how: How Airflow can be asked whether it still wants the job (:func:`sky_airflow.wanting.how_of`).
        ready_line: Fires when this is in the job's log, too.
    """

    def __init__(
        self,
        job_id: str,
        owner: str | None = None,
        until: float | None = None,
        sky_conn_id: str | None = None,
        how: Mapping[str, Any] | None = None,
        ready_line: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow leaves it without types
        self.job_id = job_id
        self.owner = owner
        self.until = until
        self.sky_conn_id = sky_conn_id
        self.how = dict(how or {})
        self.ready_line = ready_line
        self._hook = SkyHook(sky_conn_id)
        self._following: Following | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        names = ("job_id", "owner", "until", "sky_conn_id", "how", "ready_line")
        return "sky_airflow.triggers.sky.SkyJobTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Follow the job; also keeps alive the interest in it and the driver that advances it."""
        desk = await Desk.of(self._hook)
        job = self._following = await desk.call(self._follow)
        settings, cared = job.broker.settings, float("-inf")
        ready = await desk.call(self._is_ready)  # an earlier triggerer may have told of it
        while True:
            if time.monotonic() - cared >= job.care_s:
                await desk.call(job.care)
                cared = time.monotonic()
            more = False
            try:
                news = await desk.news(job.broker.store, job.seen)
            except StoreTrouble as trouble:
                self.log.warning("%s", trouble)
            else:
                lines = job.lines_of(news)
                await tell(lines, self.log.info)
                job.note(news)
                more = news.more
                ready = ready or any(self._tells(line) for line in lines)
                if (news.job.over and not more) or ready:
                    yield TriggerEvent({"job_id": self.job_id, "state": news.job.state})
                    return
            if self.until is not None and time.time() > self.until:
                yield TriggerEvent({"job_id": self.job_id, "timeout": True})
                return
            await asyncio.sleep(0 if more else min(settings.poll_s, LOOK_S))

    def _follow(self) -> Following:
        from sky_airflow.triggers.following import Following
        from sky_airflow.wanting import waiter_of

        return Following.of(self._hook.broker, self.job_id, waiter_of(self.owner or self.job_id, self.how))

    def _is_ready(self) -> bool:
        return self.ready_line is not None and self._tells(
            self._hook.broker.store.log(self.job_id).decode(errors="replace")
        )

    def _tells(self, text: str) -> bool:
        return self.ready_line is not None and self.ready_line in text

    async def on_kill(self) -> None:
        """Called for mark failed, clear, a failed run and its time-out, not when a triggerer stops: cancel the job."""
        why = "the Airflow task was ended"
        desk = await Desk.of(self._hook)
        await desk.call(lambda: self._hook.broker.cancel(self.job_id, why, owner=self.owner))

    async def cleanup(self) -> None:
        """Called when a triggerer stops, too: the next one goes on with the log where this one was."""
        if self._following is not None:
            desk = await Desk.of(self._hook)
            await desk.call(partial(self._following.told.keep, at_once=True))
