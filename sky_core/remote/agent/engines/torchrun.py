"""PyTorch's launcher. https://docs.pytorch.org/docs/stable/elastic/run.html

The static rendezvous numbers machines as we do, so that the process of rank 0 runs where outputs are published from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .base import Engine


class Torchrun(Engine):
    """So many processes on each machine, which find each other by ``env://``."""

    def variables(self) -> Mapping[str, str]:
        """Which process is the first, for a function's value."""
        return {"SKY_RANK_VARIABLE": "RANK"}

    def command(self, command: Sequence[str]) -> list[str]:
        """``torchrun`` around it."""
        node = self.node
        return [
            node.program("torchrun", "torch"),
            f"--nnodes={len(node.ips)}",
            f"--nproc-per-node={self.processes(1)}",
            f"--node-rank={node.rank}",
            f"--master-addr={node.ips[0]}",
            f"--master-port={node.ports[0]}",
            "--no-python",
            *command,
        ]
