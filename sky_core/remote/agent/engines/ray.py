"""Ray's head and its workers. https://docs.ray.io/en/latest/cluster/cli.html"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from .base import CLUSTER_ADDRESS, Engine, Service

READY = """
import sys, time
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]):
    time.sleep(0.5)
"""


class Ray(Engine):
    """A head on rank 0, a node of its cluster on every other machine."""

    spread = False

    def variables(self) -> Mapping[str, str]:
        """What ``ray.init()`` reads."""
        served = {"RAY_ADDRESS": self.node.at(0), CLUSTER_ADDRESS: f"ray://{self.node.at(1)}"}
        return {**served, "RAY_USAGE_STATS_ENABLED": "0"}

    def services(self) -> Sequence[Service]:
        """One ``ray start``, in the foreground so that it is ended with the job."""
        node = self.node
        start = [node.program("ray", "ray"), "start", "--block", "--node-ip-address", node.ip]
        start += ["--disable-usage-stats", "--dashboard-agent-listen-port", str(node.own)]
        if node.options.get("num_cpus"):
            start += ["--num-cpus", str(node.options["num_cpus"])]
        if node.rank:
            return [Service("Ray's worker", [*start, "--address", node.at(0)])]
        start += ["--head", "--port", str(node.ports[0]), "--include-dashboard", "false"]
        if self._serves_programs_elsewhere():
            start += ["--ray-client-server-port", str(node.ports[1])]
        return [Service("Ray's head", start, lasting=True)]

    def _serves_programs_elsewhere(self) -> bool:
        """Whether there is what ``ray[client]`` brings beside ``ray``: without it a head that is told its port ends."""
        return (
            subprocess.run([self.python, "-c", "import grpc"], stderr=subprocess.DEVNULL, check=False).returncode == 0
        )

    def ready(self) -> Sequence[str]:
        """Its own client counts the nodes."""
        return [self.python, "-c", READY, self.node.at(0), str(len(self.node.ips))]
