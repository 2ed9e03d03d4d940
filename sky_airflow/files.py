"""DAG files for the command line: ``skyloom plan DAG.py`` and ``skyloom run DAG.py``."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG
from airflow.sdk.definitions._internal.contextmanager import DagContext

from sky_airflow.dags import is_sky, pipeline_of
from sky_airflow.grammar.limits import objective_of, still_to_be_met
from sky_airflow.grammar.templates import rendering
from sky_airflow.planning import draft_context, draft_reading
from sky_core.engine_kit import Draft
from sky_core.errors import SkyloomError, SpecError

MODULE = "__skyloom__"  # under which a DAG file is run


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
        dag, now = _dag_of(path), datetime.now(UTC)
        pipeline = pipeline_of(dag, draft_reading(dag, now))
        first = next(filter(is_sky, dag.tasks))
        objective, _ = still_to_be_met(objective_of(dag, now, rendering(first, draft_context(dag, first, now))))
        return Draft(pipeline, objective, path.parent)

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
    with _registered() as made:
        named = list(runpy.run_path(str(path.resolve()), run_name=MODULE).values())
    in_order = sorted(made, key=lambda dag: (named.index(dag) if dag in named else len(named), dag.dag_id))
    dags = [dag for dag in in_order if any(map(is_sky, dag.tasks))]
    if not dags:
        raise SpecError(f"{path}: no DAG with a SkyOperator or @task.sky")
    dags[0].fileloc = str(path.resolve())  # whatever helper has made it, as Airflow's own processor does
    dags[0].resolve_template_files()
    return dags[0]


@contextmanager
def _registered() -> Iterator[list[DAG]]:
    """The DAGs that the block makes, whether they get a name or not: as Airflow's own processor finds them."""
    found: list[DAG] = []
    before = DagContext.current_autoregister_module_name
    DagContext.current_autoregister_module_name = MODULE
    known = set(DagContext.autoregistered_dags)
    try:
        yield found
    finally:
        found += [dag for dag, _ in DagContext.autoregistered_dags - known]
        DagContext.autoregistered_dags.intersection_update(known)
        DagContext.current_autoregister_module_name = before


engine = DagFiles()
