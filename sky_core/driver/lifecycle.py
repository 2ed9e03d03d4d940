"""A job's life, one bounded step at a time.

    submitted -> provisioning -> running -> stopping … succeeded | failed | cancelled
                     ^   |          |
                     |   refused    preempted, lost, moved
                     +---+--- recovering

A job that moves to better machines has two clusters for a moment: the successor is launched first, and only once it
is there is the present attempt ended with a last checkpoint. It never runs on both.

Each step reads the job, does at most one thing to the outside world, and writes down what came of it together
with when to come back. All of it may be interrupted anywhere and done again by another driver.
"""

from __future__ import annotations

from sky_core.driver import wanted
from sky_core.driver.stages import closing, launch, placing, running
from sky_core.driver.step import Driving, Step
from sky_core.store import Job


def advance(driving: Driving, job: Job) -> None:
    """Take the job's next step. The caller holds its lease.

    Raises:
        LeaseLost: if the lease went to another driver meanwhile; nothing was written.
    """
    step = Step.load(driving, job)
    if job.cancel_reason is None and step.memory.verdict is None:
        wanted.look(step)
    if step.job.cancel_reason is not None and step.memory.verdict is None:
        closing.cancel(step)
    if step.memory.closing is not None:
        closing.close(step)
    elif step.cluster is None:
        placing.place(step)
    elif step.successor is not None and step.memory.successor is None:
        closing.drop(step, step.successor)
    elif step.successor is not None and step.successor.state == "intended":
        launch.launch(step, step.successor)
    elif step.cluster.state == "intended":
        launch.launch(step, step.cluster)
    elif not step.memory.started:
        running.boot(step)
    else:
        running.poll(step)
