"""Whether a planned machine keeps what a job asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sky_core import Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.config import Settings
from sky_core.driver.stages.fitting import misfit
from sky_core.planner.planning import Market, make_plan


@pytest.mark.parametrize(
    ("asked", "field"), [(["V100:4", "T4"], None), (["T4", "A100"], None), (["A100", "L4:4"], "accelerators")]
)
def test_one_of_several_accelerators_is_what_was_asked_for(asked: list[str], field: str | None, tmp_path: Path) -> None:
    market = Market(Catalog.embedded(), ("aws",))
    planned = Task(name="a", run="x", hours=1, resources=Resources(accelerators="T4"))
    place = make_plan(Pipeline(name="p", tasks=[planned]), market).placements["a"]
    task = planned.model_copy(update={"resources": Resources(accelerators=asked)})
    assert misfit(task, place, market, Settings.load({"SKYLOOM_HOME": str(tmp_path)})) == field
