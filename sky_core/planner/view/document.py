"""A plan for other programs: ``skyloom plan FILE --json``. What stands here stays as it is until ``version`` changes.

The plan that the store keeps may change with every release; this document may only gain fields.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from sky_core.planner.plan import Plan
from sky_core.planner.view import words
from sky_core.spec import Objective


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class CloudMoney(_Part):
    """What one cloud is paid."""

    cloud: str
    compute_usd: float
    egress_usd: float
    """For data that leaves the cloud or one of its regions: senders pay."""


class Totals(_Part):
    """What the whole plan costs and takes."""

    cost_usd: float
    compute_usd: float
    egress_usd: float
    hours: float
    """Makespan, from the plan's making to the end of the last task."""
    by_cloud: tuple[CloudMoney, ...]


class Proof(_Part):
    """How good the plan is proven to be."""

    optimal: bool
    bound: float
    """Nothing below this exists, in the unit of what is minimized."""
    unit: Literal["USD", "h", "USD x h"]
    method: str


class TaskTimes(_Part):
    """When a task's machine is needed, in hours from the plan's making."""

    name: str
    start_hours: float | None = None
    end_hours: float | None = None
    slack_hours: float | None = None
    """How much later it could end without ending the plan later; 0 on the critical path."""
    hours_source: str
    """Where the estimate of its run time comes from, e.g. `user`, `history (7 runs)`, `default (1 h)`."""


class DataEdge(_Part):
    """What a task waits for: data of another task, data that was given, or another task's end."""

    source: str | None
    """The upstream task; null for data that was given."""
    target: str
    inputs: tuple[str, ...]
    """The inputs of `target` that arrive; empty on an edge of order alone."""
    origin: str
    """Cloud and region that the data comes from."""
    gb: float
    sized: bool
    """False where a size was not told; it counts 0 GB."""
    egress_usd: float
    transfer_hours: float


class TaskPlacement(_Part):
    """Where a task runs, and what that costs."""

    cloud: str
    region: str
    zone: str | None
    instance_type: str
    accelerator: str | None
    accelerator_count: float
    arch: str
    market: Literal["spot", "on-demand"]
    reservation: str | None
    """What its launch names to get into capacity that is reserved."""
    num_nodes: int
    price_usd_per_hour: float
    """Of one machine, in that market."""
    changing_nodes: int
    """Machines at most of an elastic gang that come and go on spot, beside those."""
    changing_usd_per_hour: float
    """Of each of these."""
    run_hours: float
    """Without boot, transfer and preemptions."""
    expected_hours: float
    """That each machine is expected to be needed, boot and preemptions included."""
    compute_usd: float
    egress_usd: float
    """For the data that reaches it."""


class RunnerUp(_Part):
    """A task's next-best kind of machine, and what the whole plan would lose with it."""

    machine: str
    extra_usd: float
    extra_egress_usd: float
    """The part of `extra_usd` that is for data on the move."""
    extra_hours: float
    moved: tuple[str, ...]
    """Other tasks that would run in another region then."""
    why: str


class SingleCloud(_Part):
    """The best plan within one cloud."""

    cost_usd: float | None
    """Null where one cloud cannot do it."""
    hours: float | None
    why: str
    """Why it cannot; empty if it can."""


class FrontierPoint(_Part):
    """A plan than which none is cheaper and as fast."""

    hours: float
    cost_usd: float
    optimal: bool


class Assumption(_Part):
    """A default that stands in for what nobody told, and how far off it may be before another plan is better."""

    task: str
    what: Literal["hours", "output_gb", "input_gb"]
    """Its run time, or the GB of its outputs or given inputs that have no size."""
    assumed: float
    below: float | None
    """At less than this another plan would be better; null: at nothing that was looked at."""
    above: float | None
    """The same at more."""
    below_then: str
    above_then: str
    looked_at: tuple[float, float] | None
    """From and to; null if there was no time to look."""
    text: str


class CloudState(_Part):
    """Whether a cloud could be used now."""

    name: str
    usable: bool
    why: str
    """What is missing; empty if it is usable."""
    considered: bool
    """Whether the plan may use it: with no account at all, every enabled cloud is priced all the same."""


