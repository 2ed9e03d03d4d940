"""The driver: one process per home that advances all jobs and leaves when there is nothing to do.

    python -m sky_core.driver.process

Engines start it on demand (:mod:`sky_core.broker.spawn`). Cloud SDKs are imported here and nowhere else.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import threading
import time
import traceback
import uuid
from contextlib import suppress

from sky_core.broker.spawn import LOCK_VARIABLE, sign_of_life, try_lock
from sky_core.config import Settings
from sky_core.driver.executors import Executors
from sky_core.driver.lanes import Lanes, lane_of
from sky_core.driver.lifecycle import take_step
from sky_core.driver.stages.elsewhere import LeftToOthers
from sky_core.driver.step import Clouds, Driving
from sky_core.driver.sweep import Sweeper
from sky_core.driver.telling.herald import Herald
from sky_core.errors import SkyloomError, StoreTrouble
from sky_core.events import KeyMissing, StepFailed
from sky_core.facts import clouds
from sky_core.remote import keys
from sky_core.store import Job, LeaseLost, Reach, Store

log = logging.getLogger("skyloom.driver")

AT_ONCE = 256  # jobs taken in one turn
LONGEST_TROUBLE_S = 30.0  # between two turns that fail
TURN_S = 2.0  # between two looks whether another driver of this home has ended
IDLE_S = 10.0  # how long the process stays after its last job
TICK_S = 0.1
LEFT_S = 30.0  # before a job that was left to other hosts is looked at again
MAX_STEP_ERRORS = 10  # unexpected errors in a row before a job is failed and its machines are taken down


class Driver:
    """Advances jobs of one store on a bounded pool of threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._stop = threading.Event()
        store = Store(settings.store_url, patience_s=None, ending=self._stop)
        self.driving = Driving(
            settings=settings,
            store=store,
            clouds=Clouds(settings),
            executors=Executors(settings),
            holder=holder[:80],
            herald=Herald.of(settings, store),
        )
        self._sweeper = Sweeper(self.driving)
        self._reach = Reach(settings.profile, keys.team_key(settings).id)
        self._lanes = Lanes()
        self._errors: dict[str, int] = {}
        self._left: dict[str, float] = {}  # by job id, until when it is left to other hosts, monotonic seconds

    def run(self, *, idle_s: float = IDLE_S) -> None:
        """Drive until no job has been live and no launch owed for ``idle_s`` seconds, or the settings have changed."""
        threading.Thread(target=self._heartbeat, daemon=True).start()
        self._sweeper.start()
        self._idle_since, troubles = time.monotonic(), 0
        while not self._stop.is_set():
            try:
                self._turn(idle_s)
                troubles = 0
            except Exception:  # the jobs' machines run on: somebody has to be there when it is over
                troubles += 1
                log.exception("the driver's turn failed (%d), trying again", troubles)
                self._stop.wait(min(TICK_S * 2**troubles, LONGEST_TROUBLE_S))
            self._stop.wait(TICK_S)
        self._sweeper.stop()
        self._lanes.close()
        self.driving.herald.close()
        with suppress(StoreTrouble):  # it may be away for good
            self.driving.store.release_leases(self.driving.holder)  # another host need not wait until they run out
        self.driving.store.close()

    def _turn(self, idle_s: float) -> None:
        """Hand out the steps that are due; stop after a while without a live job or an owed launch."""
        busy, store = self._lanes.busy(), self.driving.store
        # All that are due, whatever their lane: else many of one lane would stand before the others.
        left = self._left_to_others()
        at_most = AT_ONCE + len(busy)
        for job in store.lease_due(self.driving.holder, self.settings.lease_s, at_most, self._reach, without=left):
            self._lanes.take(lane_of(job, self.driving.hearing), job, self._step)
        if busy or self._lanes.busy() or self._sweeper.busy or store.has_live(self._reach):
            self._idle_since = time.monotonic()
        elif time.monotonic() - self._idle_since > idle_s:
            log.info("no live job for %.0f s: leaving", idle_s)
            self.stop()

    def _left_to_others(self) -> list[str]:
        """Ids of the jobs that drivers of other hosts have the first turn at."""
        for job_id, until in list(self._left.items()):
            if until < time.monotonic():
                del self._left[job_id]
        return list(self._left)

    def stop(self) -> None:
        """Let :meth:`run` return after the steps under way."""
        self._stop.set()

    def _step(self, job: Job) -> None:
        try:
            take_step(self.driving, self.driving.store.job(job.id))
            self._errors.pop(job.id, None)
        except LeaseLost:
            log.warning("%s: another driver has taken over", job.id)
        except LeftToOthers:
            self._left[job.id] = time.monotonic() + LEFT_S
            self.driving.store.release_lease(job.id, self.driving.holder)
        except Exception as error:  # noqa: BLE001 - one job's surprise must not end the others
            try:
                self._surprised(job, error)
            except Exception:
                log.exception("%s: what went wrong cannot be written down", job.id)

    def _surprised(self, job: Job, error: Exception) -> None:
        """Count unexpected errors; after too many the job fails, with its machines taken down."""
        errors = self._errors[job.id] = self._errors.get(job.id, 0) + 1
        log.error("%s: step failed (%d): %s", job.id, errors, error, exc_info=not isinstance(error, SkyloomError))
        memory = dict(self.driving.store.job(job.id).memory)
        if errors >= MAX_STEP_ERRORS and memory.get("verdict") is None:
            memory |= {"verdict": "failed", "closing": "failed", "result": {"exit_code": None, "error": repr(error)}}
        where = traceback.extract_tb(error.__traceback__)[-1]
        told = StepFailed(error=str(error), type=type(error).__name__, at=f"{where.filename}:{where.lineno}")
        try:
            wait_s = min(0.2 * 2**errors, 30.0)
            self.driving.store.save_job(job, self.driving.holder, memory=memory, after_s=wait_s, events=[told])
        except LeaseLost:
            log.warning("%s: another driver has taken over", job.id)

    def _heartbeat(self) -> None:
        while not self._stop.wait(self.settings.lease_s / 3):
            try:
                self._beat()
            except Exception:  # without leases renewed, another driver takes over: better late than never
                log.exception("the driver's heartbeat failed, trying again")

    def _beat(self) -> None:
        """Renew what is held, and look whether this is still the driver that is wanted."""
        for job_id in self._lanes.busy():
            self.driving.store.renew_lease(job_id, self.driving.holder, self.settings.lease_s)
        for job in self.driving.store.left_alone(self._reach):
            told = KeyMissing(needs=job.key_id, has=self._reach.key_id, host=socket.gethostname())
            self.driving.store.tell_once(job.id, told)
        if self._settings_changed():
            log.info("the settings have changed: leaving, the next driver reads them")
            self.stop()

    def _settings_changed(self) -> bool:
        try:
            return Settings.load() != self.settings
        except SkyloomError:  # the sandbox is gone, or the file is being edited
            return True


