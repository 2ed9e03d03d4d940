"""A job that runs on machines which another one has left."""

from __future__ import annotations

import time
from dataclasses import replace

import polars as pl

from sky_core.driver.stages.fitting import misfit, own_task
from sky_core.driver.stages.launch import new_token, too_dear
from sky_core.driver.step import Step
from sky_core.errors import SkyloomError
from sky_core.events import NotTaken, Taken
from sky_core.job.memory import placement_of
from sky_core.job.outcome import Outcome
from sky_core.planner.alternatives import alternative
from sky_core.planner.capacity import outlasts
from sky_core.planner.offers import offers_of, sold_for
from sky_core.planner.plan import Placement
from sky_core.planner.planning import Market
from sky_core.remote.keys import team_key
from sky_core.remote.switch import MORE_HOURS
from sky_core.spec import Resources, Task
from sky_core.store import Cluster, Reach

ROW = ("cloud", "region", "zone", "instance_type", "accelerator", "use_spot", "reservation")


def take(step: Step) -> Outcome | None:
    """The job on machines that are kept under its cluster's name; None if it has to launch its own."""
    name, store = step.task.warm, step.driving.store
    if name is None:
        return None
    reach = Reach(step.job.profile or step.settings.profile, team_key(step.driving.settings).id)
    reasons: list[str | None] = []
    for cluster in store.to_be_had(name, reach):
        place, why = _place(step, cluster)
        if place is not None and why is None:
            return _taken(step, cluster, place)
        reasons.append(why)
    reasons = reasons or [f"{job} has taken it" for job in store.takers(name, reach) if job != step.job.id]
    if reasons:
        store.tell_once(step.job.id, NotTaken(name=name, why="; ".join(dict.fromkeys(filter(None, reasons)))))
    return None


def _taken(step: Step, cluster: Cluster, place: Placement) -> Outcome:
    attempt, now = step.job.attempt + 1, time.time()
    theirs = replace(cluster, state="ended", ended_at=now, stopped_at=now, outcome="taken")
    ours = replace(
        cluster, token=new_token(step), job_id=step.job.id, attempt=attempt, state="launched", intended_at=now,
        launched_at=now, started_at=now, launched_as=cluster.tag, kept_as=None, kept_at=None, kept_until=None,
    )  # fmt: skip
    told = Taken(attempt=attempt, name=cluster.kept_as or "", machine=place.machine, job=cluster.job_id)
    return replace(
        step.comes_to(
            state="recovering" if step.memory.log_base else "provisioning", attempt=attempt, cluster=ours,
            placement=place, waiting_since=now, events=[told],
        ),
        takes=theirs,
    )  # fmt: skip


def _place(step: Step, cluster: Cluster) -> tuple[Placement | None, str | None]:
    """The kept machines as the place where the job runs, or in a few words why they do not do."""
    store = step.driving.store
    keeper = store.job(cluster.job_id)
    was = placement_of(keeper)
    if was is None:
        return None, "what its machines are is not known"
    if step.task.deadline is not None and step.task.resources.may_use_spot:
        return None, "a job with a deadline on spot goes where its policy says"
    _, pipeline, _ = step.planned()
    market, task = step.market(pipeline.name), own_task(step, pipeline)
    place = _estimated(task, was, market)
    field = misfit(task, place, market, step.settings) or _unlike(
        alternative(step.task.resources, place), alternative(Task.model_validate_json(keeper.spec).resources, was)
    )
    if field is not None:
        return None, f"{was.machine} is not what {field} says"
    first = store.cluster(cluster.tag) or cluster
    age = step.driving.settings.scale.hours(time.time() - (first.launched_at or first.intended_at))
    if age + place.hours_at_most > MORE_HOURS:  # which every machine's own switch lets it live, whatever it began with
        return None, f"{was.machine} would end itself before the job is done: it is {age:.0f} h old"
    return place, outlasts(place, time.time()) or too_dear(step, place)


def _unlike(wanted: Resources, there: Resources) -> str | None:
    """The first field that the machines were not launched with as they would be now; catalogs do not tell."""
    if wanted.machine_image != there.machine_image:
        return "image"
    if wanted.disk_size > there.disk_size:
        return "disk_size"
    if not set(wanted.ports) <= set(there.ports):
        return "ports"
    return None if dict(wanted.tags) == dict(there.tags) else "tags"


def _estimated(task: Task, was: Placement, market: Market) -> Placement:
    """The same machines with what the task takes on them, as planning would have it; there is nothing to boot."""
    place = was
    try:
        offers = offers_of(task, sold_for(task, market.catalog, market.clouds, market.tracker),
                           market.history.get(task.name, ()))  # fmt: skip
    except SkyloomError:
        pass  # what does not fit is told by its field
    else:
        names = [pl.col(name).eq_missing(pl.lit(getattr(was, name))) for name in ROW]
        frame = offers.sold.frame.with_row_index("row").filter(*names)
        if not frame.is_empty():
            place = offers.placement(frame["row"][0], task.name)
    again = {"task": task.name, "num_nodes": was.num_nodes, "price": was.price, "boot_hours": 0.0, "done": 0.0,
             "egress_usd": 0.0, "transfer_hours": 0.0}  # fmt: skip
    place = place.model_copy(update=again)
    return place.model_copy(update={"compute_usd": place.expected_hours * place.usd_per_hour})
