"""Watching a job that is somebody else's: nothing is asked of it, and nothing is done to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from sky_airflow.hooks.sky import SkyHook
from sky_airflow.triggers.desk import Desk

LOOK_S = 5.0


class SkyWatchTrigger(BaseTrigger):
    """Fires when a job is over, whoever waits for it otherwise.

    Args:
        job_id: The job.
    """

    def __init__(self, job_id: str, sky_conn_id: str | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow leaves it without types
        self.job_id = job_id
        self.sky_conn_id = sky_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return "sky_airflow.triggers.watch.SkyWatchTrigger", {"job_id": self.job_id, "sky_conn_id": self.sky_conn_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look now and then."""
        hook = SkyHook(self.sky_conn_id)
        desk = await Desk.of(hook)
        broker = await desk.call(lambda: hook.broker)
        while not (job := await desk.call(partial(broker.job, self.job_id))).over:
            await asyncio.sleep(min(LOOK_S, 2 * broker.settings.poll_s))
        yield TriggerEvent({"job_id": job.id, "state": job.state})
