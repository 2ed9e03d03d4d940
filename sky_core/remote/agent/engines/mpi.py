"""``mpirun`` of MPICH (Hydra) or Open MPI, over the gang's own SSH.

https://github.com/pmodels/mpich/blob/main/doc/wiki/how_to/Using_the_Hydra_Process_Manager.md
https://docs.open-mpi.org/en/v5.0.x/man-openmpi/man1/mpirun.1.html
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .base import Engine, cpus

# Ranks inherit rank 0's environment; what differs by machine is said here.
ON_NODE = """\
#!/bin/sh
export SKY_NODE_RANK={rank} SKYPILOT_NODE_RANK={rank} NODE_RANK={rank}
exec "$@"
"""
READY = """
import subprocess, sys, time
for ip in sys.argv[2:]:
    while subprocess.run(["ssh", ip, f"test -x '{sys.argv[1]}'"], stdin=subprocess.DEVNULL).returncode:
        time.sleep(0.5)
"""


class Mpi(Engine):
    """The command as ranks on all machines, started from rank 0's."""

    spread = False

    @property
    def _on_node(self) -> Path:
        return Path(self.node.folder) / "on-node"

    def variables(self) -> Mapping[str, str]:
        """Which rank is the first, for a function's value."""
        new = self._on_node.with_suffix(".new")
        new.write_text(ON_NODE.format(rank=self.node.rank))
        new.chmod(0o755)
        new.replace(self._on_node)
        return {"SKY_RANK_VARIABLE": "OMPI_COMM_WORLD_RANK" if self._is_open else "PMI_RANK"}

    def ready(self) -> Sequence[str]:
        """Each machine lets us in and has its part."""
        return [self.python, "-c", READY, str(self._on_node), *self.node.ips]

    def command(self, command: Sequence[str]) -> list[str]:
        """``mpirun`` around it."""
        node, each = self.node, self.processes(cpus())
        run = [node.program("mpirun", "mpich (or openmpi)"), "-np", str(each * len(node.ips))]
        if self._is_open:
            hosts = ",".join(f"{ip}:{each}" for ip in node.ips)
            names = [part for name in os.environ for part in ("-x", name)]
            return [*run, "--host", hosts, *names, str(self._on_node), *command]
        run += ["-launcher", "ssh", "-hosts", ",".join(node.ips), "-ppn", str(each), "-localhost", node.ip]
        return [*run, str(self._on_node), *command]

    @property
    def _is_open(self) -> bool:
        mpirun = self.node.program("mpirun", "mpich (or openmpi)")
        said = subprocess.run([mpirun, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return "Open MPI" in said.stdout
