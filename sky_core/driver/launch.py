"""From a plan to machines: intent, launch, and failover with the rest of the DAG planned anew.

A launch is written down before it is made, under a token that makes it idempotent: a driver that dies anywhere
in between is replaced by one that makes the same call again and gets the same machines.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from sky_core.clouds.base import TAG_CLUSTER, TAG_JOB, TAG_OWNER, LaunchRequest
from sky_core.clouds.userdata import public_key
from sky_core.driver.lead.pilot import decide, elsewhere, pilot_of
from sky_core.driver.lead.promise import checkpoint_hours, due_at, warning
from sky_core.driver.step import Step
from sky_core.errors import (
    AuthError,
    CapacityError,
    CloudError,
    Infeasible,
    InvalidRequest,
    NoCloudEnabled,
    NoFeasibleOffering,
    QuotaError,
    Scope,
    SpecError,
    Throttled,
    UnknownOutcome,
)
from sky_core.job.memory import Promise
from sky_core.job.progress import so_far
from sky_core.planner.candidates import is_blocked
from sky_core.planner.market import current_market
from sky_core.planner.plan import Placement, Plan
from sky_core.planner.planning import Market, make_plan
from sky_core.remote import keys
from sky_core.spec import Objective, Pipeline
from sky_core.store import Cluster, JobState, Observation
from sky_core.store.records import Seen

log = logging.getLogger(__name__)

REFUSALS: dict[type[CloudError], tuple[str, Seen]] = {
    CapacityError: ("capacity", "capacity"),
    QuotaError: ("quota", "quota"),
    AuthError: ("auth", "auth"),
    InvalidRequest: ("invalid", "capacity"),
}

MAX_LAUNCH_ERRORS = 8  # throttled or unclear calls in a row before a place is given up; waits double from 0.5 s


def place(step: Step) -> None:
    """Decide where the next attempt runs, or that it has to wait, and write down the intent to launch there."""
    try:
        placement = _next_placement(step)
    except (NoFeasibleOffering, NoCloudEnabled, SpecError) as error:
        told = {"exit_code": None, "error": f"{error}{_attempts(step)}"}
        step.save(verdict="failed", closing="exhausted", result=told, events=[("exhausted", {"error": str(error)})])
        return
    if placement is not None:
        intend(step, placement)


def intend(step: Step, placement: Placement) -> None:
    """Write down the intent to launch the next attempt's machines, as successors if the job is running."""
    attempt = step.job.attempt + 1
    token = f"sky-{step.job.id.removeprefix('job-')}-{attempt}"
    host_key = public_key(keys.identity(step.driving.settings, step.job.key_id).host_key(token))
    cluster = Cluster(
        token=token, job_id=step.job.id, attempt=attempt, state="intended", cloud=placement.cloud,
        region=placement.region, zone=placement.zone, instance_type=placement.instance_type,
        use_spot=placement.use_spot, num_nodes=placement.num_nodes, price=placement.price, host_key=host_key,
        intended_at=time.time(), accelerator=placement.accelerator,
    )  # fmt: skip
    about = {"attempt": attempt, "machine": placement.machine, **where(cluster)}
    if step.cluster is not None:
        step.save(attempt=attempt, cluster=cluster, successor=placement, events=[("launching", about)])
    else:
        state: JobState = "recovering" if step.memory.log_base else "provisioning"
        step.save(state=state, attempt=attempt, cluster=cluster, placement=placement, events=[("launching", about)])


