"""Whether a plan's placement is what the job itself asks for.

A plan is made under a task's name, and jobs come with needs of their own: mapped tasks of one name, a task that was
changed since. What a placement does not keep is found out before anything is launched.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import polars as pl

from sky_core.catalog.names import squeeze
from sky_core.catalog.query import query
from sky_core.config import Settings
from sky_core.driver.step import Step
from sky_core.errors import Infeasible, NoFeasibleOffering, UnknownAccelerator
from sky_core.planner.plan import Placement, Plan
from sky_core.planner.planning import Market, SoFar, make_plan
from sky_core.spec import Objective, Pipeline, Resources, Task

# Why a row may be left out that say nothing of the machine: its price is not known any more, or it is sold no longer.
# The plan had it, and its cloud will tell.
NOT_OF_THE_MACHINE = frozenset({"price", "spot_price", "access", "withdrawn"})


def misfit(task: Task, place: Placement, market: Market, settings: Settings) -> str | None:
    """The field of the task, or of the settings, that the placement does not keep; None if it keeps them all.

    Args:
        market: Its clouds are those that the job may use.
        settings: Those of the job, with the regions that its submitter allowed.
    """
    if place.num_nodes != task.num_nodes:
        return "num_nodes"
    if place.changing != (task.elastic.changing if task.elastic else 0):
        return "elastic"
    if place.use_spot and not task.resources.may_use_spot:
        return "use_spot"
    if place.cloud not in market.clouds:
        return "clouds"
    if not any(fnmatchcase(place.region, pattern) for pattern in settings.clouds[place.cloud].regions):
        return "regions"
    names = ("cloud", "region", "zone", "instance_type", "accelerator", "reservation")
    same = [pl.col(name).cast(pl.String).eq_missing(pl.lit(getattr(place, name), pl.String)) for name in names]
    rows = market.catalog.table.filter(*same, pl.col("accelerator_count").fill_null(0) == place.accelerator_count)
    if rows.is_empty():
        return None
    unkept = [_unkept(rows, wanted, task.name, place, market) for wanted in task.resources.alternatives]
    return None if None in unkept else unkept[0]


def _unkept(rows: pl.DataFrame, wanted: Resources, task: str, place: Placement, market: Market) -> str | None:
    """The field of one alternative that a machine, given by its rows of the catalog, does not keep."""
    if place.use_spot and not wanted.use_spot:
        return "use_spot"
    here = wanted.model_copy(update={"use_spot": place.use_spot})
    if wanted.accelerators and place.accelerator:  # the others of several are no names that these rows know
        meant = tuple(pair for pair in wanted.accelerators if squeeze(pair[0]) == squeeze(place.accelerator))
        here = here.model_copy(update={"accelerators": meant or wanted.accelerators})
    try:
        query(rows, here, task, market.clouds)
    except NoFeasibleOffering as error:
        return None if error.emptied_by in NOT_OF_THE_MACHINE else error.emptied_by
    except UnknownAccelerator:
        return "accelerators"
    return None


def own_task(step: Step, pipeline: Pipeline) -> Task:
    """The job's task as planning takes it: its own needs, with the estimate and the edges of the plan's."""
    planned = next((task for task in pipeline.tasks if task.name == step.job.task), step.task)
    needs = {"resources": step.task.resources, "num_nodes": step.task.num_nodes, "elastic": step.task.elastic}
    return planned.model_copy(update=needs)


def plan_alone(task: Task, pipeline: Pipeline, plan: Plan, market: Market, so_far: SoFar) -> Placement:
    """A placement for one job whose needs are not those that were planned, all else of the plan staying where it is.

    Raises:
        NoFeasibleOffering, UnknownAccelerator, NoCloudEnabled, SpecError: as :func:`make_plan`.
        Infeasible: if the task's own deadline cannot be met.
    """
    if any(other.name == task.name for other in pipeline.tasks):
        tasks = tuple(task if other.name == task.name else other for other in pipeline.tasks)
        alone = pipeline.model_copy(update={"tasks": tasks})
    else:
        alone = Pipeline(name=pipeline.name, tasks=(task,))
    names = {other.name for other in alone.tasks} - {task.name}
    fixed = {name: place for name, place in plan.placements.items() if name in names}
    try:
        made = make_plan(alone, market, plan.objective, fixed=fixed, so_far=so_far)
    except Infeasible:  # better late or dear than never
        made = make_plan(alone, market, Objective(minimize="time"), fixed=fixed, so_far=so_far)
    return made.placements[task.name]
