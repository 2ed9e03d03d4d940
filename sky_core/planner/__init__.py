"""From spec, catalog, tracker and estimates to a plan, explained."""

from sky_core.planner.plan import Block, Placement, Plan, dag_hash

__all__ = ["Block", "Placement", "Plan", "dag_hash"]
