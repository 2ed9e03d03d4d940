"""A plan: where each task of a pipeline runs, what that costs and takes, and what it was chosen over."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sky_core.spec import Objective, Pipeline


class Record(BaseModel):
    """Base of the plan's models: frozen, and JSON that survives a round trip."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Placement(Record):
    """One task on one offering.

    Attributes:
        price: USD per hour and machine, in the market chosen.
        hours: Estimated run time, hours, without boot and transfer.
        hours_at_most: Hours that all but one in twenty runs stay below, as far as past runs tell; else ``hours``.
        hours_source: Where the estimate came from, e.g. ``"user"``, ``"history (7 runs)"``, ``"default (1 h)"``.
        overhead: Expected extra hours for each hour on spot: preemptions, lost work, checkpoints.
        done: Share of the work that was done by then, on machines before this one: it is not done again.
        compute_usd: (hours x (1 - done) x (1 + overhead) + boot_hours) x usd_per_hour.
        egress_usd: What moving its inputs to it costs.
        transfer_hours: How long its slowest input takes to arrive.
        changing: Machines of an elastic gang at most that come and go, beside ``num_nodes`` that stay…
        changing_price: …and what each of them is taken to cost, USD per hour.
        reservation: What its launch names to get into capacity that is reserved; None for what is sold to all.
        until: When the reservation ends, seconds since the epoch; None where it does not.
    """

    task: str
    cloud: str
    region: str
    zone: str | None
    instance_type: str
    accelerator: str | None
    accelerator_count: float
    arch: str
    use_spot: bool
    num_nodes: int
    price: float
    hours: float
    hours_at_most: float
    hours_source: str
    boot_hours: float
    overhead: float = 0.0
    done: float = 0.0
    compute_usd: float
    egress_usd: float = 0.0
    transfer_hours: float = 0.0
    changing: int = 0
    changing_price: float = 0.0
    reservation: str | None = None
    until: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _stored_before(cls, data: dict[str, object]) -> dict[str, object]:
        # Plans that earlier versions stored know of expected hours only.
        return {"hours_at_most": data["hours"], **data}

    @property
    def expected_hours(self) -> float:
        """Hours that the machine is expected to be needed."""
        return self.hours * (1 - self.done) * (1 + self.overhead) + self.boot_hours

    @property
    def usd_per_hour(self) -> float:
        """What all its machines cost."""
        return self.price * self.num_nodes + self.changing_price * self.changing

    @property
    def usd_at_most(self) -> float:
        """``compute_usd``; of an elastic gang, if none of the machines that come and go is ever to be had cheaper.

        However few machines then do all of the work, as long as more of them are not faster than in proportion.
        """
        return self.compute_usd * self.price * (self.num_nodes + self.changing) / self.usd_per_hour

    @property
    def location(self) -> tuple[str, str]:
        """(cloud, region): what egress depends on."""
        return self.cloud, self.region

    @property
    def market(self) -> Literal["spot", "on-demand", "reserved"]:
        """How its machines are had."""
        return "spot" if self.use_spot else "reserved" if self.reservation else "on-demand"

    @property
    def machine(self) -> str:
        """The offering in a few words, e.g. ``aws/us-east-1a p3.2xlarge (V100:1, spot)``."""
        accelerator = f"{self.accelerator}:{self.accelerator_count:g}" if self.accelerator else ""
        details = ", ".join(part for part in (accelerator, self.market) if part)
        return f"{self.cloud}/{self.zone or self.region} {self.instance_type} ({details})"


class Transfer(Record):
    """What a task waits for: data on its way from another task or from a given place, or just another task's end.

    Attributes:
        task: Who receives it.
        source: The task that it comes from; None for data that was given.
        inputs: The receiver's inputs that arrive with it; none of them on an edge of order alone.
        origin: (cloud, region) that it comes from, and whose egress is paid.
        gb: How much, as far as the sizes are told.
        sized: Whether all of them are.
        usd, hours: What the move costs and takes.
    """

    task: str
    source: str | None
    inputs: tuple[str, ...]
    origin: tuple[str, str]
    gb: float
    sized: bool
    usd: float
    hours: float


class Span(Record):
    """When a task's machine is needed: hours from the plan's making.

    Attributes:
        slack: How much later it could end without ending the whole plan later; 0 on the critical path.
    """

    start: float
    end: float
    slack: float


class Block(Record):
    """Something not to be had for now. Fields that are None match everything.

    Attributes:
        accelerator: "" matches machines without.
        reservation: "" matches what is sold to all.
        num_nodes: It holds for launches of so many machines or more.
        passing: Whether it is worth waiting for: machines of one's own that others have just now.
        guessed: Whether it was concluded from its neighbours: it gives way where nothing else is left.
        waited: Hours for which machines were waited for in vain: it covers none for which a launch would wait longer in
            its cloud's own queue. None where a wait is of no use.
    """

    cloud: str
    region: str | None = None
    zone: str | None = None
    instance_type: str | None = None
    accelerator: str | None = None
    use_spot: bool | None = None
    reservation: str | None = None
    num_nodes: int = 1
    reason: str = ""
    until: float = float("inf")
    passing: bool = False
    guessed: bool = False
    waited: float | None = None

    @property
    def scope(self) -> dict[str, object]:
        """The fields that have to be equal for a placement to be covered."""
        about = {"num_nodes", "reason", "until", "passing", "guessed", "waited"}
        return self.model_dump(exclude=about, exclude_none=True)


