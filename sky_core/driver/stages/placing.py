"""Where a job's next attempt runs: as planned, or elsewhere, with the rest of the DAG planned anew."""

from __future__ import annotations

import time

from sky_core.driver.lead.pilot import decide, elsewhere, pilot_of, thoughts
from sky_core.driver.lead.promise import checkpoint_hours, due_at, warning
from sky_core.driver.stages.fitting import misfit, own_task, plan_alone
from sky_core.driver.stages.launch import intend
from sky_core.driver.step import Step
from sky_core.errors import Infeasible, NoCloudEnabled, NoFeasibleOffering, SpecError
from sky_core.job.attempts import told
from sky_core.job.memory import Promise
from sky_core.job.progress import so_far
from sky_core.planner.candidates import free, is_blocked
from sky_core.planner.offers import sold_for
from sky_core.planner.plan import Placement, Plan
from sky_core.planner.planning import Market, make_plan
from sky_core.spec import Objective, Pipeline, Task
from sky_core.store import Job, NewEvent


def place(step: Step) -> None:
    """Decide where the next attempt runs, or that it has to wait, and write down the intent to launch there."""
    limit = step.task.max_attempts or step.driving.settings.max_attempts
    if enough := step.memory.tries.enough(limit):
        _give_up(step, f"given up after {enough} (max_attempts is {limit})")
        return
    try:
        placement = _next_placement(step)
    except (NoFeasibleOffering, NoCloudEnabled, SpecError, Infeasible) as error:
        if isinstance(error, NoFeasibleOffering) and _is_worth_waiting(step):
            _queue(step, str(error))
        else:
            _give_up(step, str(error))
        return
    if placement is not None:
        intend(step, placement)


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


def _queue(step: Step, why: str) -> None:
    told: list[NewEvent] = [] if step.memory.queued else [("queued", {"why": why})]
    step.save(after_s=step.driving.settings.poll_s, queued=True, events=told)


def _give_up(step: Step, why: str) -> None:
    """End the job: one error that says why, what was tried, and what to look at."""
    store = step.driving.store
    error = why + told(store.clusters(job_id=step.job.id), store.events(step.job.id))
    result = {"exit_code": None, "error": error}
    step.save(verdict="failed", closing="exhausted", result=result, events=[("exhausted", {"error": why})])


def _next_placement(step: Step) -> Placement | None:
    """Where the next attempt runs: as planned, or with a deadline where its policy says; None if it is to wait."""
    promise = step.memory.promise or _promised(step)
    pilot = pilot_of(step, promise) if promise else None
    if promise is None or pilot is None:
        return _planned(step)
    decision = decide(step, pilot, promise, None)
    if decision.state == "idle":
        waits: list[NewEvent] = [("waiting", {"zones": sorted(pilot.berths)}), *thoughts(pilot)]
        step.save(after_s=step.driving.settings.poll_s, idle=True, events=[] if step.memory.idle else waits)
        return None
    placement = pilot.placement(decision)
    if placement is None:
        promise = elsewhere(step, promise)
        placement = promise.kind
    danger = warning(step, promise, None)
    warned = promise.model_copy(update={"warned": promise.warned or bool(danger)})
    step.save(promise=warned, events=[*thoughts(pilot), *danger])
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
    """Where the plan puts the task; if that is not to be had, what is left of the DAG is planned anew first.

    A job whose needs are not those that were planned under its name is placed by itself: the plan is shared by others.
    """
    store = step.driving.store
    while True:
        version, pipeline, plan = step.planned()
        market = step.market(pipeline.name)
        planned, own = plan.placements.get(step.job.task), own_task(step, pipeline)
        field = "task" if planned is None else misfit(own, planned, market, step.settings)
        if planned is None or field is not None:
            return _apart(step, own, pipeline, plan, market, field)
        blocks = [block for block in market.blocked if is_blocked(planned, [block])]
        if not blocks:
            return planned
        why = "; ".join(sorted({block.reason for block in blocks}))
        if own != pipeline.task(own.name):
            return _apart(step, own, pipeline, plan, market, why)
        made = _replan(step, pipeline, plan, market, why)
        written = pipeline.model_dump_json(), made.model_dump_json()
        if store.replace_plan(step.job.plan_key, version, *written, lease=step.job.lease(step.driving.holder)):
            now_at = made.placements[step.job.task]
            about = {"from": planned.machine, "to": now_at.machine, "why": made.reason,
                     "plan_usd_before": plan.cost_usd, "plan_usd": made.cost_usd}  # fmt: skip
            step.save(events=[("replanned", about)])
            return now_at


def _apart(step: Step, task: Task, pipeline: Pipeline, plan: Plan, market: Market, why: str | None) -> Placement:
    planned = plan.placements.get(task.name)
    placed = plan_alone(
        task, pipeline, plan, market, so_far(plan.begun, _placed_jobs(step), step.driving.settings.scale)
    )
    about = {"why": why, "from": planned.machine if planned else None, "to": placed.machine}
    step.save(events=[("placed apart", about)])
    return placed


def _replan(step: Step, pipeline: Pipeline, plan: Plan, market: Market, reason: str) -> Plan:
    """Plan what is left: tasks whose jobs have machines, or had them to the end, stay where they are."""
    jobs = _placed_jobs(step)
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


def _placed_jobs(step: Step) -> list[Job]:
    """The other jobs of the plan that have machines, or had them to the end."""
    return [
        job
        for job in step.driving.store.jobs(plan_key=step.job.plan_key)
        if job.id != step.job.id and job.memory.get("placement") and job.state not in ("failed", "cancelled")
    ]
