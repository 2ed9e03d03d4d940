"""The tab on a DAG run in a browser: three tasks and two hundred, light and dark, by keyboard alone."""

from __future__ import annotations

import re

import pytest

from sky_core import Pipeline, Task
from sky_core.broker import Broker
from tests.airflow.tab.test_plan_tab import client, logged_in  # noqa: F401 - a fixture
from tests.chromium import CHROMIUM, DARK, axe, looked, served

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
SIZES = (3, 200)
# What axe finds, whether all that can be used can be reached by keys, and whether it fits the window.
LOOK = """async (inside, window) => {
  for (const folded of inside.querySelectorAll("details")) folded.open = true;
  const found = await window.axe.run(inside, {resultTypes: ["violations"]});
  const used = [...inside.querySelectorAll("a[href], summary, button, input, select, [tabindex]")];
  const missed = used.filter((one) => {
    one.focus();
    return one.tabIndex < 0 || inside.activeElement !== one;
  });
  const root = inside.documentElement;
  return {
    rows: inside.querySelectorAll("tbody tr").length, used: used.length, wide: root.scrollWidth > root.clientWidth + 1,
    missed: missed.map((one) => one.outerHTML), wrong: found.violations.map((one) => [one.id, one.impact]),
    dark: window.getComputedStyle(inside.body).backgroundColor,
  };
}"""


@pytest.fixture
def pages(client):  # noqa: F811
    """The tab's pages as Airflow's API server gives them to one who may see the DAG, with axe in them."""
    logged_in(client)
    script = axe()
    found = {}
    for size in SIZES:
        names = [f"t{number}" for number in range(size)]
        needs = {"cloud": "aws", "instance_type": "m5.large"}
        tasks = tuple(Task(name=name, run="true", hours=1, resources=needs) for name in names)
        order = tuple(("t0", name) for name in names[1:])
        Broker.open().plan(f"airflow/d/run{size}/0", Pipeline(name="d", tasks=tasks, order=order))
        page = client.get("/plan", params={"dag_id": "d", "run_id": f"run{size}"})
        assert page.status_code == 200
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.text)
        found[f"/{size}"] = text.replace("</head>", f"{script}</head>", 1)
    return found


@pytest.fixture
def address(pages):
    with served(pages, LOOK) as found:
        yield found


def test_the_tab_in_a_browser(address, tmp_path):
    grounds = []
    for number, options in enumerate(([], [DARK])):
        found = looked(address, tmp_path / str(number), 1200, options)
        for size, one in zip(SIZES, found, strict=True):
            assert one["rows"] >= size
            assert one["used"] > 0
            assert (one["missed"], one["wrong"], one["wide"]) == ([], [], False)
        grounds.append(found[0]["dark"])
    assert grounds[0] != grounds[1], "dark is another ground"
