"""Where a job's next attempt runs: as planned, or elsewhere, with the rest of the DAG planned anew."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sky_core.driver.lead.berths import Pilot
from sky_core.driver.lead.pilot import cheaper_kind, decide, elsewhere, pilot_of, thoughts
from sky_core.driver.lead.promise import checkpoint_hours, due_at, hour_usd, warning
from sky_core.driver.stages.elsewhere import leave_what_others_can_place
from sky_core.driver.stages.fitting import misfit, own_task, plan_alone
from sky_core.driver.stages.launch import intend
from sky_core.driver.step import Step
from sky_core.driver.warm.taking import take
from sky_core.errors import Infeasible, NoCloudEnabled, NoFeasibleOffering, SpecError
from sky_core.events import (
    Exhausted,
    Happening,
    ObjectiveMissed,
    PlacedApart,
    Promised,
    Queued,
    Replanned,
    Waiting,
)
from sky_core.job.attempts import told
from sky_core.job.memory import Promise, placement_of
from sky_core.job.outcome import Outcome
from sky_core.job.progress import so_far
from sky_core.planner.candidates import free, is_blocked, rest_of
from sky_core.planner.offers import sold_for
from sky_core.planner.plan import Placement, Plan
from sky_core.planner.planning import Market, SoFar, make_plan
from sky_core.recovery.patience import time_to_end
from sky_core.spec import Objective, Pipeline, Task
from sky_core.store import Job, Result, StoredPlan

NONE: Mapping[str, Placement] = {}


@dataclass(frozen=True)
class Chosen:
    """Where a plan puts the next attempt, and what the step has come to on the way there."""

    placement: Placement
    told: Outcome


def place(step: Step) -> Outcome:
    """Where the next attempt runs, or that it has to wait: the intent to launch there."""
    limit = step.task.max_attempts or step.driving.settings.max_attempts
    if enough := step.memory.tries.enough(limit):
        return _given_up(step, f"given up after {enough} (max_attempts is {limit})")
    if (warm := take(step)) is not None:
        return warm
    try:
        return _next_attempt(step)
    except (NoFeasibleOffering, NoCloudEnabled, SpecError, Infeasible) as error:
        if isinstance(error, NoFeasibleOffering) and _is_worth_waiting(step):
            return _queued(step, str(error))
        leave_what_others_can_place(step)
        return _given_up(step, str(error))


def _is_worth_waiting(step: Step) -> bool:
    """Whether the job could run on machines of one's own, but for others that have them just now."""
    _, pipeline, _ = step.planned()
    market = step.market(pipeline.name)
    lasting = [block for block in market.blocked if not block.passing]
    if len(lasting) == len(market.blocked):
        return False
    task = own_task(step, pipeline)
    try:
        free(task, sold_for(task, market.catalog, market.clouds), lasting)
    except (NoFeasibleOffering, SpecError):
        return False
    return True


def _queued(step: Step, why: str) -> Outcome:
    told = [] if step.memory.queued else [Queued(why=why)]
    return step.comes_to(after_s=step.driving.settings.poll_s, queued=True, events=told)


def _given_up(step: Step, why: str) -> Outcome:
    """The end of the job: one error that says why, what was tried, and what to look at."""
    store = step.driving.store
    error = why + told(store.clusters(job_id=step.job.id), store.events(step.job.id))
    result: Result = {"exit_code": None, "error": error}
    return step.comes_to(verdict="failed", closing="exhausted", result=result, events=[Exhausted(error=why)])


def _next_attempt(step: Step) -> Outcome:
    """An intent as planned, or where the job's policy says; or to wait."""
    if step.memory.promise is not None:
        pilot = pilot_of(step, step.memory.promise)
        if pilot is not None:
            return _led(step, step.memory.promise, pilot)
    planned = _planned(step)
    step = step.after(planned.told)
    promise = _promised(step, planned.placement) if step.memory.promise is None else None
    pilot = pilot_of(step, promise) if promise else None
    if promise is None or pilot is None:
        return planned.told.then(intend(step, planned.placement))
    hours = step.driving.settings.scale.hours(promise.due - promise.since) if promise.firm else None
    kind = promise.kind
    event = Promised(hours=hours, work=promise.work, source=kind.hours_source, hour_usd=promise.hour_usd)
    made = planned.told.then(step.comes_to(promise=promise, events=[event]))
    if promise.firm:
        return made.then(_led(step.after(made), promise, pilot))
    return made.then(intend(step.after(made), planned.placement))


def _led(step: Step, promise: Promise, pilot: Pilot) -> Outcome:
    """What the job's policy says; without a deadline, also another kind of machine that it does not know of."""
    decision = decide(step, pilot, promise, None)
    if decision.state != "spot" and (other := cheaper_kind(step, pilot, promise, decision)):
        return _around(step, step.comes_to(promise=other, events=thoughts(pilot)), other.kind)
    if decision.state == "idle":
        waits = [Waiting(zones=sorted(pilot.berths)), *thoughts(pilot)]
        poll_s = step.driving.settings.poll_s
        return step.comes_to(after_s=poll_s, idle=True, events=[] if step.memory.idle else waits)
    placement = pilot.placement(decision)
    if placement is None:
        promise = elsewhere(step, promise)
        placement = promise.kind
    danger = warning(step, promise, None)
    warned = promise.model_copy(update={"warned": promise.warned or bool(danger)})
    told = step.comes_to(promise=warned, events=[*thoughts(pilot), *danger])
    return told.then(intend(step.after(told), placement)) if promise.firm else _around(step, told, placement)


