"""Windows of a real flow become the pipelines they mean; needs are read where they are said."""

import pytest
from prefect import flow, task
from prefect.testing.utilities import prefect_test_harness

from sky_core.errors import SpecError
from sky_prefect import SkyTaskRunner, resources, resources_override
from sky_prefect.needs import needs_of
from sky_prefect.window import node_name, pipeline_of


@pytest.fixture(scope="module")
def prefect():
    with prefect_test_harness(server_startup_timeout=600):
        yield


@task
@resources(cpus="8+", output_gb=5)
def make():
    return 1


@task
def local(x):
    return x


@task
@resources(accelerators="T4", use_spot=True)
def use(x, y=None):
    return x


def windows_of(body):
    """The pipeline that a flow's submissions amount to, without planning or running any."""
    seen = {}

    class Recorder(SkyTaskRunner):
        def _flush(self):
            seen["pipeline"] = pipeline_of("f", self._nodes)
            for node in self._nodes.values():
                if not node.future.wrapped_future.done():
                    node.future.wrapped_future.set_result(None)

    flow(body, name="f", task_runner=Recorder(debounce_s=60))()
    return seen["pipeline"]


def test_edges_are_data_where_values_flow_and_order_where_they_do_not(prefect):
    def body():
        first = make.submit()
        second = use.submit(first)
        use.submit(local.submit(second), wait_for=[first])

    pipeline = windows_of(body)
    assert [one.name for one in pipeline.tasks] == ["make", "use", "use[1]"]
    assert pipeline.data_edges() == {("make", "use"): 5}
    assert set(pipeline.order) == {("make", "use[1]"), ("use", "use[1]")}, "through a local task: order only"


def test_a_flow_without_cloud_tasks_is_no_pipeline(prefect):
    assert windows_of(lambda: local.submit(1) and None) is None


def test_needs_are_layered():
    assert needs_of(make, {}) == {"cpus": "8+", "output_gb": 5}
    assert needs_of(local, {}) is None
    assert needs_of(local, {"local": {"cpus": 4}}) == {"cpus": 4}
    with resources_override(make={"cpus": "2+"}):
        assert needs_of(make, {"make": {"cpus": "4+", "memory": 8}}) == {"cpus": "2+", "output_gb": 5, "memory": 8}
    assert needs_of(make.with_options(name="other"), {})["cpus"] == "8+"


def test_a_mistake_is_said_when_the_flow_file_is_loaded():
    with pytest.raises(SpecError, match="hours: an estimate must be positive"):
        resources(accelerators="V100", hours=-1)
    with pytest.raises(SpecError, match="gpus: no such field"):
        resources(gpus=1)


@pytest.mark.parametrize(
    ("name", "ordinal", "expected"),
    [("train", 0, "train"), ("train", 2, "train[2]"), ("my task!", 0, "my-task-"), ("7up", 0, "task-7up")],
)
def test_names_fit_the_spec(name, ordinal, expected):
    assert node_name(name, ordinal) == expected
