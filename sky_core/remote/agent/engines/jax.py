"""JAX on several machines. https://docs.jax.dev/en/latest/multi_process.html

``jax.distributed.initialize()`` takes the coordinator's address from a variable of its own, but the number of processes
and the own one's from those of a launcher that it knows. It is told in Open MPI's words, which are two numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from .base import Engine


class Jax(Engine):
    """One process on each machine, which sees all of its accelerators."""

    def variables(self) -> Mapping[str, str]:
        """Where the coordinator is, how many processes there are, and which this one is."""
        node = self.node
        return {
            "JAX_COORDINATOR_ADDRESS": node.at(1),
            "JAX_LOCAL_DEVICE_IDS": ",".join(map(str, range(max(1, node.gpus)))),
            "OMPI_MCA_orte_hnp_uri": f"0.0;tcp://{node.at(1)}",
            "OMPI_COMM_WORLD_SIZE": str(len(node.ips)),
            "OMPI_COMM_WORLD_RANK": str(node.rank),
            "OMPI_COMM_WORLD_LOCAL_RANK": "0",
            "SKY_RANK_VARIABLE": "OMPI_COMM_WORLD_RANK",
        }
