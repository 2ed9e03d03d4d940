"""Flex-start VMs on loopback: instances that wait, PENDING, until their zone has room for them or their time is over.

https://cloud.google.com/compute/docs/instances/instance-life-cycle. A wait is longer, or ends in an error, by the fault
``queue``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sky_sandbox.gcp.wire import Resource, invalid
from sky_sandbox.machines.record import WAITS, Machine
from sky_sandbox.world import CALLER, Fault, Refused, World

SERIES = ("a2-", "a3-", "a4-", "g2-", "g4-")
WAIT_S = (90, 7200)
RUN_S = (30, 7 * 24 * 3600)
LOOK_S = 0.1  # between two looks whether there is room


def is_flex(body: Resource) -> bool:
    """Whether an insert asks for one."""
    return bool(body.get("scheduling", {}).get("provisioningModel") == "FLEX_START")


def check(body: Resource, type_: str) -> None:
    """What has to be said of one.

    Raises:
        ApiError: for what is missing or not to be had.
    """
    scheduling, params = body["scheduling"], body.get("params", {})
    run = int(scheduling.get("maxRunDuration", {}).get("seconds", 0))
    wait = int(params.get("requestValidForDuration", {}).get("seconds", 0))
    if not type_.startswith(SERIES):
        raise invalid("resource.scheduling.provisioningModel", "FLEX_START", f"{type_} has no such machines.")
    if not RUN_S[0] <= run <= RUN_S[1]:
        raise invalid("resource.scheduling.maxRunDuration", run, "Must be between 30 seconds and 7 days.")
    if wait and not WAIT_S[0] <= wait <= WAIT_S[1]:
        raise invalid("resource.params.requestValidForDuration", wait, "Must be 0, or between 90 and 7200 seconds.")
    if body.get("reservationAffinity", {}).get("consumeReservationType") != "NO_RESERVATION":
        raise invalid("resource.reservationAffinity", body.get("reservationAffinity"), "Must be NO_RESERVATION.")
    if scheduling.get("onHostMaintenance") != "TERMINATE" or scheduling.get("automaticRestart"):
        raise invalid("resource.scheduling", scheduling, "Must be terminated on maintenance, and not restarted.")


class Line:
    """One machine in the queue: ``began`` is called once it was started, ``refuse`` if there is no room in time."""

    def __init__(self, world: World, machine: Machine, began: Callable[[], None], refuse: Callable[[], None]) -> None:
        self.world = world
        self.machine = machine
        self.began, self.refuse = began, refuse
        params = machine.extra["resource"].get("params", {})
        self.until = world.clock() + float(params.get("requestValidForDuration", {}).get("seconds", 0))
        machine.extra[WAITS] = True
        self.over = False

    def begin(self, caller: str) -> None:
        """Wait, for whoever has launched it."""
        place = {"region": self.machine.region, "zone": self.machine.zone, "type": self.machine.type}
        fault = self.world.fault("gcp", "queue", token=self.machine.extra["name"], **place)
        threading.Thread(target=self._serve, args=(caller, fault), daemon=True).start()

    def _serve(self, caller: str, fault: Fault | None) -> None:
        CALLER.set(caller)
        from_ = self.world.clock() + (fault.seconds if fault is not None else 0.0)
        fails = fault is not None and fault.kind == "error"
        while not self.over:
            self._look(from_, fails)
            time.sleep(LOOK_S)

    def _look(self, from_: float, fails: bool) -> None:
        machine, now = self.machine, self.world.clock()
        with self.world.lock:
            waits, vain = machine.state == "pending", now > self.until or (fails and now >= from_)
            if waits and not vain and now >= from_:
                self._start()
        if waits and vain:
            self.refuse()
            self.world.stop(machine.id)
        self.over = self.over or vain or not waits

    def _start(self) -> None:
        machine = self.machine
        place = ("gcp", machine.region, machine.zone, machine.type, machine.market, machine.vcpus)
        try:
            self.world.admit(*place, pools=machine.pools)
        except Refused:
            return
        machine.extra.pop(WAITS)
        self.over = True
        self.world.start(machine)
        self.began()