def launch(step: Step, cluster: Cluster) -> None:
    """Make the intended launch; a refusal blocks what was refused.

    It then leads back to :func:`place`, unless the job is running elsewhere: it stays there.
    """
    try:
        instances = step.driving.clouds[cluster.cloud].launch(_request(step, cluster))
    except (CapacityError, QuotaError, AuthError, InvalidRequest) as error:
        _refused(step, cluster, error)
        return
    except (Throttled, UnknownOutcome) as error:
        _unclear(step, cluster, error)
        return
    launched = replace(
        cluster, state="launched", launched_at=time.time(), instance_ids=tuple(instance.id for instance in instances)
    )
    step.driving.store.observe(observation(cluster, "launched"))
    ids = list(launched.instance_ids)
    moves = cluster is step.successor
    step.save(
        cluster=launched,
        launch_errors=0,
        events=[("launched", {"attempt": cluster.attempt, "instances": ids, **where(cluster)})],
        **({"leaving": True} if moves else {"waiting_since": time.time()}),
    )


def _request(step: Step, cluster: Cluster) -> LaunchRequest:
    task, identity = step.task, keys.identity(step.driving.settings, step.job.key_id)
    placement = step.memory.successor if cluster is step.successor else step.memory.placement
    assert placement is not None
    return LaunchRequest(
        token=cluster.token,
        instance_type=cluster.instance_type,
        region=cluster.region,
        zone=cluster.zone,
        use_spot=cluster.use_spot,
        num_nodes=cluster.num_nodes,
        accelerator=placement.accelerator,
        accelerator_count=placement.accelerator_count,
        image=task.resources.image,
        disk_gib=task.resources.disk_size,
        arch=placement.arch,
        ports=task.resources.ports,
        host_key=identity.host_key(cluster.token),
        authorized_key=public_key(identity.client_key),
        tags={TAG_OWNER: step.driving.store.id, TAG_CLUSTER: cluster.token, TAG_JOB: step.job.id},
    )


def _refused(step: Step, cluster: Cluster, error: CloudError) -> None:
    # What a cloud will never sell (a retired type, a stale catalog row) is blocked like missing capacity.
    kind, seen = next(pair for kind_of, pair in REFUSALS.items() if isinstance(error, kind_of))
    scope: Scope = getattr(error, "scope", "zone")
    step.driving.store.observe(observation(cluster, seen, scope))
    moves = cluster is step.successor
    step.save(
        state=None if moves else "provisioning",
        successor=None,
        cluster=replace(cluster, state="refused", ended_at=time.time(), outcome=kind),
        launch_errors=0,
        events=[("refused", {"attempt": cluster.attempt, "why": kind, "message": str(error), **where(cluster)})],
    )


def _unclear(step: Step, cluster: Cluster, error: CloudError) -> None:
    errors = step.memory.launch_errors + 1
    if errors > MAX_LAUNCH_ERRORS:
        step.driving.store.observe(observation(cluster, "capacity"))
        ending: dict[str, Any] = {"successor": None} if cluster is step.successor else {"closing": "unclear"}
        step.save(launch_errors=0, events=[("gave up", {"message": str(error), **where(cluster)})], **ending)
        return
    wait = min(0.5 * 2**errors, 60.0)
    log.warning("%s: launch of %s: %s; again in %.1f s", step.job.id, cluster.token, error, wait)
    step.save(after_s=wait, launch_errors=errors, events=[("launch unclear", {"message": str(error)})])


def _next_placement(step: Step) -> Placement | None:
    """Where the next attempt runs: as planned, or with a deadline where its policy says; None if it is to wait."""
    promise = step.memory.promise or _promised(step)
    pilot = pilot_of(step, promise) if promise else None
    if promise is None or pilot is None:
        return _planned(step)
    decision = decide(step, pilot, promise, None)
    if decision.state == "idle":
        waits = [] if step.memory.idle else [("waiting", {"zones": sorted(pilot.berths)})]
        step.save(after_s=step.driving.settings.poll_s, idle=True, events=waits)
        return None
    placement = pilot.placement(decision)
    if placement is None:
        promise = elsewhere(step, promise)
        placement = promise.kind
    danger = warning(step, promise, None)
    step.save(promise=promise.model_copy(update={"warned": promise.warned or bool(danger)}), events=danger)
    return placement


