"""What ``skyloom plan`` costs in CPU: until the first character is on a terminal, and until 40 tasks are planned.

    python benchmarks/first_sign.py

Each in a process of its own, with a pseudo-terminal for its screen and a home of its own. CPU seconds, since a busy
host changes wall time and not these; on an idle one the wall time of the first is the same, of the second about so.
"""

from __future__ import annotations

import os
import pty
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

TASKS, WIDTH = 40, 4
COMMAND = [sys.executable, "-c", "from sky_core.cli import main; main()", "plan"]


def pipeline() -> str:
    """Layers of four tasks, each of which reads what one of the layer above has made."""
    lines = ["name: forty", "tasks:"]
    for number in range(TASKS):
        lines += [
            f"  - name: t{number}",
            "    run: 'true'",
            "    resources: {cpus: 4+}",
            "    outputs: {x: {size_gb: 1}}",
        ]
        if number >= WIDTH:
            lines.append(f"    inputs: {{x: t{number - WIDTH}.x}}")
    return "\n".join(lines) + "\n"


def cpu_of(process: subprocess.Popen[bytes]) -> float:
    """CPU seconds of a running process so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # who uses this keeps what was compiled
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "forty.yaml"
        path.write_text(pipeline())
        ours, theirs = pty.openpty()
        process = subprocess.Popen([*COMMAND, str(path)], stdout=theirs, stderr=theirs,
                                   env={**os.environ, "SKYLOOM_HOME": home})  # fmt: skip
        os.close(theirs)
        os.read(ours, 1)
        print(f"first character  {cpu_of(process):6.2f} CPU s")
        try:
            while os.read(ours, 65536):
                pass
        except OSError:  # the other end was closed
            pass
        process.wait()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{TASKS} tasks planned {used.ru_utime + used.ru_stime:6.2f} CPU s")


if __name__ == "__main__":
    main()
