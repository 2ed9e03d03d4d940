"""What goes wrong in the demo: no capacity where training was planned, and a preemption in the middle of it.

Both come from outside, as they do in real life: this watches the store like any observer and tells the sandbox's
clouds what to refuse and what to take back. The product knows nothing of it.
"""

from __future__ import annotations

import re
import threading
import time

from sky_core.broker import Broker
from sky_core.planner import Plan
from sky_core.store import Job
from sky_sandbox.client import Control

EPOCH = re.compile(rb"^epoch (\d+)", re.MULTILINE)


class Trouble(threading.Thread):
    """Makes trouble for one task of the next plan that appears in the broker's store.

    Args:
        task: The task to hit.
        after_epoch: How far its log must be before its machine is taken back.
    """

    def __init__(self, broker: Broker, control: Control, *, task: str, after_epoch: int) -> None:
        super().__init__(daemon=True)
        self.broker = broker
        self.control = control
        self.task = task
        self.after_epoch = after_epoch
        self.preempted_after: int | None = None  # the epoch that training had finished when it was hit
        self._over = threading.Event()

    def run(self) -> None:
        """Refuse the planned place as soon as there is a plan, then wait for training and preempt it once."""
        placement = self._plan().placements[self.task]
        kind = placement.accelerator or placement.instance_type
        zone = placement.zone or placement.region
        self.control.capacity(zone, kind, "spot" if placement.use_spot else "on-demand", 0)
        while not self._over.wait(0.1):
            job = self._job()
            epoch = self._epoch(job) if job is not None else 0
            if job is None or epoch < self.after_epoch:
                continue
            if self.control.preempt(tags={"skyloom-job": job.id}):
                self.preempted_after = epoch
                return

    def stop(self) -> None:
        """Give up waiting, and give back the capacity that was taken away."""
        self._over.set()
        self.join()
        for zone, kind, market, _ in self.control.status()["capacity"]:
            self.control.capacity(zone, kind, market, None)

    def _plan(self) -> Plan:
        while not self._over.is_set():
            keys = self.broker.store.plan_keys()
            if keys:
                return Plan.model_validate_json(self.broker.store.plan_versions(keys[-1])[0])
            time.sleep(0.05)
        raise SystemExit  # ends this thread only: the pipeline was over before it was planned

    def _job(self) -> Job | None:
        return next((job for job in self.broker.store.jobs() if job.task == self.task and not job.over), None)

    def _epoch(self, job: Job) -> int:
        return max((int(number) for number in EPOCH.findall(self.broker.store.log(job.id))), default=0)