def _promised(step: Step) -> Promise | None:
    """The promise of a job that has a deadline and may use spot; None of any other."""
    due = due_at(step)
    if due is None:
        return None
    kind = _planned(step)
    on_spot = kind.model_copy(update={"use_spot": True})
    # A sync may be due just then, and the last one may have caught a state that was as old.
    at_risk = 2 * (checkpoint_hours(step, on_spot, promised=True) or 0.0)
    promise = Promise(since=time.time(), due=due, kind=kind, at_risk=at_risk)
    if pilot_of(step, promise) is None:
        return None
    hours = step.driving.settings.scale.hours(due - promise.since)
    about = {"hours": hours, "work": promise.work, "source": promise.kind.hours_source}
    step.save(promise=promise, events=[("promised", about)])
    return promise


def _planned(step: Step) -> Placement:
    """Where the plan puts the task; if that is not to be had, what is left of the DAG is planned anew first."""
    store = step.driving.store
    while True:
        version, pipeline, plan = step.planned()
        market = current_market(step.settings, store, pipeline.name)
        planned = plan.placements[step.job.task]
        blocks = [block for block in market.blocked if is_blocked(planned, [block])]
        if not blocks:
            return planned
        made = _replan(step, pipeline, plan, market, "; ".join(sorted({block.reason for block in blocks})))
        if store.replace_plan(step.job.plan_key, version, pipeline.model_dump_json(), made.model_dump_json()):
            now_at = made.placements[step.job.task]
            about = {"from": planned.machine, "to": now_at.machine, "why": made.reason,
                     "plan_usd_before": plan.cost_usd, "plan_usd": made.cost_usd}  # fmt: skip
            step.save(events=[("replanned", about)])
            return now_at


def _replan(step: Step, pipeline: Pipeline, plan: Plan, market: Market, reason: str) -> Plan:
    """Plan what is left: tasks whose jobs have machines, or had them to the end, stay where they are."""
    jobs = [
        job
        for job in step.driving.store.jobs(plan_key=step.job.plan_key)
        if job.id != step.job.id and job.memory.get("placement") and job.state not in ("failed", "cancelled")
    ]
    fixed = {job.task: Placement.model_validate(job.memory["placement"]) for job in jobs}
    done = so_far(plan.begun, jobs, step.driving.settings.scale)
    try:
        return make_plan(pipeline, market, plan.objective, fixed=fixed, so_far=done, reason=reason)
    except Infeasible as error:
        # Better late or dear than never: the promise is broken by the clouds, the pipeline still goes on.
        step.save(events=[("objective missed", {"error": str(error)})])
        hurry = Objective(minimize="time")
        made = make_plan(pipeline, market, hurry, fixed=fixed, so_far=done, reason=reason)
        return made.model_copy(update={"objective": plan.objective})


def _attempts(step: Step) -> str:
    """Each attempt so far and why it ended, for the one error that reports them all."""
    tried = step.driving.store.clusters(job_id=step.job.id)
    lines = [f"\n  {c.attempt}. {c.cloud}/{c.zone or c.region} {c.instance_type}: {c.outcome}" for c in tried]
    return "; attempts:" + "".join(lines) if lines else ""


def where(cluster: Cluster) -> dict[str, object]:
    return {"cloud": cluster.cloud, "region": cluster.region, "zone": cluster.zone,
            "instance_type": cluster.instance_type, "use_spot": cluster.use_spot}  # fmt: skip


def observation(cluster: Cluster, kind: Seen, scope: Scope = "zone", hours: float | None = None) -> Observation:
    """What a cluster's launch or end teaches the tracker."""
    return Observation(
        at=time.time(), cloud=cluster.cloud, region=cluster.region, zone=cluster.zone,
        instance_type=cluster.instance_type, market="spot" if cluster.use_spot else "on-demand",
        kind=kind, scope=scope, hours=hours, accelerator=cluster.accelerator,
    )  # fmt: skip
