"""What a flow's remote task comes to on prefect-dask, on prefect-ray and on Skyloom when something goes wrong.

    python -m benchmarks.engines.beside [dask] [ray] [skyloom]

Needs ``pip install prefect-dask prefect-ray`` beside Skyloom. The same flow (counting.py) runs on a Dask cluster and a
Ray cluster of two workers each, and on Skyloom's sandbox, all on this host, on a Prefect server of its own; a
Kubernetes work pool would need a cluster. Ray listens on all addresses of the host; a network of its own keeps it in:
``unshare --net sh -c "ip link set lo up; exec python -m benchmarks.engines.beside ray"``.

Three things happen, once each, and what is seen is printed:

- its machine is taken away while it counts (SIGKILL to the worker; a preemption without notice in the sandbox);
- its ``timeout_seconds`` pass;
- the flow's process is killed with SIGKILL, and the same flow run is run again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

FLOW = Path(__file__).with_name("counting.py")
BIN = Path(sys.executable).parent
LONG_S = 600.0


class Cluster:
    """Where tasks run: what leads a flow there, how a machine is taken from it, and where notes that it makes lie."""

    def __init__(
        self,
        environment: dict[str, str],
        take: Callable[[int], None],
        notes: Callable[[Path], str] = Path.read_text,
    ) -> None:
        self.environment = environment
        self.take = take
        self.notes = notes


@contextmanager
def processes(*commands: list[str], ready: Callable[[], bool]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Commands that run, each in a session of its own, as long as the block."""
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen(command, start_new_session=True, **silent) for command in commands]
    try:
        until(ready, pause_s=2.0)  # to ask Ray takes a process of its own
        yield started
    finally:
        for one in started:
            kill(one.pid)
            one.wait()


