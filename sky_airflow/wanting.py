"""Whether a task instance still wants its job: said by who waits for it, asked of Airflow's API once he is silent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from sky_core.broker.interest import Waiter

USER, PASSWORD = "SKYLOOM_AIRFLOW_USER", "SKYLOOM_AIRFLOW_PASSWORD"
TIMEOUT_S = 20.0
NOT_WANTED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})

OVER = frozenset({"success", "failed"})  # of DAG runs


def how_of(ti: Any, *, lasts: bool = False) -> dict[str, Any]:
    """How Airflow can be asked about a task instance later.

    Args:
        lasts: Whether its job is wanted beyond its end, as long as the DAG run goes on.
    """
    return {
        "engine": "airflow",
        "dag_id": ti.dag_id,
        "run_id": ti.run_id,
        "task_id": ti.task_id,
        "map_index": ti.map_index,
        "max_tries": ti.max_tries,
        **({"lasts": True} if lasts else {}),
    }


def waiter_of(owner: str, how: Mapping[str, Any]) -> Waiter:
    """The try of that name that waits."""
    return Waiter(f"airflow/{owner}", how)


def still_wanted(how: Mapping[str, Any]) -> bool | None:
    """Keeps :class:`sky_core.driver.asking.StillWanted`.

    Airflow notices itself when a worker dies, so what it says holds: a task instance that runs, is deferred or will
    be tried again wants its job. One that was cleared meanwhile (its ``max_tries`` has grown) has begun a new one.
    What a cluster's setup has brought up is wanted until the run is over, at the latest.
    """
    import httpx

    run = f"/api/v2/dags/{quote(how['dag_id'], '')}/dagRuns/{quote(how['run_id'], '')}"
    path = f"{run}/taskInstances/{quote(how['task_id'], '')}"
    if how["map_index"] >= 0:
        path += f"/{how['map_index']}"
    with httpx.Client(base_url=_address(), timeout=TIMEOUT_S) as client:
        client.headers["Authorization"] = f"Bearer {_token(client)}"
        said = _said(client, path)
        if said is None or said["max_tries"] != how["max_tries"]:
            return False
        if not (how.get("lasts") and said["state"] == "success"):
            return said["state"] not in NOT_WANTED
        above = _said(client, run)
        return above is not None and above["state"] not in OVER


def _said(client: Any, path: str) -> Mapping[str, Any] | None:
    """What Airflow has there; None if it knows of no such thing."""
    reply = client.get(path)
    if reply.status_code == 404:
        return None
    reply.raise_for_status()
    found: Mapping[str, Any] = reply.json()
    return found


def _address() -> str:
    # Else the import opens Airflow's database, which a task's process, and so the driver it starts, may not.
    os.environ.setdefault("_AIRFLOW__AS_LIBRARY", "1")
    from airflow.configuration import conf

    return str(conf.get("api", "base_url", fallback="http://localhost:8080")).rstrip("/")


def _token(client: Any) -> str:
    """A token for the user that the driver's environment names; without one, as Airflow gives it to anybody.

    Raises:
        httpx.HTTPStatusError: if Airflow refuses.
    """
    if USER in os.environ:
        login = {"username": os.environ[USER], "password": os.environ.get(PASSWORD, "")}
        reply = client.post("/auth/token", json=login)
    else:
        reply = client.get("/auth/token")
    reply.raise_for_status()
    return str(reply.json()["access_token"])