def _promised(step: Step, kind: Placement) -> Promise | None:
    """The promise of a job that may use spot and has a deadline, or keeps its work; None of any other."""
    due, now = due_at(step), time.time()
    worth = hour_usd(step, kind) if due is None else None
    if due is None:
        if worth is None:
            return None
        due = now + step.driving.settings.scale.seconds(time_to_end(kind.hours_at_most))
    on_spot = kind.model_copy(update={"use_spot": True})
    # A sync may be due just then, and the last one may have caught a state that was as old.
    at_risk = 2 * (checkpoint_hours(step, on_spot, firm=worth is None) or 0.0)
    return Promise(since=now, due=due, kind=kind, at_risk=at_risk, hour_usd=worth)


def _planned(step: Step) -> Chosen:
    """Where the plan puts the task; if that is not to be had, what is left of the DAG is planned anew first.

    A job whose needs are not those that were planned under its name is placed by itself: the plan is shared by others.
    """
    version, pipeline, plan = step.planned()
    market = step.market(pipeline.name)
    planned, own = plan.placements.get(step.job.task), own_task(step, pipeline)
    field = "task" if planned is None else misfit(own, planned, market, step.settings)
    if planned is None or field is not None:
        return _apart(step, own, pipeline, plan, market, field)
    blocks = [block for block in market.blocked if is_blocked(planned, [block])]
    if not blocks:
        return Chosen(planned, step.comes_to())
    why = "; ".join(sorted({block.reason for block in blocks}))
    if own != pipeline.task(own.name):
        return _apart(step, own, pipeline, plan, market, why)
    made, missed = _replan(step, pipeline, plan, market, why)
    told = _newer(step, version, pipeline, plan, made)
    return Chosen(made.placements[step.job.task], told.then(step.comes_to(events=missed)))


def _around(step: Step, told: Outcome, place: Placement) -> Outcome:
    """An intent where the job's policy says, what is left of the DAG planned around it if that is not as planned."""
    version, pipeline, plan = step.planned()
    planned, own = plan.placements.get(step.job.task), own_task(step, pipeline)
    rest = rest_of(place, step.memory.tries.kept)
    if planned is not None and own == pipeline.task(own.name) and planned.machine != place.machine:
        market = step.market(pipeline.name)
        blocks = sorted({block.reason for block in market.blocked if is_blocked(planned, [block])})
        why = "; ".join(blocks) or "its spot policy chose another place"
        made, missed = _replan(step, pipeline, plan, market, why, {own.name: rest})
        told = told.then(_newer(step, version, pipeline, plan, made)).then(step.comes_to(events=missed))
    return told.then(intend(step.after(told), rest))


def _newer(step: Step, version: int, pipeline: Pipeline, before: Plan, made: Plan) -> Outcome:
    """Another version of the plan, and the event that tells of it.

    Written together with the intent to launch there: else jobs that are blocked differently would plan in turns.
    """
    from_, to = (plan.placements[step.job.task].machine for plan in (before, made))
    usd = {"plan_usd_before": before.cost_usd, "plan_usd": made.cost_usd}
    newer = StoredPlan(version + 1, pipeline.model_dump_json(), made.model_dump_json())
    return step.comes_to(plan=newer, events=[Replanned(from_=from_, to=to, why=made.reason, **usd)])


def _apart(step: Step, task: Task, pipeline: Pipeline, plan: Plan, market: Market, why: str | None) -> Chosen:
    planned = plan.placements.get(task.name)
    placed = plan_alone(task, pipeline, plan, market, _so_far(step, plan, _placed_jobs(step)))
    event = PlacedApart(why=why, from_=planned.machine if planned else None, to=placed.machine)
    return Chosen(placed, step.comes_to(events=[event]))


def _replan(
    step: Step, pipeline: Pipeline, plan: Plan, market: Market, reason: str, chosen: Mapping[str, Placement] = NONE
) -> tuple[Plan, list[Happening]]:
    """A plan of what is left: tasks whose jobs have machines, or had them to the end, stay where they are.

    Those for which a place was ``chosen`` go there.
    """
    jobs = _placed_jobs(step)
    fixed = {**{job.task: place for job in jobs if (place := placement_of(job))}, **chosen}
    done = _so_far(step, plan, jobs)
    try:
        return make_plan(pipeline, market, plan.objective, fixed=fixed, so_far=done, reason=reason), []
    except Infeasible as error:
        # Better late or dear than never: the promise is broken by the clouds, the pipeline still goes on.
        hurry = Objective(minimize="time")
        made = make_plan(pipeline, market, hurry, fixed=fixed, so_far=done, reason=reason)
        return made.model_copy(update={"objective": plan.objective}), [ObjectiveMissed(error=str(error))]


def _so_far(step: Step, plan: Plan, others: list[Job]) -> SoFar:
    """How far the plan's jobs are; this one has what its last checkpoint holds."""
    done = so_far(plan.begun, others, step.driving.settings.scale)
    return replace(done, kept={**done.kept, step.job.task: step.memory.tries.kept})


def _placed_jobs(step: Step) -> list[Job]:
    """The other jobs of the plan that have machines, or had them to the end."""
    return [
        job
        for job in step.driving.store.jobs(plan_key=step.job.plan_key)
        if job.id != step.job.id and job.memory.get("placement") and job.state not in ("failed", "cancelled")
    ]
