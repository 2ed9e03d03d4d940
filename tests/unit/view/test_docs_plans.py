"""What the docs show of plans is what is planned now, and what a notebook shows is the page."""

import importlib.util
from pathlib import Path

import pytest

from sky_core.planner.view.document import PlanDocument
from sky_core.planner.view.notebook import ShownPlan

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def regenerate():
    spec = importlib.util.spec_from_file_location("regenerate", DOCS / "regenerate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_plans_in_the_docs_are_up_to_date(regenerate):
    assert regenerate.stale() == [], "python docs/regenerate.py writes them anew"


def test_every_field_of_the_document_has_a_row(regenerate):
    text = (DOCS / "plans.md").read_text()
    assert all(f"| `{field}` |" in text for field in PlanDocument.model_fields)


def test_a_notebook_shows_the_page_and_a_frame(regenerate):
    plan = ShownPlan.of(regenerate.plan("example_flows/vision_pipeline.yaml"))
    shown = plan._repr_html_()
    assert shown.startswith("<iframe")
    assert shown.count("<") == 2, "the page is escaped into an attribute"
    assert list(plan.to_frame()["task"]) == list(plan.placements)
