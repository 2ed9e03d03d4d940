"""The points of the matrix: everything that may go wrong, once per cloud and database.

A point is data: what the driver is ordered to suffer (:mod:`tests.crash.inside.inject`), which faults the clouds
have, and what fate does at which moment. Points of the kinds ``kill`` and ``lose`` are enumerated from the boundaries
of a clean run, so that a new call of the product is a new point.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Cloud = Literal["aws", "gcp", "tpu", "azure"]
CLOUDS: tuple[Cloud, ...] = ("aws", "gcp", "tpu", "azure")

# The same call over and over is the same boundary; commits tell more by their number than by their tables.
TIMES = {"http": 2, "ssh": 2, "commit": 14}
POLLED_TIMES = 2  # of commits of one statement: leases and their renewal, at no fixed number

CREATE = {"aws": "RunInstances", "gcp": "instances.insert", "tpu": "nodes.create", "azure": "virtualMachines.put"}
DESCRIBE = {"aws": "DescribeInstances", "gcp": "instances.get", "tpu": "nodes.get", "azure": "virtualMachines.get"}
END = {"aws": "TerminateInstances", "gcp": "instances.delete", "tpu": "nodes.delete", "azure": "resourceGroups.delete"}
REFUSALS: dict[Cloud, dict[str, str]] = {
    "aws": {
        "capacity": "InsufficientInstanceCapacity", "quota": "VcpuLimitExceeded", "auth": "AuthFailure",
        "policy": "UnauthorizedOperation", "invalid": "InvalidParameterValue", "expired": "RequestExpired",
    },
    "gcp": {
        "capacity": "ZONE_RESOURCE_POOL_EXHAUSTED", "quota": "QUOTA_EXCEEDED", "auth": "forbidden",
        "policy": "conditionNotMet", "invalid": "invalid", "expired": "authError",
    },
    "tpu": {
        "capacity": "RESOURCE_EXHAUSTED", "quota": "QUOTA_EXCEEDED", "auth": "forbidden", "policy": "forbidden",
        "invalid": "invalid", "expired": "authError",
    },
    "azure": {
        "capacity": "SkuNotAvailable", "late capacity": "AllocationFailed", "quota": "OperationNotAllowed",
        "auth": "AuthorizationFailed", "policy": "RequestDisallowedByPolicy", "invalid": "InvalidParameter",
        "expired": "ExpiredAuthenticationToken",
    },
}  # fmt: skip
LOST = {"aws": "InternalError", "gcp": "503", "tpu": "503", "azure": "GatewayTimeout"}
BROKEN = {"aws": "InternalError", "gcp": "500", "tpu": "500", "azure": "InternalServerError"}
THROTTLED = {"aws": "RequestLimitExceeded", "gcp": "429", "tpu": "429", "azure": "TooManyRequests"}
# What tells a policy about a place from other refusals with the same code.
POLICY_SAYS: dict[Cloud, str] = {
    "aws": "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/dev is not "
    "authorized to perform: ec2:RunInstances with an explicit deny in a service control policy.",
    "gcp": "Location violates constraint constraints/gcp.resourceLocations on the resource projects/skyloom-sandbox.",
    "tpu": "Location projects/skyloom-sandbox/locations/here is not found or access is unauthorized.",
    "azure": "",
}
SLOW_S = 5.0  # stands for 90 s

KEPT: tuple[Literal["next", "alone"], ...] = ("next", "alone")
KEPT_S = {"": 0.0, "next": 25.0, "alone": 4.0}  # for how long machines are kept: for a job that comes, for none

GANGS: tuple[Cloud, ...] = ("aws", "gcp", "azure")  # where a worker that is lost is replaced
GANG: dict[str, Any] = {"nodes": 3, "fate": "worker dead", "moment": "half", "beats": 40}  # long enough for another one

MOMENTS = ("launched", "up", "begun", "half", "ended")


@dataclass(frozen=True)
class Point:
    """One way for things to go wrong.

    Attributes:
        orders: What the driver suffers from within.
        faults: What the clouds do: arguments of the sandbox's ``fault``.
        fate: What happens from outside, at ``moment``, for ``seconds`` where it lasts.
        ends: How the job has to end: ``succeeded``; ``any``, if the fault may forbid that; ``abandoned``: nobody drives
            it any more, its machines have to end by themselves.
        beats: How long the job is, in beats of 0.3 s.
        kept: For whom the job leaves its machine warm: for the ``next`` one, which then runs, or for none.
        nodes: How many machines it has. A gang has an engine that goes on without a worker.
    """

    cloud: Cloud
    name: str
    orders: dict[str, Any] = field(default_factory=dict)
    faults: tuple[dict[str, Any], ...] = ()
    fate: str = ""
    moment: str = ""
    seconds: float = 0.0
    ends: Literal["succeeded", "any", "abandoned"] = "succeeded"
    beats: int = 5
    kept: Literal["", "next", "alone"] = ""
    nodes: int = 1

    @property
    def id(self) -> str:
        return f"{self.cloud}: {self.name}"


@dataclass(frozen=True)
class Recording:
    """What a clean run on a cloud met, and where it ran; what those met that kept their machines, and what a gang did
    whose worker was replaced.
    """

    boundaries: list[dict[str, Any]]
    region: str
    kept: dict[str, list[dict[str, Any]]]
    gang: list[dict[str, Any]]


def boundaries(recorded: Iterable[dict[str, Any]]) -> list[tuple[str, int]]:
    """The boundaries worth dying at, as (label, number), in the order in which a clean run met them."""
    chosen, seen = [], Counter[str]()
    for entry in recorded:
        label = entry["label"]
        seen[label] += 1
        times = TIMES[label.split()[0]]
        if label.startswith("commit ") and "," not in label:
            times = POLLED_TIMES
        if seen[label] <= times:
            chosen.append((label, seen[label]))
    return chosen


def deaths(cloud: Cloud, met: Iterable[tuple[str, int]]) -> Iterator[Point]:
    """A driver killed before and after each boundary, and each reply lost."""
    for label, number in met:
        for when in ("before", "after"):
            orders = {"kill": {"at": label, "number": number, "when": when}}
            yield Point(cloud, f"killed {when} {label} #{number}", orders)
        if label.startswith("http ") and number == 1:
            yield Point(cloud, f"reply lost of {label} #{number}", {"lose": {"at": label, "number": number}})


def kept(cloud: Cloud, recorded: Recording) -> Iterator[Point]:
    """Machines that are kept: deaths from the first boundary on that other jobs do not have, and what may happen."""
    known = set(boundaries(recorded.boundaries))
    for whom in KEPT:
        later = itertools.dropwhile(known.__contains__, boundaries(recorded.kept[whom]))
        for point in deaths(cloud, later):
            yield replace(point, name=f"kept for {whom}, {point.name}", kept=whom)
    yield Point(cloud, "kept, machine dead meanwhile", fate="dead", moment="kept", kept="alone")
    yield Point(cloud, "kept, driver gone for good", fate="gone", moment="kept", ends="abandoned", kept="alone")


def refusals(cloud: Cloud) -> Iterator[Point]:
    """What a cloud may answer to a launch, a look and an end."""
    provider, create = ("gcp" if cloud == "tpu" else cloud), CREATE[cloud]

    def fault(action: str, kind: str, code: str = "", **more: Any) -> dict[str, Any]:
        return {"cloud": provider, "action": action, "kind": kind, "code": code, **more}

    lost = fault(create, "lost", LOST[cloud])
    for why, code in REFUSALS[cloud].items():
        # Who we are and what a login may do is the same in all of a cloud: without it there is nowhere to go.
        ends: Literal["succeeded", "any"] = "any" if why in ("auth", "expired") else "succeeded"
        message = POLICY_SAYS[cloud] if why == "policy" else ""
        yield Point(cloud, f"create refused: {why}", faults=(fault(create, "error", code, message=message),), ends=ends)
        twice = (lost, fault(create, "error", code, message=message, times=2))
        yield Point(cloud, f"create lost, then refused: {why}", faults=twice, ends=ends)
    for action, what in ((create, "create"), (DESCRIBE[cloud], "describe"), (END[cloud], "end")):
        yield Point(cloud, f"{what} lost", faults=(fault(action, "lost", LOST[cloud]),))
        yield Point(cloud, f"{what} slow", faults=(fault(action, "slow", seconds=SLOW_S),))
        yield Point(cloud, f"{what} answered 5xx", faults=(fault(action, "error", BROKEN[cloud], times=2),))
        yield Point(cloud, f"{what} throttled", faults=(fault(action, "error", THROTTLED[cloud], times=3, seconds=1),))
    yield Point(cloud, "end refused: auth", faults=(fault(END[cloud], "error", REFUSALS[cloud]["auth"], times=2),))


def fates(cloud: Cloud) -> Iterator[Point]:
    """What happens to machines, to our own network, to the store, to the clock, and to a driver that never returns."""
    for moment in MOMENTS:
        yield Point(cloud, f"machine dead when {moment}", fate="dead", moment=moment)
        yield Point(cloud, f"own network out when {moment}", fate="netout", moment=moment, seconds=6)
    for moment in ("up", "half", "ended"):
        yield Point(cloud, f"machine hung when {moment}", fate="hung", moment=moment)
        yield Point(cloud, f"object store out when {moment}", fate="storeout", moment=moment, seconds=6)
    for moment in ("launched", "half"):
        for step in (3600, -3600):
            about = {"orders": {"clock": True}, "fate": "clock", "moment": moment, "seconds": step}
            yield Point(cloud, f"clock {step:+} s when {moment}", **about)
    for moment in ("now", "half"):
        for fate in ("locked", "full", "away"):
            yield Point(cloud, f"store {fate} when {moment}", fate=fate, moment=moment, seconds=8)
    for moment in ("launched", "up", "begun", "half"):
        about = {"fate": "gone", "moment": moment, "ends": "abandoned", "beats": 600}
        yield Point(cloud, f"driver gone for good when {moment}", **about)
    yield Point(cloud, "cancelled, and killed, when half", fate="cancel and kill", moment="half", ends="any", beats=60)
    yield Point(cloud, "address given to a stranger when half", fate="stranger", moment="half", beats=10)
    if cloud == "aws":
        unseen = {"cloud": "aws", "action": "start", "kind": "unseen", "seconds": 5.0}
        lost = {"cloud": "aws", "action": CREATE["aws"], "kind": "lost", "code": LOST["aws"]}
        yield Point(cloud, "new instance unseen", faults=(unseen,))
        yield Point(cloud, "new instance unseen, cancelled when launched", faults=(unseen,), fate="cancel and kill",
                    moment="launched", ends="any")  # fmt: skip
        for why in ("capacity", "auth"):
            refused = {**lost, "kind": "error", "code": REFUSALS["aws"][why], "times": 2}
            ends: Literal["succeeded", "any"] = "any" if why == "auth" else "succeeded"
            yield Point(
                cloud, f"create lost and unseen, then refused: {why}", faults=(unseen, lost, refused), ends=ends
            )
    mute = {"cloud": "gcp" if cloud == "tpu" else cloud, "action": "boot", "kind": "mute"}
    yield Point(cloud, "SSH unreachable", faults=(mute,))


def gang(cloud: Cloud, recorded: Recording) -> Iterator[Point]:
    """A gang is launched, loses a worker and gets another: deaths before each step of that."""
    for point in deaths(cloud, boundaries(recorded.gang)):
        if point.orders.get("kill", {}).get("when") != "after":
            yield replace(point, name=f"gang, {point.name}", **GANG)


def closed(cloud: Cloud, region: str) -> Iterator[Point]:
    """The region that a clean run chose lets nobody in: the job has to find another one of the same cloud."""
    provider = "gcp" if cloud == "tpu" else cloud
    fault = {"cloud": provider, "action": "*", "kind": "error", "code": REFUSALS[cloud]["policy"], "times": 1000,
             "region": region, "message": POLICY_SAYS[cloud]}  # fmt: skip
    if cloud == "aws":
        fault |= {"service": "ec2"}  # who we are is still told, by STS
    yield Point(cloud, "region closed: policy", faults=(fault,))


def enumerate_points(recordings: dict[Cloud, Recording]) -> list[Point]:
    """All points of the clouds recorded; no two have the same id."""
    points = itertools.chain.from_iterable(
        itertools.chain(
            [Point(cloud, "nothing goes wrong")],
            deaths(cloud, boundaries(recorded.boundaries)),
            refusals(cloud),
            closed(cloud, recorded.region),
            fates(cloud),
            kept(cloud, recorded),
            gang(cloud, recorded),
        )
        for cloud, recorded in recordings.items()
    )
    return list({point.id: point for point in points}.values())


def slug(point: Point) -> str:
    """A short name for folders."""
    return re.sub(r"[^a-z0-9]+", "-", point.id.lower())[:60].strip("-")
