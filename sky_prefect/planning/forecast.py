"""What a flow will submit after this, as far as its last run tells.

A flow that waits for one value before it asks for the next shows its tasks one by one, and each would be placed
without regard to those that need its data. The last run of the flow did all of them: what it had and this one has not
submitted yet is planned along. It is never launched for that; a task that is submitted after all takes its own place.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sky_core.spec import OutputRef, Pipeline, Task
from sky_core.store import Store

LOOK_BACK = 5  # runs: of them the newest that went well


def last_run(store: Store, flow: str, present: str) -> Pipeline | None:
    """What the flow's last run that went well has run in the clouds; None if there is none.

    Args:
        present: The key of the present run's plan, which may be a second try of the same.
    """
    for key in store.plan_keys_of(flow, "prefect/", LOOK_BACK + 1):
        jobs = store.jobs(plan_key=key, limit=100_000) if key != present else []
        kept = store.plan(key)
        if jobs and kept and {job.state for job in jobs} == {"succeeded"}:
            whole, ran = Pipeline.model_validate_json(kept.pipeline), {job.task for job in jobs}
            tasks = [task for task in whole.tasks if task.name in ran]  # what was only foreseen had no job
            return Pipeline(name=flow, tasks=_among(tasks, ran), order=_both(whole.order, ran)) if tasks else None
    return None


def with_rest(pipeline: Pipeline, past: Pipeline | None) -> Pipeline:
    """A pipeline as far as it is known, and after it what a past run had and this one has not yet."""
    known = {task.name for task in pipeline.tasks}
    rest = [task for task in past.tasks if task.name not in known] if past else []
    if past is None or not rest:
        return pipeline
    to_come = {task.name for task in rest}
    order = {edge for edge in _both(past.order, known | to_come) if edge[1] in to_come}
    return Pipeline(
        name=pipeline.name,
        tasks=(*pipeline.tasks, *_among(rest, known | to_come)),
        order=tuple(sorted({*pipeline.order, *order})),
    )


def _among(tasks: Sequence[Task], names: Collection[str]) -> tuple[Task, ...]:
    """The tasks, with inputs from those names only."""
    return tuple(
        task.model_copy(update={"inputs": {
            name: source for name, source in task.inputs.items()
            if not isinstance(source, OutputRef) or source.task in names
        }})
        for task in tasks
    )  # fmt: skip


def _both(edges: Sequence[tuple[str, str]], names: Collection[str]) -> tuple[tuple[str, str], ...]:
    return tuple((up, down) for up, down in edges if up in names and down in names)
