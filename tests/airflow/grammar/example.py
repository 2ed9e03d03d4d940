"""Run example DAGs by ``dag.test()``: python -m tests.airflow.grammar.example FOLDER NAME… > ENDS

As :mod:`.run` runs cases: one process for all, with an Airflow home of its own and a sandbox's Skyloom home.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tests.airflow.grammar.run import ANSWER, know


def main(folder: Path, names: list[str]) -> None:
    """Run the DAGs of these names from a folder's files; of each a line that begins with ``ANSWER`` has how its tasks
    ended."""
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.utils.db import initdb

    initdb()
    bag = BundleDagBag(folder, bundle_path=folder, bundle_name="examples")
    for name in names:
        know(bag.dags[name])
        began = time.monotonic()
        ended = bag.dags[name].test()
        states = {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in ended.get_task_instances()}
        print(f"\n{ANSWER}{json.dumps([name, states, round(time.monotonic() - began, 1)])}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
