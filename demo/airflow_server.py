"""A real Airflow on loopback: api-server, scheduler, dag-processor and triggerer as processes of our own."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

START_S = 180.0
COMPONENTS = {
    "api-server": ["api-server", "--host", "127.0.0.1"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}

# psycopg does for both.
DATABASES = ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC")


class AirflowServer:
    """Airflow in a folder of its own (LocalExecutor), reached through its REST API.

    Args:
        folder: Becomes ``AIRFLOW_HOME``; logs of the components lie in it.
        dags: The folder of DAG files.
        environment: Variables for all components, e.g. ``SKYLOOM_HOME``.
        database: URL of a PostgreSQL database for its own tables; None for SQLite in the folder.
    """

    def __init__(
        self, folder: Path, *, dags: Path, environment: Mapping[str, str], database: str | None = None
    ) -> None:
        self.folder = folder
        self.port = _free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        # Our own interpreter's tools first: tasks and components call "airflow" and "python" by name.
        path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.environ['PATH'])}"
        self.environment = {**os.environ, **environment, "PATH": path, **_settings(folder, dags, self.port)}
        if database is not None:
            url = database.replace("postgresql://", "postgresql+psycopg://", 1)
            self.environment |= dict.fromkeys(DATABASES, url)
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=180)

    def __enter__(self) -> AirflowServer:
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"], env=self.environment, check=True, capture_output=True
        )
        for name in COMPONENTS:
            self.start(name)
        self.await_health()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in reversed(list(self.processes)):
            self.stop(name)
        self._client.close()

    def start(self, name: str) -> None:
        """Start one component in a session of its own."""
        command = [sys.executable, "-m", "airflow", *COMPONENTS[name]]
        if name == "api-server":
            command += ["--port", str(self.port)]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self, name: str, *, kill: bool = False) -> None:
        """End one component with its children: politely first, or at once with ``kill``."""
        process = self.processes.pop(name)
        steps = [signal.SIGKILL] if kill else [signal.SIGTERM, signal.SIGKILL]
        for number in steps:
            try:
                os.killpg(process.pid, number)
                process.wait(timeout=15)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        process.wait()

    def api(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call the REST API; raises httpx.HTTPStatusError when it refuses."""
        reply = self._client.request(method, f"/api/v2{path}", **kwargs)
        reply.raise_for_status()
        return reply.json() if reply.content else None

    def trigger(self, dag_id: str) -> str:
        """Unpause a DAG once it has been parsed, start a run, return the run's id."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.api("PATCH", f"/dags/{dag_id}", json={"is_paused": False})
                return str(self.api("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None})["dag_run_id"])
            except httpx.HTTPStatusError as error:
                if error.response.status_code != 404 or time.monotonic() > deadline:
                    raise RuntimeError(f"{dag_id}: {error.response.text}") from None
                time.sleep(0.5)

    def state(self, dag_id: str, run_id: str) -> str:
        """The run's state: queued, running, success or failed."""
        return str(self.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_instances(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """The run's task instances by task id."""
        found = self.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {instance["task_id"]: instance for instance in found}

    def wait(self, dag_id: str, run_id: str, *, limit_s: float = 600.0) -> str:
        """Wait for a run's end; returns its state."""
        deadline = time.monotonic() + limit_s
        while (state := self.state(dag_id, run_id)) not in ("success", "failed"):
            if time.monotonic() > deadline:
                tasks = {name: task["state"] for name, task in self.task_instances(dag_id, run_id).items()}
                why = f"still {state} after {limit_s:.0f} s, its tasks {tasks}; logs are in {self.folder}"
                raise TimeoutError(f"{dag_id} is {why}")
            time.sleep(0.5)
        return state

    def await_health(self) -> None:
        """Wait until all components answer; raises RuntimeError if one has ended or it takes too long."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                token = self._client.get("/auth/token")
                token.raise_for_status()
                self._client.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
                health = self.api("GET", "/monitor/health")
                if all(health[part]["status"] == "healthy" for part in ("scheduler", "dag_processor", "triggerer")):
                    return
            except httpx.HTTPError:
                pass
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                raise RuntimeError(
                    f"Airflow did not start ({', '.join(dead) or 'too slow'}); logs are in {self.folder}"
                )
            time.sleep(0.5)


def _settings(folder: Path, dags: Path, port: int) -> dict[str, str]:
    """Airflow's own settings: quick to notice, quiet, nothing open but loopback."""
    return {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "20",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
