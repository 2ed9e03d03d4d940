"""A plan as it is handed to who looks at it: in a notebook it is its page, and on demand a table."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from sky_core.planner.plan import Plan

if TYPE_CHECKING:
    import polars as pl


class ShownPlan(Plan):
    """A plan that can show itself. The modules that draw it are loaded only then."""

    @classmethod
    def of(cls, plan: Plan) -> ShownPlan:
        """The same plan; its parts are not checked again."""
        return cls.model_construct(plan.model_fields_set, **dict(plan))

    def to_frame(self) -> pl.DataFrame:
        """A polars frame with a row per task: its times, its machine, its money."""
        from sky_core.planner.view.frame import plan_frame

        return plan_frame(self)

    def _repr_html_(self) -> str:
        """The plan's page, framed: a notebook's styles and ours keep out of each other's way."""
        from sky_core.planner.view.page import plan_page

        style = "width:100%;height:42rem;border:0"
        return f'<iframe title="plan" style="{style}" srcdoc="{html.escape(plan_page(self))}"></iframe>'
