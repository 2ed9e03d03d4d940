"""Prefect's server, in a process of its own, that can be killed and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from tests.conftest import until

IDLE = ("FOREMAN", "LATE_RUNS", "PAUSE_EXPIRATIONS", "TRIGGERS", "CLEANUP_RECONCILER")  # of no use to most tests
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
_MEMORY = Path("/dev/shm")  # no disk to wait for; sandbox machines see it, too
FAST = _MEMORY if _MEMORY.is_dir() else None


class PrefectServer:
    """A server on a free port, which it keeps; its tables and files are gone with it.

    Args:
        idle: Services that it goes without.

    Attributes:
        variables: Those that lead to it.
    """

    def __init__(self, idle: Iterable[str] = IDLE) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.home = Path(tempfile.mkdtemp(dir=FAST))
        self.variables = {
            **{f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in idle},
            "PREFECT_SERVER_DATABASE_TIMEOUT": "120",  # a busy host takes its time
            "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "120",
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }
        self.start()

    def start(self) -> None:
        """Start its process and wait until it answers."""
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(command, env={**os.environ, **self.variables}, **SILENT)
        until(self._healthy, 400)  # a busy host takes its time to import a server

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it for good."""
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.home)

    def _healthy(self) -> bool:
        assert self.process.poll() is None, "the server ended"
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{self.variables['PREFECT_API_URL']}/health", timeout=2).close()
            return True
        return False
