"""What Skyloom costs where DAG files are parsed all day: import time, and a DAG file beside its plain twin.

    python benchmarks/engines/dag_parse.py

Each figure is the median of several fresh processes, the kinds of file in turn, in one run; files count in CPU time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 7
MANY = 200  # operators in the file that tells what one of them costs
PARSE = """
import gc, os, sys, time, runpy
os.environ.setdefault("AIRFLOW_HOME", sys.argv[2])
import airflow.sdk  # the processor has it already when it parses a file
import airflow.providers.standard.operators.bash
gc.collect()  # else one of the files is charged 60 ms for collecting what Airflow's own import left
start = time.process_time()
runpy.run_path(sys.argv[1])
print((time.process_time() - start) * 1000)
"""
HEAD = "from datetime import datetime\nfrom airflow.sdk import DAG\n{imports}\n"
HEAD += "with DAG('d', start_date=datetime(2026, 1, 1)):\n"
BASH = "    BashOperator(task_id='t{n}', bash_command='true')\n"
SKY = "    SkyOperator(task_id='t{n}', run='true', requires={{'accelerators': ['V100:4', 'tpu-v3-8']}}, hours=1)\n"
KINDS = {
    "bash": ("from airflow.providers.standard.operators.bash import BashOperator", BASH),
    "sky": ("from sky_airflow.operators.sky import SkyOperator", SKY),
}


def main() -> None:
    """Measure and print; exit code 1 if a limit is passed."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # who uses this keeps what was compiled
    with tempfile.TemporaryDirectory() as folder:
        files = {
            (kind, number): _file(folder, f"{kind}{number}.py", *about, number)
            for kind, about in KINDS.items()
            for number in (3, MANY)
        }
        times: dict[tuple[str, int], list[float]] = {key: [] for key in files}
        for _ in range(ROUNDS):
            for key, path in files.items():
                times[key].append(float(_run(["-c", PARSE, str(path), folder])))
    found = {key: statistics.median(seconds) for key, seconds in times.items()}
    plain, ours = found["bash", 3], found["sky", 3]
    more = ((found["sky", MANY] - ours) - (found["bash", MANY] - plain)) / (MANY - 3)
    imports = statistics.median(_import_ms() for _ in range(ROUNDS))
    print(f"import sky_core (-X importtime): {imports:.1f} ms (limit 150)")
    print(f"DAG file with 3 BashOperators: {plain:.1f} ms, with 3 SkyOperators: {ours:.1f} ms")
    print(f"difference: {ours - plain:.1f} ms (limit 100), nearly all of it imports")
    print(f"each further SkyOperator: {more:.2f} ms more than a BashOperator (limit 1)")
    sys.exit(0 if imports < 150 and ours - plain < 100 and more < 1 else 1)


def _file(folder: str, name: str, imports: str, operator: str, many: int) -> Path:
    path = Path(folder, name)
    path.write_text(HEAD.format(imports=imports) + "".join(operator.format(n=n) for n in range(many)))
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
