"""Whether a flow run still wants its jobs: said by the one who waits, asked of Prefect's API once he is silent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType, TaskRun
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from sky_core.broker.interest import Waiter

OVER = frozenset({StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED, StateType.CANCELLING})


def waiter_of(run: TaskRun) -> Waiter:
    """The task run that waits. A server that lives as long as its flow (no API's URL is set) cannot be asked later."""
    api = PREFECT_API_URL.value()
    how = {"engine": "prefect", "api": api, "flow_run": str(run.flow_run_id)} if api and run.flow_run_id else {}
    return Waiter(f"prefect/{run.id}", how)


def still_wanted(how: Mapping[str, Any]) -> bool | None:
    """Keeps :class:`sky_core.driver.asking.StillWanted`; an API key comes from the environment or profile.

    A run that is to be started (again) will find its job. One that is said to be running tells nothing: its process
    has fallen silent, and Prefect does not notice when a process is killed.
    """
    with temporary_settings({PREFECT_API_URL: how["api"]}), get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(UUID(how["flow_run"])).state
        except ObjectNotFound:
            return False
    if state is None or state.type == StateType.RUNNING:
        return None
    return state.type not in OVER
