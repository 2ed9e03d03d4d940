"""The process that stays with a job: brings its inputs, runs it, keeps its checkpoints safe, publishes its outputs.

It writes what it knows to one JSON file, replaced at once, and looks at three things while the job runs: whether
somebody wants it ended (``cancel``), whether the driver still lives (``lease``), and whether the cloud takes the
machine back.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from typing import Any

from . import eviction
from .courier import Courier, TransferFailed
from .job import Job, Place, environment, root, write_whole
from .processes import adopt_orphans, boot_id, family, look, reap, send, writes_in
from .trees import copy, signature

TICK_S = 0.1
DEFAULT_INTERVAL_S = 600.0
CANNOT_READ, CANNOT_WRITE = 66, 73  # exit codes of sysexits.h: EX_NOINPUT, EX_CANTCREAT
MARGIN_S = 2.0  # what a last checkpoint is given at the end of an eviction's notice


class Failed(Exception):
    """The job ends with this exit code and explanation."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Supervisor:
    """Takes one job from its inputs to its outputs.

    Args:
        program: The agent's own archive, to be run again for transfers and calls.
    """

    def __init__(self, job: Job, program: str) -> None:
        self.job = job
        self.program = os.path.abspath(program)
        self.place = Place.of(job.job_id, job.attempt)
        me = look(os.getpid())
        assert me is not None
        self.state: dict[str, Any] = {
            "phase": "inputs", "exit_code": None, "pid": me.pid, "started": me.started, "boot_id": boot_id(),
            "eviction": False, "generation": None, "restored": None, "restored_bytes": 0, "detail": "",
            "moved": {"inputs": {}, "outputs": {}},
        }  # fmt: skip
        self.tell()
        self.courier = Courier(job.storage_options, job.requirements, self.program, self.place.log)
        self.evicted_at: float | None = None
        self._saving = threading.Lock()
        self._saved: Any = None  # the signature of what the newest generation holds

    def tell(self, **news: Any) -> None:
        """Write the state down, with what is new in it."""
        self.state.update(news)
        write_whole(self.place.state, json.dumps(self.state).encode())

    def run(self) -> None:
        """All of it. Whatever happens, the state says ``done`` at the end."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        adopt_orphans()
        try:
            threading.Thread(target=self._watch_eviction, daemon=True).start()
            code, detail = self._work(), ""
        except Failed as failed:
            code, detail = failed.code, str(failed)
            self._log(detail)
        except Exception as error:  # noqa: BLE001 - the driver must hear of it
            code, detail = 70, f"the agent failed: {type(error).__name__}: {error}"  # EX_SOFTWARE
            self._log(detail)
        self.courier.close()
        self.tell(phase="done", exit_code=code, detail=detail)

    def _work(self) -> int:
        inputs = self._inputs()
        self._restore()
        folder = self._workdir()
        env = environment(self.job, self.place, inputs, os.environ)
        (self.place.folder / "outputs").mkdir(exist_ok=True)
        if self.job.setup:
            self.tell(phase="setup")
            code = self._supervise(["bash", "-c", self.job.setup], folder, env)
            if code != 0:
                raise Failed(code, f"setup exited with code {code}")
        self.tell(phase="running")
        code = self._supervise(self._command(), folder, env)
        if code == 0:
            self._publish()
        elif self.job.checkpoint_url:
            self._save(last=True)
        return code

    # Before.

    def _inputs(self) -> dict[str, str]:
        paths = {}
        for name, url in self.job.inputs.items():
            try:
                found = self.courier.ask("fetch", url=url, folder=str(self.place.input(name)))
            except TransferFailed as error:
                raise Failed(CANNOT_READ, f"input {name}: {error}") from None
            paths[name] = found["path"]
            self.state["moved"]["inputs"][name] = found["bytes"]
        self.tell()
        return paths

    def _restore(self) -> None:
        if not self.job.checkpoint_url:
            return
        urls = [*self.job.restore_urls, self.job.checkpoint_url]
        try:
            found = self.courier.ask("restore", folder=str(self.place.checkpoint), urls=urls)
        except TransferFailed as error:
            raise Failed(CANNOT_READ, f"checkpoint: {error}") from None
        self.place.checkpoint.mkdir(exist_ok=True)
        for skipped in found["skipped"]:
            self._log(f"checkpoint skipped: {skipped}")
        if found["number"] is not None:
            self._saved = signature(self.place.checkpoint)
            self.tell(restored=found["number"], restored_bytes=found["bytes"], generation=found["number"])

    def _workdir(self) -> str:
        self.place.work.mkdir(exist_ok=True)
        if self.job.workdir:
            with tarfile.open(root() / "workdirs" / f"{self.job.workdir}.tar.gz") as archive:
                archive.extractall(self.place.work)  # noqa: S202 - the user's own files, packed by the driver
        return str(self.place.work)

    def _command(self) -> list[str]:
        if self.job.payload is None:
            return ["bash", "-c", self.job.run or "true"]
        self.place.payload.write_bytes(base64.b64decode(self.job.payload))
        return [sys.executable, self.program, "call", str(self.place.payload)]

    # During.

    def _supervise(self, command: list[str], folder: str, env: dict[str, str]) -> int:
        """Run a command in a session of its own until it ends, or is made to; returns its exit code."""
        with self.place.log.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        interval = self.job.checkpoint_interval_s or DEFAULT_INTERVAL_S
        due, kill_at = time.monotonic() + interval, None
        while process.poll() is None:
            time.sleep(TICK_S)
            reap(os.getpid(), [process.pid, *self.courier.pids])
            if kill_at is None:
                grace = self._grace()
                if grace is not None:
                    send(self._family(process.pid), signal.SIGTERM)
                    kill_at = time.monotonic() + grace
            elif time.monotonic() > kill_at:
                send(self._family(process.pid), signal.SIGKILL)
            if self.job.checkpoint_url and kill_at is None and time.monotonic() > due:
                threading.Thread(target=self._save, daemon=True).start()
                due = time.monotonic() + interval
        send(self._family(process.pid), signal.SIGKILL)  # what it left behind
        if self._abandoned():
            self._save(last=True)
            subprocess.call(["shutdown", "-h", "now"])
        return process.returncode if process.returncode >= 0 else 128 - process.returncode

    def _family(self, leader: int) -> Any:
        return family(leader, os.getpid(), self.courier.pids)

    def _grace(self) -> float | None:
        """Seconds that the job has to end by itself, if there is a reason for it to end; None if there is none."""
        if self.evicted_at is not None:
            return max(self.evicted_at - time.time() - MARGIN_S, 0.5)
        if self.place.cancel.exists():
            return float(self.place.cancel.read_text() or 10)
        return 10.0 if self._abandoned() else None

    def _abandoned(self) -> bool:
        return time.time() - self.place.lease.stat().st_mtime > self.job.orphan_ttl_s

    def _watch_eviction(self) -> None:
        at = eviction.watch(self.job.cloud)
        self.place.eviction.touch()
        self.evicted_at = at
        self._log("the cloud takes this machine back: the job is asked to end, then its last checkpoint is kept")
        self.tell(eviction=True)

    def _save(self, last: bool = False) -> None:
        """Upload the checkpoint folder as a new generation, if it changed and nobody is writing in it."""
        if not self.place.checkpoint.is_dir() or not self._saving.acquire(blocking=last):
            return
        try:
            for _ in range(20):  # a moment at which nothing is being written
                before = signature(self.place.checkpoint)
                if not before or before == self._saved:
                    return
                copy(self.place.checkpoint, self.place.staging)
                if before == signature(self.place.checkpoint) and not self._being_written():
                    break
                time.sleep(0.05)
            else:
                return
            number = (self.state["generation"] or 0) + 1
            self.courier.ask(
                "save", folder=str(self.place.staging), url=self.job.checkpoint_url, attempt=self.job.attempt,
                number=number, keep=self.job.checkpoint_keep,
            )  # fmt: skip
            self._saved = before
            self.tell(generation=number)
        except (TransferFailed, OSError) as error:
            self._log(f"checkpoint not kept: {error}")
        finally:
            self._saving.release()

    def _being_written(self) -> bool:
        others = [p for p in family(os.getpid(), os.getpid(), self.courier.pids) if p.pid != os.getpid()]
        return writes_in(others, self.place.checkpoint)

    # After.

    def _publish(self) -> None:
        if self.job.rank != 0:
            return
        self.tell(phase="outputs")
        for name, url in self.job.outputs.items():
            source = self.place.output(name)
            if not source.exists():
                raise Failed(CANNOT_WRITE, f"output {name}: the command left nothing at $SKY_OUTPUT_{name.upper()}")
            try:
                size = self.courier.ask("publish", source=str(source), url=url, attempt=self.job.attempt)
            except TransferFailed as error:
                raise Failed(CANNOT_WRITE, f"output {name}: {error}") from None
            self.state["moved"]["outputs"][name] = size
        with contextlib.suppress(OSError):
            shutil.rmtree(self.place.staging, ignore_errors=True)

    def _log(self, line: str) -> None:
        with self.place.log.open("a") as log:
            log.write(f"[skyloom] {line}\n")
