"""Spark's standalone master and workers, of PyPI's pyspark or of ``$SPARK_HOME``.

https://spark.apache.org/docs/latest/spark-standalone.html
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .base import Engine, Lacking, Service, cure

MASTER, WORKER = "org.apache.spark.deploy.master.Master", "org.apache.spark.deploy.worker.Worker"
HOME = "import os, pyspark; print(os.environ.get('SPARK_HOME') or os.path.dirname(pyspark.__file__))"
READY = """
import json, sys, time, urllib.request
while True:
    try:
        with urllib.request.urlopen(f"http://{sys.argv[1]}/json/") as answer:
            if json.load(answer)["aliveworkers"] >= int(sys.argv[2]):
                break
    except OSError:
        pass
    time.sleep(0.5)
"""


class Spark(Engine):
    """A master on rank 0, a worker on every machine; a script's session finds them in its defaults."""

    spread = False

    @property
    def _folder(self) -> Path:
        return Path(self.node.folder) / "spark"

    def variables(self) -> Mapping[str, str]:
        """Where the session's defaults are, and the Python of the executors."""
        self._folder.mkdir(exist_ok=True)
        said = {
            "spark.master": f"spark://{self.node.at(0)}",
            "spark.driver.host": self.node.ip,
            "spark.driver.bindAddress": self.node.ip,
            "spark.ui.port": str(self.node.ports[3]),
            **self.node.options.get("conf", {}),
        }
        (self._folder / "spark-defaults.conf").write_text("".join(f"{name} {value}\n" for name, value in said.items()))
        return {"SPARK_CONF_DIR": str(self._folder), "PYSPARK_PYTHON": self.python, "SPARK_LOCAL_IP": self.node.ip}

    def services(self) -> Sequence[Service]:
        """The worker, on rank 0 the master before it."""
        node, options = self.node, self.node.options
        node.program("java", "Java (Debian: openjdk-17-jre-headless)")
        env = {**self.variables(), "SPARK_WORKER_DIR": str(self._folder / "work"), "SPARK_PUBLIC_DNS": node.ip}
        run = str(Path(self._home()) / "bin" / "spark-class")
        worker = [run, WORKER, "--host", node.ip, "--webui-port", str(node.own)]
        if options.get("cores"):
            worker += ["--cores", str(options["cores"])]
        if options.get("memory"):
            worker += ["--memory", str(options["memory"])]
        found = [Service("Spark's worker", [*worker, f"spark://{node.at(0)}"], env)]
        if node.rank == 0:
            master = [run, MASTER, "--host", node.ip, "--port", str(node.ports[0]), "--webui-port", str(node.ports[1])]
            found.insert(0, Service("Spark's master", master, env, lasting=True))
        return found

    def dashboard(self) -> str:
        """The master's."""
        return f"http://{self.node.at(1)}"

    def ready(self) -> Sequence[str]:
        """The master's own page counts the workers."""
        return [self.python, "-c", READY, self.node.at(1), str(len(self.node.ips))]

    def _home(self) -> str:
        found = subprocess.run([self.python, "-c", HOME], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if found.returncode != 0:
            raise Lacking(f"engine 'spark': there is no pyspark on this machine: {cure('spark', 'pyspark')}")
        return found.stdout.strip()