def kill(pid: int) -> None:
    """End a process and all that it has started."""
    with suppress(psutil.NoSuchProcess):
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def until(condition: Callable[[], Any], seconds: float = LONG_S, pause_s: float = 0.2) -> Any:
    """The condition's value once it is true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(pause_s)
    return value


def _of(started: list[subprocess.Popen[bytes]], pid: int) -> int:
    """Which of these processes a process belongs to."""
    above = {pid, *(parent.pid for parent in psutil.Process(pid).parents())}
    return next(one.pid for one in started if one.pid in above)


@contextmanager
def dask() -> Iterator[Cluster]:
    """A scheduler and two workers."""
    address = f"tcp://127.0.0.1:{_free_port()}"
    scheduler = [str(BIN / "dask"), "scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2],
                 "--no-dashboard"]  # fmt: skip
    worker = [str(BIN / "dask"), "worker", address, "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard"]

    def ready() -> bool:
        from distributed import Client

        with suppress(OSError), Client(address, timeout=5) as client:
            return len(client.scheduler_info()["workers"]) == 2
        return False

    with processes(scheduler, worker, worker, ready=ready) as started:
        yield Cluster({"ADDRESS": address}, lambda pid: kill(_of(started, pid)))


@contextmanager
def ray() -> Iterator[Cluster]:
    """A head that runs no tasks, and two nodes."""
    port = str(_free_port())
    ours = ["--block", "--disable-usage-stats"]
    head = [str(BIN / "ray"), "start", "--head", "--port", port, "--num-cpus", "0", "--node-ip-address", "127.0.0.1",
            "--include-dashboard", "false", *ours]  # fmt: skip
    node = [str(BIN / "ray"), "start", "--address", f"127.0.0.1:{port}", "--num-cpus", "1", *ours]

    def nodes(count: int) -> Callable[[], bool]:
        status = [str(BIN / "ray"), "status", "--address", f"127.0.0.1:{port}"]

        def there() -> bool:
            done = subprocess.run(status, capture_output=True, text=True, check=False)
            return done.stdout.count(" node_") >= count

        return there

    with (
        processes(head, ready=nodes(1)),
        processes(node, ready=nodes(2)) as first,
        processes(node, ready=nodes(3)) as second,  # not both at once: Ray gives up one that is not up in 30 s
    ):
        yield Cluster({"ADDRESS": f"127.0.0.1:{port}"}, lambda pid: kill(_of([*first, *second], pid)))


@contextmanager
def skyloom() -> Iterator[Cluster]:
    """The sandbox."""
    from sky_core.config import Settings
    from sky_core.store import Store
    from sky_sandbox import client

    home = Path(tempfile.mkdtemp(prefix="beside-"))
    control = client.up(home, attached=True, boot_s=0.2)

    def take(_: int) -> None:
        (machine,) = control.machines(live=True)
        control.preempt(machine["id"], notice_s=0)

    environment = {"SKYLOOM_HOME": str(home), "SKYLOOM_PROFILE": "sandbox"}
    store = Store(Settings.load({**os.environ, **environment}).store_url)

    def notes(file: Path) -> str:
        """Those of the jobs that have come since the file was made."""
        mine = [job for job in store.jobs() if job.created_at > file.stat().st_ctime]
        return "".join(store.log(job.id).decode() for job in mine)

    yield Cluster(environment, take, notes)
    print(f"  machines left: {len(control.machines(live=True))}")
    client.down(home)


class Run:
    """One run of the flow, in a process of its own."""

    def __init__(self, kind: str, cluster: Cluster, folder: Path, **more: str) -> None:
        self._cluster = cluster
        self.notes = folder / f"notes-{time.monotonic_ns()}"
        self.notes.touch(mode=0o666)
        about = {"RUNNER": kind, "NOTES": str(self.notes), "SECONDS": "20", **cluster.environment, **more}
        self.environment = {**os.environ, **about}
        self.process = self._start("new")
        assert self.process.stdout is not None
        self.id = self.process.stdout.readline().split()[-1]

    def _start(self, what: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(FLOW), what]
        silent = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        return subprocess.Popen(command, env=self.environment, **silent)  # type: ignore[call-overload,no-any-return]

    def noted(self) -> list[list[str]]:
        lines = self._cluster.notes(self.notes).splitlines()
        return [line.split()[1:] for line in lines if line.startswith("note ")]

    def counting(self) -> int:
        """The process that counts, once it does."""
        return int(until(lambda: len(self.noted()) >= 3 and self.noted())[-1][1])

    def end(self) -> str:
        try:
            said, _ = self.process.communicate(timeout=LONG_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return f"no end in {LONG_S:.0f} s"
        return (said.splitlines() or ["nothing"])[-1].removeprefix("ended ")

    def again(self) -> None:
        self.process = self._start(self.id)

    def goes_on(self, seconds: float = 8) -> str:
        """Whether it counts on while one looks."""
        before = len(self.noted())
        time.sleep(seconds)
        return "goes on" if len(self.noted()) > before + 2 else "has stopped"

    @property
    def begun(self) -> int:
        """How often the function was begun."""
        return len({line[0] for line in self.noted()})


def tell(kind: str, cluster: Cluster, folder: Path) -> None:
    """Let the three things happen."""
    run = Run(kind, cluster, folder, TIMEOUT_S="60", SECONDS="180")
    print(f"  a time-out: the flow run ended {run.end()}, the function {run.goes_on()}", flush=True)
    run = Run(kind, cluster, folder, SECONDS="40")
    run.counting()
    run.process.send_signal(signal.SIGKILL)
    run.process.wait()
    goes_on = run.goes_on()
    run.again()
    print(f"  kill -9 of the flow: the function {goes_on}; run again it ended {run.end()}, begun {run.begun} times")
    run = Run(kind, cluster, folder)
    cluster.take(run.counting())
    print(f"  its machine taken away: the flow run ended {run.end()}, begun {run.begun} times", flush=True)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


KINDS = {"dask": dask, "ray": ray, "skyloom": skyloom}


def main(names: list[str]) -> None:
    """Print what is seen."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o777)  # the sandbox's machines have users of their own
        if "PREFECT_API_URL" not in os.environ:
            stack.enter_context(prefect_test_harness(server_startup_timeout=300))
            os.environ["PREFECT_API_URL"] = str(PREFECT_API_URL.value())
        for name in names or KINDS:
            print(name, flush=True)
            with KINDS[name]() as cluster:
                tell(name, cluster, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
