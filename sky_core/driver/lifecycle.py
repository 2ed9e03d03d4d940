"""A job's life, one bounded step at a time.

    submitted -> provisioning -> running -> stopping … succeeded | failed | cancelled
                     ^   |          |
                     |   refused    preempted, lost, moved
                     +---+--- recovering

A job that moves to better machines has two clusters for a moment: the successor is launched first, and only once it
is there is the present attempt ended with a last checkpoint. It never runs on both.

Each step reads the job, does at most one thing to the outside world, and comes to an :class:`Outcome`, which is written
down at once, together with when to come back. All of it may be interrupted anywhere and done again by another driver.
"""

from __future__ import annotations

import logging
import time

from sky_core.driver import wanted
from sky_core.driver.gangs import mending
from sky_core.driver.lead.outliving import outlives
from sky_core.driver.lead.replanning import around
from sky_core.driver.stages import closing, elsewhere, launch, placing, running
from sky_core.driver.step import Driving, Step
from sky_core.driver.telling.told import Told
from sky_core.job.outcome import Outcome
from sky_core.store import Job, KeptGone, PlanChanged

log = logging.getLogger(__name__)


def take_step(driving: Driving, job: Job) -> None:
    """Take the job's next step and write it down. The caller holds its lease.

    Raises:
        LeaseLost: if the lease went to another driver meanwhile; nothing was written.
        LeftToOthers: if it cannot be taken from this host; nothing was done.
    """
    step = Step.load(driving, job)
    elsewhere.leave(step)
    try:
        write(step, advance(step))
    except PlanChanged:
        log.info("%s: its plan has changed meanwhile, looking again", job.id)
    except KeptGone:
        log.info("%s: the machines that it wanted are gone, looking again", job.id)


def advance(step: Step) -> Outcome:
    """What the job's next step comes to."""
    told = step.comes_to().then(outlives(step)).then(_turned(step))
    return told.then(_next(step.after(told)))


def _turned(step: Step) -> Outcome | None:
    """Whether the job is to turn towards its end: asked to by somebody, or wanted by nobody."""
    if step.memory.verdict is not None:
        return None
    return wanted.look(step) if step.job.cancel_reason is None else closing.cancel(step)


def _next(step: Step) -> Outcome:
    if step.memory.closing is not None:
        return closing.close(step)
    if step.cluster is None:
        return placing.place(step)
    if step.successor is not None and step.memory.successor is None:
        return closing.drop(step, step.successor)
    if step.successor is not None and step.successor.state == "intended":
        return launch.launch(step, step.successor)
    if step.cluster.state == "intended":
        return launch.launch(step, step.cluster)
    if step.memory.started:
        return mending.due(step) or running.poll(step)
    booted = running.boot(step)
    return booted.then(around(step.after(booted)) if booted.memory.started else None)


def write(step: Step, outcome: Outcome) -> None:
    """Write down what a step came to.

    Raises:
        LeaseLost, PlanChanged, KeptGone: if it was decided on what is not so any more; nothing is written then.
    """
    if outcome.attempt is None:
        _save(step, outcome)
        return
    with step.driving.purse:  # the later of two intents is written later, so that it sees the other when both look
        _save(step, outcome.intended_at(time.time()))


def _save(step: Step, outcome: Outcome) -> None:
    step.driving.store.save_job(
        step.job,
        step.driving.holder,
        state=outcome.state,
        attempt=outcome.attempt,
        memory=outcome.memory.model_dump(mode="json"),
        result=outcome.memory.result,
        after_s=outcome.after_s,
        events=outcome.events,
        clusters=outcome.clusters,
        log=outcome.log,
        launches=outcome.launches,
        observations=outcome.observations,
        runs=outcome.runs,
        plan=outcome.plan,
        takes=outcome.takes,
    )
    step.driving.herald.tell(Told(step.job, outcome.events, time.time()))
