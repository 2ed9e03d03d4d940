"""Whether a flow run still wants its jobs: said by the one who waits, asked of Prefect's API once he is silent."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType, TaskRun
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Crashed

from sky_core.broker.interest import Waiter
from sky_core.remote.agent.processes import alive, boot_id, look

OVER = frozenset({StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED, StateType.CANCELLING})


CALLER_GONE = "the process that called the flow has ended"
LOST = "ProcessLost"  # the state's name of a run that we have found without its process: a retry finds its jobs


def waiter_of(run: TaskRun) -> Waiter:
    """The task run that waits. A server that lives as long as its flow (no API's URL is set) cannot be asked later."""
    api = PREFECT_API_URL.value()
    if not api or not run.flow_run_id:
        return Waiter(f"prefect/{run.id}")
    how = {"engine": "prefect", "api": api, "flow_run": str(run.flow_run_id), "process": this_process()}
    return Waiter(f"prefect/{run.id}", how)


def this_process() -> dict[str, Any] | None:
    """What names this process among all that ever were; None where that cannot be told."""
    return _this_process(os.getpid())


@cache
def _this_process(pid: int) -> dict[str, Any] | None:
    """What names this process among all that ever were on hosts of this kind; None where /proc does not tell."""
    found = look(pid)
    return {"where": _where(), "pid": pid, "started": found.started} if found else None


def _where() -> list[str]:
    return [socket.gethostname(), boot_id(), os.readlink("/proc/self/ns/pid")]


def _gone(process: Mapping[str, Any] | None) -> bool:
    """Whether a process has certainly ended: only its own host can tell."""
    try:
        return process is not None and process["where"] == _where() and not alive(process["pid"], process["started"])
    except OSError:
        return False


def still_wanted(how: Mapping[str, Any]) -> bool | None:
    """Keeps :class:`sky_core.driver.asking.StillWanted`; an API key comes from the environment or profile.

    A run that is to be started (again) will find its job. One that is said to be running tells nothing, unless its job
    is the ``whole`` run: its process has fallen silent, and Prefect does not notice when a process is killed. If that
    process is seen to have ended, the run is set to Crashed, so that it can be retried; its jobs stay as wanted as
    before. A whole run that its ``caller`` waits for is wanted by him alone: without him it is cancelled.
    """
    with temporary_settings({PREFECT_API_URL: how["api"]}), get_client(sync_client=True) as client:
        run = UUID(how["flow_run"])
        try:
            state = client.read_flow_run(run).state
        except ObjectNotFound:
            return False
        if _gone(how.get("caller")) and (state is None or not state.is_final()):
            client.set_flow_run_state(run, Cancelled(message=CALLER_GONE), force=True)
            return False
        if state is None or state.type == StateType.RUNNING:
            if state is not None and _gone(how.get("process")):
                client.set_flow_run_state(run, Crashed(name=LOST, message="the process of this run has ended"))
            return True if how.get("whole") else None
    wanted = state.type not in OVER
    return None if state.name == LOST or (wanted and "caller" in how) else wanted
