"""What Skyloom costs where DAG files are parsed all day: import time, and a DAG file beside its plain twin.

    python benchmarks/engines/dag_parse.py

Each figure is the median of several fresh processes, the two kinds of file in turn, in one run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 7
PARSE = """
import gc, os, sys, time, runpy
os.environ.setdefault("AIRFLOW_HOME", sys.argv[2])
import airflow.sdk  # the processor has it already when it parses a file
import airflow.providers.standard.operators.bash
gc.collect()  # else one of the files is charged 60 ms for collecting what Airflow's own import left
start = time.perf_counter()
runpy.run_path(sys.argv[1])
print((time.perf_counter() - start) * 1000)
"""
HEAD = "from datetime import datetime\nfrom airflow.sdk import DAG\n{imports}\n"
HEAD += "with DAG('d', start_date=datetime(2026, 1, 1)):\n"
BASH = "    BashOperator(task_id='t{n}', bash_command='true')\n"
SKY = "    SkyOperator(task_id='t{n}', run='true', requires={{'accelerators': ['V100:4', 'tpu-v3-8']}}, hours=1)\n"


def main() -> None:
    """Measure and print; exit code 1 if a limit is passed."""
    with tempfile.TemporaryDirectory() as folder:
        bash = _file(folder, "bash.py", "from airflow.providers.standard.operators.bash import BashOperator", BASH)
        sky = _file(folder, "sky.py", "from sky_airflow.operators.sky import SkyOperator", SKY)
        times: dict[Path, list[float]] = {bash: [], sky: []}
        for _ in range(ROUNDS):
            for path in (bash, sky):
                times[path].append(float(_run(["-c", PARSE, str(path), folder])))
    plain, ours = statistics.median(times[bash]), statistics.median(times[sky])
    imports = statistics.median(_import_ms() for _ in range(ROUNDS))
    print(f"import sky_core (-X importtime): {imports:.1f} ms (limit 150)")
    print(f"DAG file with 3 BashOperators: {plain:.1f} ms, with 3 SkyOperators: {ours:.1f} ms")
    print(f"difference: {ours - plain:.1f} ms (limit 100)")
    sys.exit(0 if imports < 150 and ours - plain < 100 else 1)


def _file(folder: str, name: str, imports: str, operator: str) -> Path:
    path = Path(folder, name)
    path.write_text(HEAD.format(imports=imports) + "".join(operator.format(n=n) for n in range(3)))
    return path


def _run(arguments: list[str]) -> str:
    environment = {**os.environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True, env=environment)
    return done.stdout.split()[-1]


def _import_ms() -> float:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import sky_core"], check=True, capture_output=True, text=True
    )
    line = next(line for line in done.stderr.splitlines() if line.endswith(" sky_core"))
    return int(line.split("|")[1]) / 1000


if __name__ == "__main__":
    main()
