"""Run the benchmarks whose figures the docs show, and keep what they print.

    python docs/measure.py planning learning    # on an idle machine: docs/figures/planning.txt, learning.txt
    python docs/regenerate.py                   # into the pages

A page shows a run with ``<!-- measured NAME -->``. No figure is copied by hand, none is shown without its command and
day. What needs data that does not come with the project says so if it is missing.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "figures"


@dataclass(frozen=True)
class Benchmark:
    """A command, and which of the lines that it prints a page shows."""

    command: str
    shown: str = ""

    def run(self, folder: str) -> str:
        """The command, the day, and the lines it printed with FOLDER being there; raises if the benchmark broke off."""
        words = [word.replace("FOLDER", folder) for word in shlex.split(self.command)]
        done = subprocess.run([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode not in (0, 1):  # 1: a promise was broken, and the lines say which
            raise SystemExit(f"{self.command} ended with {done.returncode}")
        lines = [line.rstrip() for line in done.stdout.splitlines() if re.search(self.shown, line)]
        return "\n".join([f"$ python {self.command}    # {datetime.now(UTC):%Y-%m-%d}", *lines]) + "\n"


BENCHMARKS = {
    "catalog": Benchmark("benchmarks/catalog.py", shown=r"^(ok|FAIL) "),
    "elastic-gangs": Benchmark(
        "benchmarks/spot/elastic_gangs.py", shown=r"on demand  of|^asked|bills off|^us-east|^simulated"
    ),
    "learning": Benchmark("benchmarks/learning.py", shown=r"\S"),
    "managed": Benchmark("benchmarks/managed.py"),
    "optimizer": Benchmark("benchmarks/optimizer.py --limit 20", shown=r"^  (ok|MISS) |promises kept"),
    "planning": Benchmark("benchmarks/planning.py"),
    "workflows": Benchmark("benchmarks/wfinstances.py FOLDER", shown=r"DAGs of|^  [a-z]"),
    "workflow-plans": Benchmark("benchmarks/wfinstances.py FOLDER --plans", shown=r"DAGs of|^  [a-z]"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=sorted(BENCHMARKS))
    parser.add_argument("--folder", default="", help="FOLDER in the command: data that does not come with the project")
    asked = parser.parse_args()
    FIGURES.mkdir(exist_ok=True)
    for name in asked.names:
        benchmark = BENCHMARKS[name]
        if "FOLDER" in benchmark.command and not asked.folder:
            parser.error(f"{name} needs --folder")
        text = benchmark.run(asked.folder)
        (FIGURES / f"{name}.txt").write_text(text)
        print(text)


if __name__ == "__main__":
    main()
