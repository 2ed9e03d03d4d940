"""DAG files for the command line: ``skyloom plan DAG.py`` and ``skyloom run DAG.py``."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG

from sky_airflow.dags import is_sky, objective_of, pipeline_of
from sky_core.engine_kit import Draft
from sky_core.errors import SkyloomError, SpecError


class DagFiles:
    """Keeps :class:`sky_core.engine_kit.Engine` for Airflow."""

    def claims(self, source: str) -> bool:
        """Whether the source imports this package or Airflow."""
        return "sky_airflow" in source or "from airflow" in source or "import airflow" in source

    def draft(self, path: Path) -> Draft:
        """The file's DAG as its run would be planned.

        Raises:
            SpecError: if the file has no DAG with Sky tasks.
        """
        dag = _dag_of(path)
        return Draft(pipeline_of(dag), objective_of(dag, datetime.now(UTC)), path.parent)

    def run(self, path: Path) -> bool:
        """Run the file's DAG once with ``airflow dags test``, without a scheduler.

        In a process of its own: the file has to lie in Airflow's DAG folder, which is settled when Airflow is imported.

        Raises:
            SkyloomError: if Airflow has no database.
        """
        from airflow.utils.db import check_migrations

        dag = _dag_of(path)
        try:
            check_migrations(timeout=1)
        except TimeoutError:
            raise SkyloomError(
                "Airflow's database is missing or of another version", cure="airflow db migrate"
            ) from None
        folder = str(path.resolve().parent)
        environment = {**os.environ, "AIRFLOW__CORE__DAGS_FOLDER": folder, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        command = [sys.executable, "-m", "airflow", "dags", "test", dag.dag_id]
        return subprocess.run(command, env=environment, check=False).returncode == 0


def _dag_of(path: Path) -> DAG:
    sys.path.insert(0, str(path.resolve().parent))
    found = runpy.run_path(str(path.resolve()), run_name="__skyloom__")
    # "with DAG(...):" need not give its DAG a name; its operators have one.
    named = [item if isinstance(item, DAG) else getattr(item, "dag", None) for item in found.values()]
    dags = [dag for dag in named if isinstance(dag, DAG) and any(map(is_sky, dag.tasks))]
    if not dags:
        raise SpecError(f"{path}: no DAG with a SkyOperator or @task.sky")
    return dags[0]


engine = DagFiles()
