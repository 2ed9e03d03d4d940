"""Leads one job through its life: inputs, setup, the command, outputs; and ends it when it must end sooner.

One thread waits for events: a step is over, the cloud wants the machine back, the driver cancels, nobody has
asked for the job for too long. Steps and watchers run in threads of their own.
"""

from __future__ import annotations

import base64
import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from . import processes
from .call import RESULT
from .container import choose
from .container.room import NoRoom, Room, free
from .data import trees
from .data.checkpoints import Checkpoints
from .data.courier import Courier, Patience, TransferFailed
from .data.mounts import Mounts
from .data.placing import Unplaced
from .ends import Events, Failed, Interrupt, Interrupted, carry_out
from .engines import in_engine, serves
from .gang.logins import Logins, meet
from .host import accelerators, eviction, halting
from .host.keeping import ALIVE_S, stay_alive
from .job import Job, Place
from .outliving import OWED_AGAIN_S, Lease, Others, Verdict, take_renewals
from .pythons.fit import Unmade, calling
from .state import State
from .variables import environment

TICK_S = 0.25
ORPHAN_GRACE_S = 30.0
OWED_S = 10.0  # until a verdict that is owed is left; a driver that lives has ended us by then
LAST_UPLOAD_SHARE = 0.5  # of the time left before an eviction is kept for the last checkpoint

Answer = TypeVar("Answer")


