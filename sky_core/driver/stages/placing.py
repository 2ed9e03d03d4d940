"""Where a job's next attempt runs: as planned, or elsewhere, with the rest of the DAG planned anew."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sky_core.driver.lead.berths import Pilot
from sky_core.driver.lead.pilot import OURS, decide, elsewhere, of_kind, pilot_of, thoughts
from sky_core.driver.lead.promise import checkpoint_hours, due_at, hour_usd, remaining_work, warning
from sky_core.driver.lead.replanning import blocking, newer_plan, progress, replan
from sky_core.driver.stages.elsewhere import leave_what_others_can_place
from sky_core.driver.stages.fitting import misfit, own_task, plan_alone
from sky_core.driver.stages.launch import intend, too_dear
from sky_core.driver.step import Step
from sky_core.driver.warm.taking import take
from sky_core.errors import Infeasible, NoCloudEnabled, NoFeasibleOffering, SpecError
from sky_core.events import (
    Exhausted,
    PlacedApart,
    Promised,
    Queued,
    Waiting,
)
from sky_core.job.attempts import told
from sky_core.job.memory import Promise
from sky_core.job.outcome import Outcome
from sky_core.planner.candidates import free, rest_of
from sky_core.planner.offers import sold_for
from sky_core.planner.plan import Placement, Plan
from sky_core.planner.planning import Market
from sky_core.recovery import Decision
from sky_core.recovery.patience import time_to_end
from sky_core.recovery.weighing import called
from sky_core.spec import Pipeline, Task
from sky_core.store import Result


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
    if promise.firm or step.settings.spot_policy != OURS:
        return made.then(_led(step.after(made), promise, pilot))
    return made.then(intend(step.after(made), planned.placement))


def _led(step: Step, promise: Promise, pilot: Pilot) -> Outcome:
    """What the job's policy says; without a deadline, also another kind of machine that it does not know of."""
    decision = decide(step, pilot, promise, None)
    if other := _other_kind(step, pilot, promise, decision):
        told = step.comes_to(promise=of_kind(step, promise, other), events=thoughts(pilot))
        return told.then(intend(step.after(told), other))
    if decision.state == "idle":
        return _waits(step, pilot)
    placement = pilot.placement(decision)
    if placement is None:
        promise = elsewhere(step, promise)
        placement = promise.kind
    danger = warning(step, promise, None)
    warned = promise.model_copy(update={"warned": promise.warned or bool(danger)})
    told = step.comes_to(promise=warned, events=[*thoughts(pilot), *danger])
    if promise.firm:
        return told.then(intend(step.after(told), placement))
    placement = rest_of(placement, step.memory.tries.kept)
    if decision.state == "on_demand" and too_dear(step.after(told), placement):
        return _waits(step, pilot)
    return told.then(intend(step.after(told), placement))


def _waits(step: Step, pilot: Pilot) -> Outcome:
    waits = [Waiting(zones=sorted(pilot.berths)), *thoughts(pilot)]
    poll_s = step.driving.settings.poll_s
    return step.comes_to(after_s=poll_s, idle=True, events=[] if step.memory.idle else waits)


def _other_kind(step: Step, pilot: Pilot, promise: Promise, decision: Decision) -> Placement | None:
    """The next best place by the plan, where it is another kind of machine and costs less than the policy's decision.

    It is looked for once a wait begins, and when it ends without spot. With a deadline there is none, as a mean time is
    no ground for a promise; nor is there one for a job that has outrun its estimate.
    """
    weighed = pilot.thought.usd if pilot.thought else {}
    waits_on = decision.state == "idle" and step.memory.idle
    if promise.firm or decision.state == "spot" or waits_on or called(decision) not in weighed:
        return None
    if remaining_work(step, promise, None) < 0:
        return None
    _, pipeline, plan = step.planned()
    try:
        task, market = own_task(step, pipeline), step.market(pipeline.name)
        place = plan_alone(task, pipeline, plan, market, progress(step, plan))
    except (NoFeasibleOffering, NoCloudEnabled, SpecError, Infeasible):
        return None
    usd = place.compute_usd + place.egress_usd + (promise.hour_usd or 0.0) * place.expected_hours
    typical = promise.kind.hours / promise.kind.hours_at_most  # what is weighed is the work at most
    is_other = (place.accelerator or place.instance_type) != (promise.kind.accelerator or promise.kind.instance_type)
    return place if is_other and usd < typical * weighed[called(decision)] else None


def _promised(step: Step, kind: Placement) -> Promise | None:
    """The promise of a job that may use spot and has a deadline, or keeps its work; None of any other.

    Nor does one on reserved machines need any: they are not taken back, and nothing is cheaper.
    """
    if kind.reservation is not None:
        return None
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
    if not (why := blocking(step, planned, market)):
        return Chosen(planned, step.comes_to())
    if own != pipeline.task(own.name):
        return _apart(step, own, pipeline, plan, market, why)
    made, missed = replan(step, pipeline, plan, market, why)
    # Written together with the intent to launch there: else jobs that are blocked differently would plan in turns.
    told = newer_plan(step, version, pipeline, plan, made)
    return Chosen(made.placements[step.job.task], told.then(step.comes_to(events=missed)))


def _apart(step: Step, task: Task, pipeline: Pipeline, plan: Plan, market: Market, why: str | None) -> Chosen:
    planned = plan.placements.get(task.name)
    placed = plan_alone(task, pipeline, plan, market, progress(step, plan))
    event = PlacedApart(why=why, from_=planned.machine if planned else None, to=placed.machine)
    return Chosen(placed, step.comes_to(events=[event]))
