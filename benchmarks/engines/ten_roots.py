"""What planning costs where ten tasks of a DAG run begin at the same moment, each in a process of its own.

    python benchmarks/engines/ten_roots.py

A process is forked for each root, as Airflow forks one for each task; they share a store and the run's key. Compared
in CPU seconds with one process that plans the same DAG alone, in the same run of this script.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOTS = 10
LIMIT = 2.0  # times the CPU seconds of one planning, for all ten
CLOUDS = "".join(f"[clouds.{name}]\nenabled = true\naccount = 'a'\n" for name in ("aws", "gcp", "azure"))


def main() -> None:
    """Measure and print; exit code 1 if the limit is passed or the plan was made more than once."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"AIRFLOW_HOME": folder, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
        alone = _planned(Path(folder, "one"), 1)
        together = _planned(Path(folder, "ten"), ROOTS)
    made = sum(1 for seconds in together if seconds > max(together) / 3)
    ratio = sum(together) / sum(alone)
    print(f"one task plans {ROOTS + 1} tasks: {sum(alone):.2f} CPU s")
    print(f"{ROOTS} at once: {sum(together):.2f} CPU s in all, {ratio:.1f} times as much (limit {LIMIT:.0f})")
    print(f"processes that planned: {made}; the others read it in {sorted(together)[ROOTS // 2]:.2f} CPU s each")
    sys.exit(0 if ratio < LIMIT and made == 1 else 1)


def _planned(home: Path, processes: int) -> list[float]:
    """CPU seconds of each process that asks for the plan."""
    from airflow.sdk import DAG

    from sky_airflow.dags import pipeline_of
    from sky_airflow.operators.sky import SkyOperator
    from sky_airflow.planning import draft_reading
    from sky_core.broker import Broker
    from sky_core.config import Settings

    home.mkdir()
    (home / "config.toml").write_text(CLOUDS)
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        roots = [
            SkyOperator(
                task_id=f"root{number}", run="true", requires={"cpus": "2+", "memory": f"{number + 1}+"}, hours=1
            )
            for number in range(ROOTS)
        ]
        roots >> SkyOperator(task_id="last", run="true", requires={"accelerators": ["T4", "L4", "V100"]}, hours=2)
    settings = Settings.load({**os.environ, "SKYLOOM_HOME": str(home)})
    if not (child := os.fork()):  # a store that is there already, as on any day but the first
        Broker.open(settings).store.jobs()
        os._exit(0)
    os.waitpid(child, 0)
    go, ready = os.pipe()
    children = []
    for _ in range(processes):
        if not (child := os.fork()):
            os.close(ready)
            os.read(go, 1)  # all begin at once: when the other end is closed
            pipeline = pipeline_of(dag, draft_reading(dag, datetime.now(UTC)))
            Broker.open(settings).plan("airflow/d/run/0", pipeline)
            os._exit(0)
        children.append(child)
    time.sleep(0.2)
    os.close(ready)
    used = []
    for child in children:
        _, status, usage = os.wait4(child, 0)
        assert status == 0, f"process {child} ended with {status}"
        used.append(usage.ru_utime + usage.ru_stime)
    os.close(go)
    return used


if __name__ == "__main__":
    main()