class Supervisor:
    """One job on one machine."""

    def __init__(self, job: Job, place: Place, state: State, program: str) -> None:
        self.job, self.place, self.state = job, place, state
        self._program = program
        self._log = place.log.open("ab", buffering=0)
        self._events: Events = queue.Queue()
        self._interrupt: Interrupt | None = None
        self._courier = Courier(job.storage_options, program, place.own_log)
        self._patience = Patience(self._courier, job.publish_patience_s, self.say)
        self._verdict = Verdict(job, place, state, program)
        self._command: subprocess.Popen[bytes] | None = None
        self._room = Room()
        self._logins = Logins(job, place)
        self._checkpoints = Checkpoints(job, place, state, self._patience, self._writing, self.say)
        self._mounts = Mounts(job, place, state, self._patience, self.say)
        self._lease = Lease(place.lease, job.orphan_ttl_s)
        self._needed, self._began = True, time.monotonic()

    def run(self) -> None:
        """Lead the job to its end; all that can happen to it is in the state afterwards."""
        processes.adopt_orphans()
        self.state.change(serves=serves(self.job), spare=self.job.spare)
        renewing = lambda: take_renewals(self.place.renewals, self._courier, self._verdict)  # noqa: E731
        for work in (self._watch_cloud, self._keep_machine, renewing):
            threading.Thread(target=work, daemon=True).start()
        try:
            self._end(self._live())
        except Interrupted:
            self._end_early()
        except Failed as failure:
            self.say(str(failure))
            self._end(failure.exit_code, str(failure))
        except accelerators.Unshown as lacking:
            self.say(str(lacking))
            self.state.enter("done", detail=f"{self.state['phase']}: {lacking}", unfit=str(lacking))
        except TransferFailed as failure:
            self.say(str(failure))
            self.state.enter("done", detail=f"{self.state['phase']}: {failure}")
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not leave a job without an end
            self.say(traceback.format_exc())
            self.state.enter("done", detail=f"the agent failed: {type(error).__name__}: {error}")
        finally:
            self._kill_family()
            self._logins.close()
            self._room.close()
            self._courier.close()
            free(self.place)

    def outlive(self) -> None:
        """Stay after the job's end until nobody asks any more; then halt the machine, so that it costs nothing.

        A machine that is not there for this job only stays on, and has room for another one.
        """
        self.state.change(tidy=True)
        pay_at = time.monotonic() + OWED_S
        others = Others(self.place, self.job.orphan_ttl_s)
        while not self._lease.expired() or (self.job.halts and others.live()):
            self.state.flush()
            if self._verdict.owed and time.monotonic() > pay_at:
                self._verdict.pay()
                pay_at = time.monotonic() + OWED_AGAIN_S
            time.sleep(min(5.0, self.job.orphan_ttl_s / 4))
        self._verdict.pay_up()
        if not self.job.halts:
            self.place.over.touch()
            return
        self.say("nobody has asked for this job any more: ending the machine")
        self._needed = False  # should the cloud not let us, then the machine's own timer tries for good
        self.say(halting.end_bill(self.job.cloud))

    def say(self, text: str) -> None:
        """Write a line of our own to the job's log."""
        line = f"[skyloom] {text}\n".encode(errors="backslashreplace")
        with contextlib.suppress(OSError):  # a full disk must not end the job
            self._log.write(line)

    # --- the life of a job -----------------------------------------------------------------------------------

    def _live(self) -> int:
        inputs = self._await(self._fetch)
        self._await(lambda: meet(self.job, self._lease))
        shown = self._await(self._look_for_accelerators)
        try:
            env = calling(self.job, self.place, environment(self.job, self.place, inputs, self._room.env))
        except Unmade as error:
            raise Failed(str(error)) from None
        if self.job.setup:
            self.state.enter("setup")
            code = self._execute([self._room.shell, self.place.script("setup", self.job.setup)], env)
            if code != 0:
                self._await(self._mounts.last)
                raise Failed(f"setup ended with exit code {code}", code)
        if not shown:
            self._await(lambda: accelerators.check(self.job))
        self.state.enter("running")
        self._checkpoints.begin()
        self._mounts.begin()
        code = self._run_command(env)
        left = self.job.restarts
        while code != 0 and (left > 0 or code in self.job.restart_on) and not self.state["eviction"]:
            left -= code not in self.job.restart_on
            self.say(f"the command ended with exit code {code}: run again")
            code = self._run_command(env)
        self._checkpoints.close()
        self.state.enter("outputs")
        self._await(self._mounts.last)
        self._await(lambda: self._publish(code))
        return code

    def _fetch(self) -> Mapping[str, str]:
        """Unpack the working folder, bring the inputs and the checkpoint; return the inputs' local paths."""
        self.place.unpack(self.job)
        self._find_room()
        self._logins.open()
        paths = {}
        for name, url in self.job.inputs.items():
            about = {"url": url, "folder": str(self.place.input(name))}
            found = self._patience.ask(f"input {name!r} not fetched", "fetch", about)
            paths[name] = found["path"]
            self.state.moved("inputs", name, found["bytes"])
        try:
            self._mounts.bring(self._room.put)
        except Unplaced as error:
            raise Failed(str(error), 1) from None
        self._checkpoints.restore()
        return paths

    def _look_for_accelerators(self) -> bool:
        """Whether they are shown; ``setup`` may bring their driver where the image has none."""
        try:
            accelerators.await_shown(self.job, self.job.accelerator_patience_s, self.say)
        except accelerators.Unshown:
            if not self.job.setup:
                raise
            return False
        return True

    def _find_room(self) -> None:
        """Make the place that commands run in; the working folder is found there as scripts for SkyPilot call it."""
        try:
            self._room = choose(self.job, self.place, self._program, self.say)
        except NoRoom as error:
            raise Failed(str(error), 1) from None
        self.state.change(room=self._room.ends_with)
        with contextlib.suppress(Unplaced):  # somebody's own folder is called so
            self._room.put("~/sky_workdir", self.place.work, self.place.work, merge=False)

    def _run_command(self, env: Mapping[str, str]) -> int:
        (self.place.folder / "outputs").mkdir(exist_ok=True)
        if self.job.payload is None:
            command = [self._room.shell, self.place.script("run", self.job.run or "")]
        else:
            self.place.payload.write_bytes(base64.b64decode(self.job.payload))
            command = ["python3", self._program, "call", str(self.place.payload)]
        code = self._execute(*in_engine(self.job, self.place, self._program, command, env))
        if code != 0 and self.place.unmade.exists():
            raise Failed(self.place.unmade.read_text(), code)
        return code

    def _execute(self, command: list[str], env: Mapping[str, str]) -> int:
        """Run a command in a session of its own and wait for its end; then end what it has left behind."""
        started, seen = self._room.command(command, env)
        try:
            process = subprocess.Popen(
                started,
                cwd=self.place.work,
                env=dict(seen),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise Failed(f"this machine has no {command[0]}; choose an image that has it", 127) from None
        self._command = process
        leader = processes.look(process.pid)
        self.state.change(session=[process.pid, leader.started if leader else 0])
        code = self._await(process.wait)
        self._kill_family()
        return code if code >= 0 else 128 - code

    def _publish(self, code: int) -> None:
        """Publish the outputs of a command that succeeded; a function's result also when it raised."""
        if self.job.rank != 0:
            return
        for name, url in self.job.outputs.items():
            source = self.place.output(name)
            is_result = self.job.payload is not None and name == RESULT
            if code != 0 and not (is_result and source.exists()):
                continue
            if not source.exists():
                hint = f"write a file to $SKY_OUTPUT_{name.upper()} or make it a folder"
                raise Failed(f"the command succeeded but did not write its output {name!r}: {hint}", 1)
            self.state.moved("outputs", name, self._publish_one(name, source, url))

    def _publish_one(self, name: str, source: Path, url: str) -> int:
        """Publish one output; hours of work hang on it. Returns its size in bytes.

        Raises:
            TransferFailed: if it could not be published in time.
        """
        from .data import artifacts  # half of an agent's start is imports, and few jobs need this one

        version = artifacts.version(self.job.job_id, self.job.attempt)
        about = {"source": str(source), "url": url, "version": version}
        published = self._patience.ask(f"output {name!r} not published", "publish", about, whatever=True)
        for warning in published["warnings"]:
            self.say(f"output {name!r}: {warning}")
        return int(published["bytes"])

    # --- the verdict -----------------------------------------------------------------------------------------

    def _end(self, exit_code: int | None, detail: str = "") -> None:
        """The job has ended by itself. That is left in the bucket first: this machine may be gone when it is asked."""
        if exit_code is not None:
            self._verdict.owe(exit_code, detail)
            if self._courier.pids:  # who has moved no data waits whether anybody needs it
                self._verdict.leave(self._courier)
        self.state.enter("done", exit_code=exit_code, detail=detail)

    # --- waiting, and ending sooner --------------------------------------------------------------------------

    def _await(self, step: Callable[[], Answer]) -> Answer:
        """Run a step in a thread and return what it returns, unless an interrupt comes first.

        Raises:
            Interrupted: if the job has to end; the step may still be running.
        """
        done: Future[Answer] = Future()
        threading.Thread(target=carry_out, args=(step, done, self._events), daemon=True).start()
        while True:
            event = self._next_event()
            if event is done:
                return done.result()
            if not isinstance(event, Interrupt):
                continue
            if event.why in ("eviction", "moved") and self.state["phase"] == "outputs":
                continue  # the work is done: go on publishing as long as we can
            if done.done():  # over just in time; the next step meets the interrupt
                self._events.put(event)
                return done.result()
            self._interrupt = event
            raise Interrupted

    def _next_event(self) -> Interrupt | Future[Any] | None:
        try:
            return self._events.get(timeout=TICK_S)
        except queue.Empty:
            pass
        self.state.flush()
        if self._command is not None:
            processes.reap(os.getpid(), self._helpers())
        if self.place.cancel.exists():
            grace_s, why = self.place.cancel.read_text().split()
            return Interrupt(why, float(grace_s))
        if self._lease.expired() and time.monotonic() - self._began > self.job.promised_s:
            return Interrupt("orphaned", ORPHAN_GRACE_S)
        if self.state["phase"] == "running":
            self._checkpoints.tick()
            self._mounts.tick()
        return None

    def _keep_machine(self) -> None:
        """Hold the machine's own timer back, which would end it where no agent lives."""
        while self._needed:
            stay_alive()
            time.sleep(ALIVE_S)

    def _watch_cloud(self) -> None:
        meet(self.job, self._lease)  # a gang's agents start at once: what they can start without comes after it
        left = max(0.0, eviction.watch(self.job.cloud) - time.time())
        self.place.eviction.touch()
        self.state.change(eviction=True)
        self.say(f"the cloud takes this machine back in {left:.0f} s")
        self._events.put(Interrupt("eviction", left * LAST_UPLOAD_SHARE))

    def _end_early(self) -> None:
        assert self._interrupt is not None
        whole = self._stop(self._interrupt.grace_s)
        if self.state["phase"] == "running" and self._interrupt.why != "cancelled":
            if whole:
                self._checkpoints.last()
            else:
                self.say("the command ended in the middle of writing its checkpoint: the one before stands")
        if self.state["phase"] in ("setup", "running"):
            self._mounts.rescue()
        phase = "lost" if self._interrupt.why == "orphaned" else "done"
        self.state.enter(phase, detail=self._interrupt.why)

    def _stop(self, grace_s: float) -> bool:
        """End the command, gently at first. True if what it last wrote to its checkpoint can be trusted.

        The job is frozen, looked at, told to end and thawed. A process that does not catch the signal runs no
        further: if it was writing, and nothing changed afterwards, then what it wrote is torn.
        """
        if self._command is None:
            return True
        torn, before = self._freeze()
        self._signal(signal.SIGTERM)
        processes.send(self._family(), signal.SIGCONT)
        self._room.signal("CONT", all_of_it=True)
        deadline = time.monotonic() + grace_s
        while self._command.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if self._command.poll() is None:
            torn, before = self._freeze()
        self._kill_family()
        return not torn or trees.signature(self.place.checkpoint) != before

    def _freeze(self) -> tuple[bool, trees.Signature]:
        self._room.signal("STOP", all_of_it=True)
        processes.send(self._family(), signal.SIGSTOP)
        return self._writing(), trees.signature(self.place.checkpoint)

    def _signal(self, number: signal.Signals) -> None:
        """Signal the command's session; what has left it is told by those who started it."""
        assert self._command is not None
        session = self._command.pid
        if self._room.shows:
            processes.send([process for process in processes.table() if process.session == session], number)
        self._room.signal(number.name.removeprefix("SIG"), all_of_it=False)

    def _writing(self) -> bool:
        folder = self.place.checkpoint
        return processes.writes_in(self._family(), folder) or self._room.writes_in(folder)

    def _family(self) -> list[processes.Process]:
        if self._command is None:
            return []
        return processes.family(self._command.pid, os.getpid(), self._helpers())

    def _kill_family(self) -> None:
        if self._command is not None:
            self._room.signal("KILL", all_of_it=True)
        while True:
            left = self._family()
            if not left:
                break
            processes.send(left, signal.SIGKILL)
            time.sleep(0.01)
        if self._command is not None:
            self._command.wait()
            self._room.settle(self.place.written)
        processes.reap(os.getpid(), self._helpers())

    def _helpers(self) -> list[int]:
        command = (self._command.pid,) if self._command is not None else ()
        return [*self._courier.pids, *self._room.pids, *command]