def serve() -> None:
    """Be the driver of ``$SKYLOOM_HOME`` until SIGTERM or SIGINT, idle or not: ``skyloom driver``.

    Waits its turn while another one drives, and begins anew when the settings have changed.
    """
    _log_to_stderr()
    ended, running = threading.Event(), list[Driver]()

    def end(*_: object) -> None:
        ended.set()
        for driver in running:
            driver.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    while not ended.is_set():
        settings = Settings.load()
        lock = try_lock(settings)
        if lock is None:
            ended.wait(TURN_S)
            continue
        try:
            running[:] = [Driver(settings)]
            log.info("driving the jobs of store %s", running[0].driving.store.id)
            if ended.is_set():  # while it was being made
                break
            with sign_of_life(settings):
                _run_logged(running[0], idle_s=float("inf"))
        finally:
            os.close(lock)


def main() -> None:
    """Be the driver of ``$SKYLOOM_HOME`` unless there is one."""
    _log_to_stderr()
    settings = Settings.load()
    # Started by an engine, we have the lock already; started by hand, we have to get it.
    if LOCK_VARIABLE not in os.environ and try_lock(settings) is None:
        return
    driver = Driver(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: _end_by(driver, number))
    log.info("the driver begins: process %d, store %s", os.getpid(), driver.driving.store.id)
    with sign_of_life(settings):
        _run_logged(driver)


def _end_by(driver: Driver, number: int) -> None:
    log.info("the driver is to end: %s", signal.Signals(number).name)
    driver.stop()


def _run_logged(driver: Driver, *, idle_s: float = IDLE_S) -> None:
    """Run a driver; whatever it ends by is in the log, since nobody may be there to see it."""
    try:
        driver.run(idle_s=idle_s)
    except BaseException:
        log.critical("the driver dies", exc_info=True)
        raise
    log.info("the driver ends")


def _log_to_stderr() -> None:
    faulthandler.enable()  # a crash in a library's C code leaves a word, too
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    for chatty in (name for facts in clouds().values() for name in facts.chatty_loggers):
        logging.getLogger(chatty).setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
