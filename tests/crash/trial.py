"""One trial: a job of its own, what befalls it, and the verdict."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from sky_core import Artifact, Pipeline, Resources, Task
from sky_core.broker import Broker
from sky_core.broker.spawn import ensure_driver
from tests.crash import judge, outside, points
from tests.crash.inside.compression import MARGIN_S, ORPHAN_S, SWITCH_S
from tests.crash.points import Point
from tests.crash.witness import command
from tests.crash.world import HOURS_PER_SECOND, World, caller

PATIENCE_S = 150.0  # for a job to be over, on a loaded host
MOMENT_S = 60.0  # for a moment to come
LOOK_S = 0.25
NAMES = ("work", "next")  # of the tasks, the second on the machine of the first
STARTING_S = 3.0  # until a driver that was started has met a boundary

WHERE: dict[str, dict[str, Any]] = {
    "aws": {"cloud": "aws", "instance_type": "m5.large"},
    "gcp": {"cloud": "gcp", "instance_type": "n2-standard-2"},
    "tpu": {"cloud": "gcp", "accelerators": "tpu-v3-8"},
    "azure": {"cloud": "azure", "instance_type": "Standard_D2s_v5"},
}


GANG: dict[str, Any] = {
    "engine": {"name": "dask", "threads": 1},
    "envs": {"PATH": os.pathsep.join([os.path.dirname(sys.executable), "/usr/bin", "/bin"])},
}


@dataclass
class Result:
    """What came of a trial; ``reached`` is False if what was to go wrong never came about."""

    point: str
    database: str
    violations: list[str]
    reached: bool
    seconds: float
    state: str = ""
    told: dict[str, Any] = field(default_factory=dict)

    def dump(self) -> dict[str, Any]:
        return asdict(self)


class Trial:
    """One point on one database. ``number`` keeps its names apart from those of all other trials."""

    def __init__(self, world: World, point: Point, number: int) -> None:
        self.world, self.point = world, point
        self.name = f"t{number}"
        self.settings, self.database = world.settings(self.name, point.orders, alone=point.fate == "away")
        self.broker = Broker(self.settings)
        self.job_ids: list[str] = []
        self.abandoned_at: float | None = None
        self.happened = not point.fate
        self.troubles: list[str] = []
        self._over = threading.Event()

    def run(self) -> Result:
        """Submit, let fate have its way, follow to the end, judge."""
        begun = time.monotonic()
        for fault in self.point.faults:
            self.world.control.fault(**fault, caller=caller(fault["cloud"], self.name))
        state, told = "", {}
        fate = threading.Thread(target=self._play, daemon=True)
        try:
            self._submit()
            fate.start()
            state = self._follow()
            if self.point.kept:
                state = self._go_on(state)
            if self.abandoned_at is not None:
                self._abandon_for_good()
            over_at = self.abandoned_at or time.time()
            self._over.set()
            fate.join(MOMENT_S)
            self._judge(state, over_at)
            told = {"copies": [asdict(copy) for copy in self.world.witness.copies(self.name)], "home": self.name}
        except Exception as error:  # noqa: BLE001 - whatever the product raises here is a finding
            self.troubles.append(f"{type(error).__name__}: {error}")
        finally:
            self._over.set()
            self._tidy()
        seconds = time.monotonic() - begun
        return Result(self.point.id, self.world.databases.name, self.troubles, self._reached(), seconds, state, told)

    @property
    def job_id(self) -> str:
        """The present job."""
        return self.job_ids[-1] if self.job_ids else ""

    # --- the job ---------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        whom, number = self.point.kept, len(self.job_ids)
        keep = {"cluster": "warm", **({"keep": points.KEPT_S[whom] * HOURS_PER_SECOND} if not number else {})}
        task = Task(
            name=NAMES[number],
            run=command(self.world.witness.port, self.name, self.point.beats),
            hours=0.1,
            outputs={"data": Artifact(size_gb=0.001)},
            resources=Resources(**WHERE[self.point.cloud]),
            **(keep if whom else {}),
            **(GANG if self.point.nodes > 1 else {}),
            num_nodes=self.point.nodes,
        )
        run = f"run{number or ''}"
        self.broker.plan(run, Pipeline(name="crash", tasks=(task,)))
        self.job_ids.append(self.broker.submit(f"{run}/work", task, run).id)

    def _go_on(self, state: str) -> str:
        """What comes of a machine that is kept: the next job runs, or its time passes; the state of the last job."""
        deadline = time.monotonic() + PATIENCE_S
        if self.point.kept == "next" and state == "succeeded":
            self._submit()
            return self._follow()
        while self.abandoned_at is None and self.broker.store.kept():
            if time.monotonic() > deadline:
                self.troubles.append("a machine is kept for ever")
                break
            ensure_driver(self.settings)
            time.sleep(LOOK_S)
        return state

    def _follow(self) -> str:
        """Watch as an engine does, which also keeps a driver alive, until the job is over or abandoned."""
        deadline = time.monotonic() + PATIENCE_S

        def stop() -> bool:
            return self.abandoned_at is not None or time.monotonic() > deadline

        while True:
            try:
                job = self.broker.watch(self.job_id, stop=stop)
                break
            except Exception:
                if time.monotonic() > deadline or self.point.fate not in ("locked", "full", "away"):
                    raise
                time.sleep(0.5)
        if not job.over and self.abandoned_at is None:
            self.troubles.append(f"not over after {PATIENCE_S:.0f} s: {job.state}")
            self.broker.cancel(self.job_id, "the trial is over")
            self.broker.watch(self.job_id, stop=lambda: time.monotonic() > deadline + 30)
        return str(job.state)

    # --- fate ------------------------------------------------------------------------------------------------

    def _play(self) -> None:
        point = self.point
        if not point.fate or not self._wait_for(point.moment):
            return
        acts: dict[str, Callable[[], None]] = {
            "dead": lambda: self._each_machine(self.world.control.kill),
            "worker dead": self._kill_worker,
            "hung": lambda: self._each_machine(self.world.control.hang),
            "stranger": lambda: self._each_machine(self.world.control.estrange),
            "netout": lambda: self._while("netout"),
            "storeout": lambda: self.world.control.storage_outage(self.name, point.seconds),
            "clock": lambda: self._write("clock", str(point.seconds)),
            "locked": lambda: self.database.lock(point.seconds),
            "full": lambda: self.database.fill(point.seconds),
            "away": lambda: self.database.take_away(point.seconds),
            "gone": self._abandon,
            "cancel and kill": self._cancel,
        }
        try:
            acts[point.fate]()
            self.happened = True
        except Exception as error:  # noqa: BLE001 - a thread: tell it with the rest
            self.troubles.append(f"fate: {type(error).__name__}: {error}")

    def _wait_for(self, moment: str) -> bool:
        witness, deadline = self.world.witness, time.monotonic() + MOMENT_S
        conditions: dict[str, Callable[[], bool]] = {
            "now": lambda: True,
            "launched": lambda: bool(self._machines()),
            "up": lambda: any(machine["state"] == "running" for machine in self._machines()),
            "begun": lambda: witness.said(self.name, "begin") > 0,
            "half": lambda: witness.said(self.name, "beat") > 2,
            "ended": lambda: witness.said(self.name, "end") > 0,
            "kept": lambda: bool(self.broker.store.kept()),
        }
        while not conditions[moment]():
            if self._over.wait(LOOK_S) or time.monotonic() > deadline:
                return False
        return True

    def _machines(self) -> list[dict[str, Any]]:
        live = self.world.control.machines
        return [one for job_id in self.job_ids for one in live(live=True, tags={"skyloom-job": job_id})]

    def _each_machine(self, act: Callable[[str], None]) -> None:
        for machine in self._machines():
            act(machine["id"])

    def _kill_worker(self) -> None:
        """Pull the plug of the gang's second machine."""
        (made,) = (one for one in self.broker.store.clusters(job_id=self.job_id) if one.num_nodes > 1 and one.open)
        name = made.instance_ids[1].rpartition("/")[2]
        (worker,) = (one["id"] for one in self._machines() if one["id"].rpartition("/")[2] == name)
        self.world.control.kill(worker)

    def _write(self, name: str, text: str) -> None:
        partial = self.settings.home / f"{name}.new"
        partial.write_text(text)
        partial.replace(self.settings.home / name)

    def _while(self, name: str) -> None:
        self._write(name, "")
        time.sleep(self.point.seconds)
        (self.settings.home / name).unlink()

    def _abandon(self) -> None:
        self.abandoned_at = time.time()
        self._kill_driver()

    def _abandon_for_good(self) -> None:
        """End the driver, too, that whoever watched may have started just when the first one died."""
        time.sleep(STARTING_S)
        self._abandon()

    def _cancel(self) -> None:
        self.broker.cancel(self.job_id, "fate")
        self._kill_driver()

    def _kill_driver(self) -> None:
        for pid in {entry["pid"] for entry in self.boundaries()}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def boundaries(self) -> list[dict[str, Any]]:
        """What the drivers of this trial have met so far."""
        path = self.settings.home / "boundaries.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def region(self) -> str:
        """Where the job's machines have been."""
        entries = self.world.control.ledger(tags={"skyloom-job": self.job_id})
        return str(entries[0]["region"]) if entries else ""

    # --- the verdict -----------------------------------------------------------------------------------------

    def _judge(self, state: str, over_at: float) -> None:
        found, point = self.troubles, self.point
        grace_s = judge.GRACE_H / HOURS_PER_SECOND
        if point.ends == "abandoned":
            grace_s += points.KEPT_S[point.kept] + MARGIN_S if point.kept else 0.0
            grace_s += SWITCH_S if point.moment in ("launched", "up") else ORPHAN_S
        entries = self._settled(over_at + grace_s)
        if point.ends == "abandoned":
            entries = [entry for entry in entries if entry["kind"] == "machine"]
        found += judge.left_over(entries, over_at, grace_s)
        copies = self.world.witness.copies(self.name)
        found += judge.doubled(copies)
        if point.ends == "abandoned":
            return
        if point.ends == "succeeded" and state != "succeeded":
            error = self.broker.job(self.job_id).result.get("error")
            found.append(f"the job is lost: {state}: {str(error)[:300]}")
        if state == "succeeded":
            if not any(copy.ended for copy in copies):
                found.append("succeeded, but its command never came to its end")
            artifact = self.broker.outputs(self.broker.job(self.job_id))["data"]
            found += outside.faults(str(artifact.uri), self.world.storage)
        runs = {self.broker.job(job_id).plan_key for job_id in self.job_ids}
        hours = sum(line.hours for run in runs for line in self.broker.bill(run).lines)
        found += judge.misbilled(entries, hours, HOURS_PER_SECOND)

    def _settled(self, until: float) -> list[dict[str, Any]]:
        """The ledger's entries of the job, once all are closed or ``until`` has passed."""
        ledger = self.world.control.ledger
        while True:
            entries = [entry for job_id in self.job_ids for entry in ledger(tags={"skyloom-job": job_id})]
            if time.time() > until or all(entry["ended"] for entry in entries):
                return entries
            time.sleep(LOOK_S)

    def _reached(self) -> bool:
        fired = (self.settings.home / "fired").exists()
        ordered = any(name in self.point.orders for name in ("kill", "lose"))
        return fired if ordered else self.happened

    def _tidy(self) -> None:
        """End what the trial may have left, so that it does not eat the others' time."""
        self._kill_driver()
        self.broker.store.close()
        for machine in self._machines() if self.job_id else ():
            self.world.control.remove(machine["id"])
