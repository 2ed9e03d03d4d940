"""PyTorch's launcher. https://docs.pytorch.org/docs/stable/elastic/run.html

The static rendezvous numbers machines as we do, so that the process of rank 0 runs where outputs are published from. An
elastic gang meets at its first machine, as often as one comes or goes; which process then is rank 0 is not said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .base import Engine

JOIN_S = 3600  # that fewer machines than the fewest are waited with: others are asked for meanwhile
LAST_CALL_S = 3  # for which those that are enough wait for more
MOST_RESTARTS = 1000  # each machine that is lost costs the others one


class Torchrun(Engine):
    """So many processes on each machine, which find each other by ``env://``."""

    def variables(self) -> Mapping[str, str]:
        """Which process is the first, for a function's value; and for an elastic gang a store of each meeting's own.

        With the meetings' own store shared, PyTorch 2.15 lets a machine that joins later wait in vain for its address.
        """
        apart = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"} if self.node.options.get("elastic") else {}
        return {"SKY_RANK_VARIABLE": "RANK", **apart}

    def command(self, command: Sequence[str]) -> list[str]:
        """``torchrun`` around it."""
        node = self.node
        run, each = node.program("torchrun", "torch"), f"--nproc-per-node={self.processes(1)}"
        return [run, each, *(self._meeting() or self._numbered()), "--no-python", *command]

    def _numbered(self) -> list[str]:
        """Each machine under its rank, all of them once."""
        node = self.node
        master = [f"--master-addr={node.ips[0]}", f"--master-port={node.ports[0]}"]
        return [f"--nnodes={len(node.ips)}", f"--node-rank={node.rank}", *master]

    def _meeting(self) -> list[str]:
        """Whoever is there: the others' losses are no failures of this machine's processes, whose number is limited."""
        node, elastic = self.node, self.node.options.get("elastic")
        if not elastic:
            return []
        conf = f"is_host={int(node.rank == 0)},join_timeout={JOIN_S},last_call_timeout={LAST_CALL_S}"
        meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={node.at(0)}", "--rdzv-id=gang", f"--rdzv-conf={conf}"]
        size = f"--nnodes={elastic['min']}:{elastic['max']}"
        return [size, *meeting, f"--local-addr={node.ip}", f"--max-restarts={MOST_RESTARTS}", "--monitor-interval=1"]
