"""Hears of task instances that are failed by somebody else than themselves: the scheduler, or a person in the UI.

Nothing is called in the task's own process then, if there is one at all, and a triggerer may be down.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow.listeners import hookimpl

log = logging.getLogger(__name__)
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="sky-listener")  # the scheduler must not wait for our store


@hookimpl
def on_task_instance_failed(previous_state: Any, task_instance: Any, error: Any) -> None:
    """End the job of a task instance that has failed for good; a try that is to be repeated may find it again."""
    in_its_own_process = not type(task_instance).__module__.startswith("airflow.models")  # the operator sees to it
    if not in_its_own_process and str(task_instance.state) == "failed":
        _THREAD.submit(_end, str(task_instance.id))


def _end(owner: str) -> None:
    try:
        from sky_airflow.hooks.sky import SkyHook
        from sky_core.home import default_home

        hook = SkyHook()
        if hook.sky_conn_id is None and not default_home().is_dir():
            return  # nothing was ever submitted from here
        broker = hook.broker
        for job in broker.store.jobs(owner=owner, live=True):
            broker.cancel(job.id, "the Airflow task has failed", owner=owner)
    except Exception:
        log.exception("the job of the try %s could not be cancelled", owner)
