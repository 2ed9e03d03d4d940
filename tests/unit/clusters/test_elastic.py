"""Elastic gangs on paper: what may be asked for, what a plan says, whose end counts, what is learnt of the pace."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from sky_core import Elastic, Pipeline, Resources, Task, load_task
from sky_core.broker.clusters.held import told
from sky_core.catalog import Catalog
from sky_core.config import Settings
from sky_core.driver.gangs import fleet
from sky_core.errors import NoFeasibleOffering, SpecError
from sky_core.home import INVENTORY
from sky_core.job.memory import Memory
from sky_core.measures.scale import Scale
from sky_core.planner.planning import Market, make_plan
from sky_core.planner.view.document import PlanDocument
from sky_core.planner.view.table import plan_text
from sky_core.remote.answers import JobState
from sky_core.remote.gangs.together import together
from sky_core.spec_yaml import Given

OWN = """
[[machines]]
cloud = "lab"
region = "basement"
instance_type = "box"
vcpus = 4
memory_gib = 16
price = 0
hosts = ["10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8", "10.0.0.9"]
"""


def task(**about):
    return Task(**{"name": "a", "run": "x", "engine": "dask", "elastic": {"max": 5}, **about})


def test_it_is_kept_and_begins_with_the_reliable_machines():
    asked = task(elastic=Elastic(min=2, max=5, reliable=2))
    assert asked.num_nodes == 2
    assert Task.model_validate_json(asked.model_dump_json()) == asked


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"elastic": {"max": 1}}, "max: of 1 machines none is left for spot, as reliable is 1; raise max"),
        ({"elastic": {"min": 4, "max": 3}}, "max: 3 machines are fewer than min, 4; raise max or lower min"),
        ({"elastic": {}}, "Task.a: elastic: max: is missing"),
        ({"elastic": {"max": 3, "most": 4}}, "Task.a: elastic: most: no such field"),
        ({"elastic": {"max": 3, "reliable": 0}}, "elastic: reliable: has to be 1 or more"),
        ({"elastic": 3}, "elastic: "),
        ({"engine": "mpi"}, "elastic: needs an engine that goes on when machines come and go: engine dask, ray, torch"),
        ({"engine": None}, "not none"),
        ({"num_nodes": 3}, "num_nodes: elastic says how many machines there are; leave num_nodes out"),
        ({"resources": Resources(use_spot=True)}, "elastic: buys spot machines by itself"),
        ({"restarts": 1}, "restarts: only for tasks of one machine"),
    ],
)
def test_a_mistake_names_the_field_and_the_cure(about, message):
    with pytest.raises(SpecError) as caught:
        task(**about)
    assert message in str(caught.value)


def test_files_name_it_too(tmp_path):
    file = tmp_path / "task.yaml"
    file.write_text("name: a\nrun: x\nengine: ray\nelastic: {min: 2, max: 8}\n")
    assert load_task(file, Given(environ={})).elastic == Elastic(min=2, max=8)
    file.write_text("name: a\nrun: x\nengine: ray\nelastic: {min: 2}\n")
    with pytest.raises(SpecError, match=r"task.yaml:4: .*elastic: max: is missing"):
        load_task(file, Given(environ={}))


def plan_of(asked, tmp_path, clouds=("aws", "gcp", "azure")):
    catalog = Catalog.load(tmp_path).with_defaults(Settings.load({"SKYLOOM_HOME": str(tmp_path)}).defaults)
    return make_plan(Pipeline(name="p", tasks=(asked,)), Market(catalog, list(clouds)))


def test_a_plan_tells_the_range_of_machines_and_of_money(tmp_path):
    made = plan_of(task(hours=10, resources=Resources(accelerators="V100:1", cloud="aws")), tmp_path)
    place = made.placements["a"]
    assert (place.num_nodes, place.changing, place.use_spot) == (1, 4, False)
    rate = place.price + 4 * place.changing_price
    assert place.changing_price < place.price
    assert place.compute_usd == pytest.approx(place.expected_hours * rate)
    assert place.usd_at_most == pytest.approx(place.expected_hours * 5 * place.price)
    assert told(made, task()).endswith(f"an hour, up to 4 more on spot, ${place.changing_price:.4f} each")
    document = PlanDocument.of(made).placements["a"]
    assert (document.changing_nodes, document.changing_usd_per_hour) == (4, place.changing_price)
    assert "on-demand+spot" in plan_text(made)
    (said,) = (remark for remark in made.remarks if "on demand and up to" in remark)
    assert f"a: 1 on demand and up to 4 on spot, as it pays: ${place.compute_usd:.2f} and 10.00 h" in said
    assert f"up to ${place.usd_at_most:.2f} and 50.00 h if spot is never to be had" in said


def test_it_goes_where_machines_of_two_launches_see_each_other(tmp_path):
    (tmp_path / INVENTORY).write_text(OWN)
    here = Resources(cloud="lab", instance_type="box")
    assert plan_of(task(elastic=None, hours=1, resources=here), tmp_path, ["lab"]).placements["a"].cloud == "lab"
    with pytest.raises(NoFeasibleOffering, match="elastic: machines cannot come and go in lab"):
        plan_of(task(hours=1, resources=here), tmp_path, ["lab"])


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_it_goes_to_each_cloud(tmp_path, cloud):
    asked = task(hours=1, resources=Resources(cloud=cloud, accelerators="V100:1"))
    assert plan_of(asked, tmp_path).placements["a"].changing == 4


SPARE = JobState("running", spare=True)


@pytest.mark.parametrize(
    ("spare", "phase", "lost"),
    [
        (SPARE, "running", None),
        (replace(SPARE, eviction=True), "running", None),
        (replace(SPARE, phase="setup"), "running", None),
        (replace(SPARE, phase="done", exit_code=0), "running", None),  # rank 0 ends in a moment
        (replace(SPARE, phase="done", exit_code=1), "lost", 1),
        (replace(SPARE, phase="done", detail="eviction"), "lost", 1),
        (replace(SPARE, phase="lost"), "lost", 1),
    ],
)
def test_a_gang_does_not_fail_with_a_machine_that_it_can_do_without(spare, phase, lost):
    state = together([JobState("running"), spare])
    assert (state.phase, state.lost_rank, state.eviction) == (phase, lost, False)
    assert together([JobState("done", exit_code=0), spare]).exit_code == 0
    assert together([JobState("done", exit_code=3), spare]).exit_code == 3


def heard(memory, *, count, done, at, of=100.0):
    """The memory after the command of a gang of so many machines has reported."""
    memory = memory.model_copy(update={"members": ("m",) * count})
    step = SimpleNamespace(
        memory=memory, task=task(), driving=SimpleNamespace(settings=SimpleNamespace(scale=Scale(1 / 3600)))
    )
    told = fleet.noted(step, JobState("running", done=done, done_of=of, done_at=at))
    return memory.model_copy(update=dict(told))


def test_the_pace_is_learnt_once_those_that_joined_have_settled():
    memory, at = Memory(), 1000.0
    for done in range(5):
        memory = heard(memory, count=1, done=done, at=at + 360 * done)
    assert memory.paces == {1: (pytest.approx(0.3), 3.0)}, "the first tenth of an hour is not counted"
    memory = heard(memory, count=4, done=5, at=3000.0)
    memory = heard(memory, count=4, done=8, at=3360.0)
    assert set(memory.paces) == {1}, "those that have just joined do nothing yet"
    memory = heard(memory, count=4, done=12, at=3720.0)
    assert memory.paces[4] == (pytest.approx(0.1), 4.0)
    assert heard(memory, count=4, done=2, at=4000.0).paces == memory.paces, "work that was lost is no pace"
    assert Memory.model_validate_json(memory.model_dump_json()) == memory
