"""A plan as a table for programs: a row per task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sky_core.planner.plan import Plan
from sky_core.planner.view.document import PlanDocument

if TYPE_CHECKING:
    import polars as pl


def plan_frame(plan: Plan) -> pl.DataFrame:
    """A row per task in the pipeline's order: its times, its machine and its money, named as in the document."""
    import polars as pl

    document = PlanDocument.of(plan)
    rows = [{"task": times.name, **document.placements[times.name].model_dump(), **times.model_dump(exclude={"name"})}
            for times in document.tasks]  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)
