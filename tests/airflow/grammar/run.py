"""Run cases by ``dag.test()``, each as Sky tasks and as plain ones: python -m tests.airflow.grammar.run NAME… > ANSWERS

One process runs many, since Airflow takes seconds to be imported. ``AIRFLOW_HOME`` is a folder of its own, with an
empty folder of DAGs; ``SKYLOOM_HOME`` is a sandbox's. What has been answered is there even if the rest never is.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ANSWER = "ANSWER "


def main(names: list[str]) -> None:
    """Run the cases of these names; a line of the output that begins with ``ANSWER`` has one of them as JSON."""
    from airflow.utils.db import initdb

    from tests.airflow.grammar.cases import CASES

    initdb()
    for kind in ("sky", "plain"):  # one after the other, so that the driver is not left idle in between
        for name in names:
            if kind == "plain" and not CASES[name].alike:
                continue
            try:
                found = run(name, kind)
            except Exception as error:  # noqa: BLE001 - the others have their turn
                found = {"error": f"{type(error).__name__}: {error}"}
            print(f"\n{ANSWER}{json.dumps([name, kind, found])}", flush=True)


def run(name: str, kind: str) -> dict[str, Any]:
    """What one run of a case gives: how it and its tasks ended, and what its task ``result`` has kept."""
    import sqlalchemy as sa
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.xcom import XComModel
    from airflow.sdk import DAG
    from airflow.utils.session import create_session

    from tests.airflow.grammar.answering import answering
    from tests.airflow.grammar.cases import CASES
    from tests.airflow.grammar.kit import Kit
    from tests.airflow.grammar.registry import SECRET

    case = CASES[name]
    began = time.process_time()
    about = {"start_date": datetime(2026, 1, 1, tzinfo=UTC), **case.dag}
    with DAG(f"{name}.{kind}", schedule=about.pop("schedule", None), **about) as dag:
        case.build(Kit(kind == "sky", dag))
    know(dag)
    with answering(dag.dag_id, case.answer) as questions:
        done = dag.test(run_conf=case.conf)
    with create_session() as session:
        mine = (XComModel.dag_id == dag.dag_id) & (XComModel.task_id == "result")
        rows = session.scalars(sa.select(XComModel).where(mine))
        kept = [XComModel.deserialize_value(row) for row in rows if row.key == "return_value"]
        shown = sa.select(RenderedTaskInstanceFields.rendered_fields).where(
            RenderedTaskInstanceFields.dag_id == dag.dag_id
        )
        fields = str(session.scalars(shown).all())
        states = {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in done.get_task_instances(session=session)}
    used = round(time.process_time() - began, 2)
    return {"states": states, "result": kept, "leaks": SECRET in fields, "questions": questions, "cpu_s": used}


def know(dag: Any) -> None:
    """Let Airflow's database know a DAG that lies in no folder."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    DagBundlesManager().sync_bundles_to_db()
    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    bag = BundleDagBag(folder, bundle_path=folder, bundle_name="dags-folder")
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)


if __name__ == "__main__":
    main(sys.argv[1:])