class PlanDocument(_Part):
    """A plan of a pipeline. Money is in USD, times are in hours, data in GB of 10^9 bytes."""

    version: Literal[1] = 1
    pipeline: str
    created_at: datetime
    reason: str
    """`first plan`, or why it was made anew."""
    dag_hash: str
    """Changes whenever the pipeline does."""
    catalog: str
    """Version of the catalog that the prices are from."""
    objective: Objective
    totals: Totals
    proof: Proof
    tasks: tuple[TaskTimes, ...]
    edges: tuple[DataEdge, ...]
    placements: Mapping[str, TaskPlacement]
    runners_up: Mapping[str, RunnerUp | None]
    """By task, null where no other kind of machine would do. In pipelines of many tasks: of the dearest."""
    single_clouds: Mapping[str, SingleCloud]
    frontier: tuple[FrontierPoint, ...]
    """From the fastest plan to the cheapest; empty where a task has a clock time of its own to keep."""
    assumptions: tuple[Assumption, ...]
    remarks: tuple[str, ...]
    """What else people should know of the plan, in words."""
    clouds: tuple[CloudState, ...]

    @classmethod
    def of(cls, plan: Plan) -> PlanDocument:
        """The document of a plan."""
        unit: Mapping[str, Literal["USD", "h", "USD x h"]] = {"cost": "USD", "time": "h", "cost*time": "USD x h"}
        egress = sum(placement.egress_usd for placement in plan.placements.values())
        return cls(
            pipeline=plan.pipeline,
            created_at=datetime.fromtimestamp(plan.created_at, UTC),
            reason=plan.reason,
            dag_hash=plan.dag_hash,
            catalog=plan.catalog_version,
            objective=plan.objective,
            totals=Totals(
                cost_usd=plan.cost_usd,
                compute_usd=plan.cost_usd - egress,
                egress_usd=egress,
                hours=plan.hours,
                by_cloud=money_by_cloud(plan),
            ),
            proof=Proof(optimal=plan.optimal, bound=plan.bound, unit=unit[plan.objective.minimize], method=plan.method),
            tasks=tuple(_times(plan, name) for name in plan.placements),
            edges=_edges(plan),
            placements={name: _placement(plan, name) for name in plan.placements},
            runners_up=_runners_up(plan),
            single_clouds={
                cloud: SingleCloud(cost_usd=alone.cost_usd, hours=alone.hours, why=alone.why)
                for cloud, alone in plan.alone.items()
            },
            frontier=tuple(FrontierPoint.model_validate(deal.model_dump()) for deal in plan.deals),
            assumptions=tuple(Assumption(**told.model_dump(), text=words.guess(told)) for told in plan.guesses),
            remarks=tuple(plan.remarks),
            clouds=tuple(
                CloudState(name=name, usable=not why, why=why, considered=name in plan.alone)
                for name in sorted({*plan.alone, *plan.left_out})
                for why in (plan.left_out.get(name, ""),)
            ),
        )


def money_by_cloud(plan: Plan) -> tuple[CloudMoney, ...]:
    """What each cloud is paid: machines where they run, egress where the data leaves."""
    compute: dict[str, float] = defaultdict(float)
    egress: dict[str, float] = defaultdict(float)
    for placement in plan.placements.values():
        compute[placement.cloud] += placement.compute_usd
    for transfer in plan.transfers:
        egress[transfer.origin[0]] += transfer.usd
    names = sorted({*compute, *(cloud for cloud, usd in egress.items() if usd > 0)})
    return tuple(CloudMoney(cloud=name, compute_usd=compute[name], egress_usd=egress[name]) for name in names)


def _times(plan: Plan, name: str) -> TaskTimes:
    span, source = plan.schedule.get(name), plan.placements[name].hours_source
    if span is None:
        return TaskTimes(name=name, hours_source=source)
    return TaskTimes(
        name=name, start_hours=span.start, end_hours=span.end, slack_hours=span.slack, hours_source=source
    )  # fmt: skip


def _edges(plan: Plan) -> tuple[DataEdge, ...]:
    return tuple(
        DataEdge(
            source=move.source,
            target=move.task,
            inputs=move.inputs,
            origin="/".join(move.origin),
            gb=move.gb,
            sized=move.sized,
            egress_usd=move.usd,
            transfer_hours=move.hours,
        )
        for move in plan.transfers
    )


def _placement(plan: Plan, name: str) -> TaskPlacement:
    placement = plan.placements[name]
    same = placement.model_dump(
        include={
            "cloud",
            "region",
            "zone",
            "instance_type",
            "accelerator",
            "accelerator_count",
            "arch",
            "num_nodes",
            "reservation",
            "compute_usd",
            "egress_usd",
        }
    )
    return TaskPlacement(
        **same,
        market="spot" if placement.use_spot else "on-demand",
        price_usd_per_hour=placement.price,
        changing_nodes=placement.changing,
        changing_usd_per_hour=placement.changing_price,
        run_hours=placement.hours,
        expected_hours=placement.expected_hours,
    )


def _runners_up(plan: Plan) -> dict[str, RunnerUp | None]:
    return {
        name: None if other is None else RunnerUp(**other.model_dump(), why=words.why_it_lost(other))
        for name, other in plan.next_best.items()
    }
