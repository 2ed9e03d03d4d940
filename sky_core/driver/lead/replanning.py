"""What is left of a DAG planned anew: where a task cannot be had as planned, or its job's policy went elsewhere."""

from __future__ import annotations

import time
from dataclasses import replace

from sky_core.driver.stages.fitting import own_task
from sky_core.driver.step import Step
from sky_core.errors import Infeasible, NoFeasibleOffering
from sky_core.events import Happening, ObjectiveMissed, Replanned
from sky_core.job.memory import placement_of
from sky_core.job.outcome import Outcome
from sky_core.job.progress import so_far
from sky_core.planner.alternatives import queue_hours
from sky_core.planner.candidates import is_blocked
from sky_core.planner.capacity import outlasts
from sky_core.planner.plan import Placement, Plan
from sky_core.planner.planning import Market, SoFar, make_plan
from sky_core.spec import Objective, Pipeline
from sky_core.store import Job, StoredPlan


def around(step: Step) -> Outcome | None:
    """What is left of the DAG planned around the place where a job's policy has got it, if that is not as planned.

    Only of a job without a deadline: of others the plan shares out the time. Where no plan keeps the objective's limits
    any more, the one there is stays: the task may well end for less than it was planned for.
    """
    promise, place = step.memory.promise, step.memory.placement
    if promise is None or promise.firm or place is None:
        return None
    version, pipeline, plan = step.planned()
    planned, own = plan.placements.get(step.job.task), own_task(step, pipeline)
    if planned is None or own != pipeline.task(own.name) or planned.machine == place.machine:
        return None
    market, (fixed, done) = step.market(pipeline.name), _others(step, plan)
    why = blocking(step, planned, market) or "its spot policy chose another place"
    fixed[own.name] = place
    try:
        made = make_plan(pipeline, market, plan.objective, fixed=fixed, so_far=done, reason=why)
    except (Infeasible, NoFeasibleOffering):
        return None
    return newer_plan(step, version, pipeline, plan, made)


def blocking(step: Step, place: Placement, market: Market) -> str:
    """Why that place is not to be had; empty if it is, or the job would wait for it."""
    waits = queue_hours(step.task.resources, place)
    reasons = {block.reason for block in market.blocked if is_blocked(place, [block], waits)}
    return "; ".join(sorted(reasons)) or outlasts(place, time.time())


def newer_plan(step: Step, version: int, pipeline: Pipeline, before: Plan, made: Plan) -> Outcome:
    """Another version of the plan, and the event that tells of it."""
    from_, to = (plan.placements[step.job.task].machine for plan in (before, made))
    usd = {"plan_usd_before": before.cost_usd, "plan_usd": made.cost_usd}
    newer = StoredPlan(version + 1, pipeline.model_dump_json(), made.model_dump_json())
    return step.comes_to(plan=newer, events=[Replanned(from_=from_, to=to, why=made.reason, **usd)])


def replan(step: Step, pipeline: Pipeline, plan: Plan, market: Market, reason: str) -> tuple[Plan, list[Happening]]:
    """A plan of what is left: tasks whose jobs have machines, or had them to the end, stay where they are."""
    fixed, done = _others(step, plan)
    try:
        return make_plan(pipeline, market, plan.objective, fixed=fixed, so_far=done, reason=reason), []
    except Infeasible as error:
        # Better late or dear than never: the promise is broken by the clouds, the pipeline still goes on.
        hurry = Objective(minimize="time")
        made = make_plan(pipeline, market, hurry, fixed=fixed, so_far=done, reason=reason)
        return made.model_copy(update={"objective": plan.objective}), [ObjectiveMissed(error=str(error))]


def progress(step: Step, plan: Plan) -> SoFar:
    """How far the plan's jobs are; this one has what its last checkpoint holds."""
    return _others(step, plan)[1]


def _others(step: Step, plan: Plan) -> tuple[dict[str, Placement], SoFar]:
    """Where the plan's other jobs stay, and how far all of them are."""
    jobs = _placed_jobs(step)
    done = so_far(plan.begun, jobs, step.driving.settings.scale)
    kept = {**done.kept, step.job.task: step.memory.tries.kept}
    return {job.task: place for job in jobs if (place := placement_of(job))}, replace(done, kept=kept)


def _placed_jobs(step: Step) -> list[Job]:
    """The other jobs of the plan that have machines, or had them to the end."""
    return [
        job
        for job in step.driving.store.jobs(plan_key=step.job.plan_key)
        if job.id != step.job.id and job.memory.get("placement") and job.state not in ("failed", "cancelled")
    ]
