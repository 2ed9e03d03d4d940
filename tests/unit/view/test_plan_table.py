"""A plan in a terminal: it fits, says who is paid, and draws time to scale."""

import io

import pytest
from rich.console import Console

from sky_core import Artifact, Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.planner.planning import Market, make_plan
from sky_core.planner.view.table import Bars, plan_text


@pytest.fixture(scope="module")
def plan():
    needs = {"cpus": "4+", "memory": "8+"}
    one = Task(name="one", run="true", hours=1, outputs={"x": Artifact(size_gb=5)},
               resources=Resources(cloud="aws", region="us-east-1", **needs))  # fmt: skip
    short = Task(name="short", run="true", hours=1, inputs={"x": one.output("x")},
                 resources=Resources(cloud="gcp", region="us-central1", **needs))  # fmt: skip
    long = short.model_copy(update={"name": "long-" + "name" * 8, "hours": 4})
    return make_plan(Pipeline(name="p", tasks=(one, short, long)), Market(Catalog.embedded(), ("aws", "gcp")))


@pytest.mark.parametrize("width", [60, 80, 140])
def test_no_line_is_wider_than_the_terminal(plan, width):
    assert max(map(len, plan_text(plan, width).splitlines())) <= width


def test_every_cloud_is_paid_what_it_asks_and_data_by_its_sender(plan):
    text = " ".join(plan_text(plan).split())
    egress = sum(move.usd for move in plan.transfers)
    assert f"aws ${plan.placements['one'].compute_usd + egress:.2f} (${egress:.2f} for data that leaves it)" in text


def bars(plan, encoding):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=80, no_color=True)
    console.print(Bars(plan))
    file.flush()
    return file.buffer.getvalue().decode(encoding).splitlines()


def test_bars_are_to_scale_and_a_dull_terminal_gets_plain_letters(plan):
    one, short, long = (line[21:] for line in bars(plan, "utf-8")[1:4])
    width = 80 - 21
    assert one.count("█") == pytest.approx(width * plan.schedule["one"].end / plan.hours, abs=1)
    assert long.rstrip().endswith("█")
    assert len(long) - len(long.lstrip()) == pytest.approx(one.count("█"), abs=1)
    assert short.count("▒") == pytest.approx(short.count("·") / 3, abs=2)
    assert set("".join(bars(plan, "ascii")[1:4])) <= set("abcdefghijklmnopqrstuvwxyz-~ #=.")
