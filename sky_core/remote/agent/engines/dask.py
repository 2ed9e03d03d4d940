"""Dask's scheduler and workers. https://docs.dask.org/en/stable/deploying-cli.html"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .base import CLUSTER_ADDRESS, Engine, Service

READY = """
import sys
from distributed import Client
with Client(sys.argv[1], timeout=float(sys.argv[3])) as client:
    client.wait_for_workers(int(sys.argv[2]), timeout=float(sys.argv[3]))
"""


class Dask(Engine):
    """A scheduler on rank 0, workers everywhere; a nanny starts a worker again that has died."""

    spread = False

    @property
    def _address(self) -> str:
        return f"tcp://{self.node.at(0)}"

    def variables(self) -> Mapping[str, str]:
        """What ``Client()`` reads."""
        return {"DASK_SCHEDULER_ADDRESS": self._address, CLUSTER_ADDRESS: self._address}

    def services(self) -> Sequence[Service]:
        """The workers, on rank 0 the scheduler before them."""
        node, options = self.node, self.node.options
        dask = node.program("dask", "distributed")
        worker = [dask, "worker", self._address, "--host", node.ip, "--nworkers", str(options["workers"])]
        worker += ["--no-dashboard", "--local-directory", f"{node.folder}/dask"]
        if options.get("threads"):
            worker += ["--nthreads", str(options["threads"])]
        if options.get("memory"):
            worker += ["--memory-limit", str(options["memory"])]
        found = [Service("Dask's worker", worker)]
        if node.rank == 0:
            port, page = str(node.ports[0]), node.at(1)
            scheduler = [dask, "scheduler", "--host", node.ip, "--port", port, "--dashboard-address", page]
            found.insert(0, Service("Dask's scheduler", scheduler, lasting=True))
        return found

    def dashboard(self) -> str:
        """The scheduler's; without bokeh it says that it wants it."""
        return f"http://{self.node.at(1)}/status"

    def ready(self) -> Sequence[str]:
        """Its own client waits for the workers."""
        number = len(self.node.ips) * int(self.node.options["workers"])
        return [self.python, "-c", READY, self._address, str(number), str(self.node.options["ready_s"])]