class Alternative(Record):
    """A task's next-best kind of machine: what the whole plan would cost and take with it, more than now.

    Attributes:
        extra_egress_usd: The part of ``extra_usd`` that is for data on the move; the rest is for machines.
        moved: Other tasks that would run in another region then.
    """

    machine: str
    extra_usd: float
    extra_egress_usd: float = 0.0
    extra_hours: float
    moved: tuple[str, ...] = ()


class Alone(Record):
    """The best plan within one cloud; without cost and hours where there is none, and ``why``."""

    cost_usd: float | None
    hours: float | None = None
    why: str = ""


class Deal(Record):
    """So much money for so much time: a plan than which none is cheaper and as fast."""

    hours: float
    cost_usd: float
    optimal: bool


class Guess(Record):
    """Something that nobody has told and that the plan takes as a default, and how far it may be off.

    Attributes:
        task: Whose run time, whose outputs or whose given inputs it is about.
        what: ``"hours"`` of run time, or the GB of all outputs or given inputs without a size.
        assumed: The default, in hours or GB.
        below, above: Up to there no other plan is better; None where none is within ``looked_at``.
        below_then, above_then: What would be better beyond.
        looked_at: From and to; None if there was no time to look.
    """

    task: str
    what: Literal["hours", "output_gb", "input_gb"]
    assumed: float
    below: float | None = None
    below_then: str = ""
    above: float | None = None
    above_then: str = ""
    looked_at: tuple[float, float] | None = None


class Plan(Record):
    """Placements of a whole pipeline.

    Attributes:
        cost_usd: Compute and egress of all tasks.
        hours: Makespan from ``created_at`` on: finish times over the DAG, parallel branches overlapping.
        bound: Proven lower bound on the objective (USD, hours, or their product).
        optimal: Whether the bound was met.
        transfers: What each task waits for, data and order.
        schedule: When each task's machine is needed.
        alone: The best plan within each one cloud.
        next_best: Task to its best other kind of machine (None where there is none); only in dry runs.
        deals: Other deals of money for time; only in dry runs that ask for them.
        guesses: What was taken as a default, and what it would have to be for the choice to change; only in dry runs.
        left_out: Clouds that were not considered, each with the reason.
        remarks: What to know before paying: machines that end, old prices, estimates that fit nothing.
        dag_hash: Hash of the pipeline that was planned.
        begun_at: When the pipeline was first planned (seconds since the epoch): a deadline in hours counts from then.
        reason: Why this version was made: ``"first plan"``, or what was refused.
    """

    pipeline: str
    objective: Objective
    placements: Mapping[str, Placement]
    cost_usd: float
    hours: float
    bound: float
    optimal: bool
    method: str
    transfers: tuple[Transfer, ...] = ()
    schedule: Mapping[str, Span] = Field(default_factory=dict)
    alone: Mapping[str, Alone] = Field(default_factory=dict)
    deals: tuple[Deal, ...] = ()
    guesses: tuple[Guess, ...] = ()
    next_best: Mapping[str, Alternative | None] = Field(default_factory=dict)
    left_out: Mapping[str, str] = Field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    catalog_version: str
    dag_hash: str
    created_at: float
    begun_at: float | None = None
    reason: str = "first plan"

    @model_validator(mode="before")
    @classmethod
    def _stored_before(cls, data: dict[str, Any]) -> dict[str, Any]:
        # Plans that earlier versions stored know of each cloud's cost only.
        costs: Mapping[str, float | None] = data.get("single_cloud", {})
        kept = {name: value for name, value in data.items() if name != "single_cloud"}
        return {"alone": {cloud: {"cost_usd": usd} for cloud, usd in costs.items()}, **kept}

    @property
    def single_cloud(self) -> dict[str, float | None]:
        """USD of the best plan within each one cloud; None where there is none."""
        return {cloud: plan.cost_usd for cloud, plan in self.alone.items()}

    @property
    def begun(self) -> float:
        """When the pipeline was first planned, seconds since the epoch."""
        return self.created_at if self.begun_at is None else self.begun_at

    @property
    def clouds(self) -> tuple[str, ...]:
        """The clouds this plan uses."""
        return tuple(sorted({placement.cloud for placement in self.placements.values()}))

    def best_single_cloud(self) -> tuple[str, float] | None:
        """The cheapest cloud that could run everything alone, with its cost; None if none could."""
        feasible = [(cost, cloud) for cloud, cost in self.single_cloud.items() if cost is not None]
        return (min(feasible)[1], min(feasible)[0]) if feasible else None


def dag_hash(pipeline: Pipeline) -> str:
    """A hash that changes whenever the pipeline does."""
    return hashlib.sha256(pipeline.model_dump_json().encode()).hexdigest()[:16]
