"""Drivers without the seconds of importing three clouds' SDKs: a process that has them imported forks each driver.

``python -m tests.crash.inside.zygote SOCKET`` listens; with ``--shim SOCKET …`` it is what a broker starts in place of
``python -m sky_core.driver.process``: it hands its environment and descriptors over and ends when the driver does.
What runs is the product's own ``main``, with :mod:`tests.crash.inside.inject` installed first.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from pathlib import Path

LOCK_VARIABLE = "SKYLOOM_DRIVER_LOCK"
IMPORTS = (
    "sky_core.driver.process", "sky_core.clouds.aws.provider", "sky_core.clouds.gcp.provider",
    "sky_core.clouds.gcp.tpu.nodes", "sky_core.clouds.azure.provider", "boto3", "s3fs", "adlfs", "urllib3", "aiohttp",
    "paramiko", "sqlalchemy", "psycopg",
)  # fmt: skip


def shim(address: str) -> int:
    """Be the driver's stand-in for whoever started us."""
    lock = os.environ.get(LOCK_VARIABLE)
    descriptors = [0, 1, 2, *([int(lock)] if lock else [])]
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(address)
        message = json.dumps({"env": dict(os.environ), "cwd": os.getcwd()}).encode()
        socket.send_fds(link, [len(message).to_bytes(4, "big")], descriptors)
        link.sendall(message)
        for descriptor in descriptors[3:]:
            os.close(descriptor)  # the driver holds the lock, we must not
        status = int(link.makefile().readline() or "1")
    if status < 0:  # end as it ended: who started us tells a killed driver from one that failed
        os.kill(os.getpid(), -status)
    return status


class Zygote:
    """Forks drivers, one for each connection, and tells their exit status on it."""

    def __init__(self, address: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen(64)
        self.links: dict[int, socket.socket] = {}

    def run(self) -> None:
        """Serve until standard input ends."""
        woken, waking = os.pipe()
        os.set_blocking(waking, False)
        signal.set_wakeup_fd(waking)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            for source in (0, woken, self.listener):
                selector.register(source, selectors.EVENT_READ)
            print("ready", flush=True)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if woken in ready:
                    os.read(woken, 4096)
                    self.reap()
                if self.listener in ready:
                    self.fork(self.listener.accept()[0])
                if 0 in ready and not os.read(0, 1):
                    break
        for pid in self.links:
            os.kill(pid, signal.SIGKILL)

    def fork(self, link: socket.socket) -> None:
        size, descriptors, _, _ = socket.recv_fds(link, 4, 8)
        told = json.loads(_exactly(link, int.from_bytes(size, "big")))
        pid = os.fork()
        if pid == 0:
            self.become_driver(told["env"], told["cwd"], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self.links[pid] = link

    def become_driver(self, env: dict[str, str], cwd: str, descriptors: list[int]) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            for number, descriptor in enumerate(descriptors[:3]):
                os.dup2(descriptor, number)
            if lock := env.get(LOCK_VARIABLE):
                env = {**env, LOCK_VARIABLE: str(descriptors[3])}
                assert lock
            os.environ.clear()
            os.environ.update(env)
            os.chdir(cwd)
            importlib.import_module("tests.crash.inside.inject").install(Path(env["SKYLOOM_HOME"]))
            sys.argv = ["sky_core.driver.process"]
            importlib.import_module("sky_core.driver.process").main()
            status = 0
        except BaseException:  # noqa: BLE001 - as the interpreter does at its end
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(status)

    def reap(self) -> None:
        while self.links:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            link = self.links.pop(pid)
            with contextlib.suppress(OSError):  # whoever started it may have gone
                link.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            link.close()


def _exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = link.recv(size - len(data))
        if not chunk:
            raise EOFError("the shim has gone")
        data += chunk
    return data


def main() -> None:
    """Be the zygote, or with ``--shim`` the stand-in of one driver."""
    if sys.argv[1] == "--shim":
        raise SystemExit(shim(sys.argv[2]))
    importlib.import_module("tests.crash.inside.inject").clock.install()
    for name in IMPORTS:
        importlib.import_module(name)
    importlib.import_module("tests.crash.inside.compression").compress()
    gc.collect()
    gc.freeze()  # a collection in a child would copy the shared pages
    Zygote(sys.argv[1]).run()


if __name__ == "__main__":
    main()
