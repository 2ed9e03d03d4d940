"""The page of a plan: it stands alone, says all that the document says, and nothing in it is markup but its own."""

import re
from html.parser import HTMLParser

import polars as pl
import pytest

from sky_core import Artifact, Objective, Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.catalog.snapshot import DATA
from sky_core.planner.planning import Market, make_plan
from sky_core.planner.view.document import PlanDocument
from sky_core.planner.view.page import Progress, plan_markdown, plan_page
from sky_core.planner.view.page.scales import ticks
from sky_core.planner.view.page.world import _point, world

SOMEWHERE = ("aws/us-east-1", "gcp/europe-west4", "azure/japaneast")


def machine(number=0):
    cloud, region = SOMEWHERE[number % 3].split("/")
    return Resources(cloud=cloud, region=region, cpus="4+", memory="8+")


def chain(count, name="t"):
    """Tasks each of which hands 2 GB to the next, in another cloud."""
    tasks = [Task(name=f"{name}0", run="true", hours=1, resources=machine(), outputs={"x": Artifact(size_gb=2)})]
    for number in range(1, count):
        inputs = {"x": tasks[-1].output("x")}
        task = tasks[0].model_copy(update={"name": f"{name}{number}", "inputs": inputs, "resources": machine(number)})
        tasks.append(task)
    return Pipeline(name="p", tasks=tuple(tasks))


@pytest.fixture(scope="module")
def market():
    return Market(Catalog.embedded(), ("aws", "azure", "gcp"), left_out={"gcp": "no credentials: set <this>"})


@pytest.fixture(scope="module")
def plan(market):
    return make_plan(chain(3), market, Objective(deadline=9.0), explain=True, trade=True)


class Page(HTMLParser):
    """What a browser would load, and all of its text; refuses tags that are left open."""

    def __init__(self, page):
        super().__init__()
        self.loads, self.said, self.open = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in ("meta", "br"):
            self.open.append(tag)
        assert tag not in ("script", "link", "iframe", "img", "object", "foreignobject")

    def handle_startendtag(self, tag, attrs):
        assert tag in ("path", "rect", "line", "circle", "polyline"), tag

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)


def test_no_request_leaves_the_page(plan):
    text = plan_page(plan)
    assert Page(text).loads == []
    assert re.findall(r"url\((?!#)|@import|https?://", text) == []
    assert "default-src 'none'" in text


def test_all_of_the_plan_is_there(plan):
    said = " ".join(Page(plan_page(plan)).said)
    document = PlanDocument.of(plan)
    for words in [*document.placements, *SOMEWHERE, "within 9 h", "To be set up: gcp", "Proven optimal"]:
        assert words in said
    for other in document.runners_up.values():
        assert other is not None
        assert other.machine in said
        assert other.why in said
    for alone in document.single_clouds.values():
        assert alone.why in said
    dear = [edge for edge in document.edges if edge.egress_usd >= 0.005]
    assert dear
    assert all(f"${edge.egress_usd:.2f} · 2 GB" in said for edge in dear), "egress stands on the arrows"


def test_what_others_wrote_is_no_markup(plan):
    strange = plan.model_copy(update={"reason": "<u>refused</u>", "left_out": {"gcp": "set <this>"}})
    progress, happened = {"t0": Progress("<i>", 1.0)}, [("t0", "said </ol>")]
    said = " ".join(Page(plan_page(strange, "<script>alert(1)</script>", progress, happened)).said)
    for words in ("<script>alert(1)</script>", "<u>refused</u>", "set <this>", "<i>", "said </ol>"):
        assert words in said


def test_in_markdown_it_is_two_tables_that_hold_together(plan, tmp_path):
    text = plan_markdown(plan, tmp_path / "p.html")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [row.count("|") for row in rows] == [9] * (2 + 3) + [4] * (2 + 3)
    assert all(place in text for place in SOMEWHERE)
    assert str(tmp_path / "p.html") in text


def test_a_page_of_many_tasks_stays_small(market):
    plan = make_plan(chain(200), market)
    page = plan_page(plan)
    assert len(page) < 600_000
    assert all(f"t{number}" in page for number in range(200))


def test_a_plan_that_knows_neither_times_nor_deals_has_a_page(plan):
    old = plan.model_copy(update={"schedule": {}, "transfers": (), "deals": (), "next_best": {}, "alone": {}})
    said = " ".join(Page(plan_page(old)).said)
    assert "t0" in said
    assert "Money for time" not in said


def test_every_region_of_the_snapshot_is_on_the_map():
    regions = pl.read_parquet(DATA / "regions.parquet").select("cloud", "region").iter_rows()
    assert [f"{cloud}/{region}" for cloud, region in regions if _point(f"{cloud}/{region}") is None] == []


def test_points_lie_within_the_map(plan):
    for spot in world(PlanDocument.of(plan)).spots:
        assert 0 < spot.left < 100
        assert 0 < spot.top < 100


@pytest.mark.parametrize(("low", "high"), [(0, 5.95), (5.9508, 5.9521), (0, 1e-4), (3, 1000), (7, 7)])
def test_axes_have_a_few_round_numbers(low, high):
    found = ticks(low, high)
    assert 1 <= len(found) <= 6
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)
