"""What is known of an emulated machine: the world keeps it, the ledger bills it, the clouds' APIs tell of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Market = Literal["on-demand", "spot"]
WAITS = "waits"  # in ``extra`` of a machine that is there and waits for room
MachineState = Literal["pending", "running", "stopping", "off", "gone"]
Cause = Literal["", "user", "deallocated", "preempted", "self", "killed", "failed", "expired"]


@dataclass
class Machine:
    """One emulated VM or TPU host. Times are seconds since the epoch.

    ``rests`` are the causes of an end that leave it in the account, switched off ("off"), until somebody deletes it:
    what a guest's shutdown does is up to the cloud. A machine that does not rest is "gone" at its end.
    ``pools`` are further names its capacity goes by beside ``type``, such as the accelerator attached to it
    ("V100", "V100:4"), so that a zone can run out of V100s whatever machines they are attached to.
    """

    id: str
    cloud: str
    region: str
    zone: str
    type: str
    market: Market
    vcpus: int
    tags: dict[str, str]
    ip: str
    user_data: str
    created_at: float
    state: MachineState = "pending"
    ready_at: float | None = None
    stopping_at: float | None = None  # when its end began, which takes its cloud some time
    ended_at: float | None = None
    notice_at: float | None = None  # when the cloud announced the preemption
    cause: Cause = ""
    extra: dict[str, Any] = field(default_factory=dict)  # the API server's own fields, e.g. the request body
    pools: tuple[str, ...] = ()
    rests: frozenset[Cause] = frozenset()
    deleted: bool = False  # its account has asked for its deletion
    caller: str = ""  # who launched it
    public: bool = True  # whether it was given an address of the world's
    reservation: str = ""  # the id of the one that it is in
    seen_at: float = 0.0  # before then, an eventually consistent cloud does not know it
