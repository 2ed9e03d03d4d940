"""Flows under Prefect's task runners for Dask and Ray, in a cluster that Skyloom has brought up for them.

Ray is too heavy for the suite: CONTRIBUTING.md says how to have it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import sky_prefect
from sky_core.errors import SpecError
from tests.conftest import until

pytestmark = pytest.mark.slow
FLOW = Path(__file__).parents[1] / "flows" / "clustered.py"
NODES = 2


def engine(name, package):
    lacking = pytest.mark.skipif(find_spec(package) is None, reason=f"not installed: {package}")
    return pytest.param(name, marks=lacking)


ENGINES = [engine("dask", "prefect_dask"), engine("ray", "prefect_ray")]


def started(environment, *arguments):
    return subprocess.Popen([sys.executable, str(FLOW), *arguments], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip


def paid(world):
    """Machines that the clouds' ledger still bills."""
    return [line for line in world.control.ledger() if line["kind"] == "machine" and line["ended"] is None]


@pytest.mark.parametrize("how", ["", "async"])
@pytest.mark.parametrize("name", ENGINES)
def test_a_flow_runs_in_the_cluster_and_nothing_is_left_of_it(world, environment, name, how):
    said, _ = started(environment, name, how).communicate(timeout=250)
    assert "sum 140 ranks ['0', '1']" in said, said
    assert f"{name} on 2 machines of aws/" in said, said
    assert "Finished in state Completed" in said, said
    assert paid(world) == []
    assert len([line for line in world.control.ledger() if line["kind"] == "machine"]) >= NODES


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("name", ENGINES)
def test_a_flow_that_is_killed_leaves_no_cluster(world, environment, name, number):
    process = started(environment, name, "long")
    try:
        assert any("UP" in line for line in process.stdout)
        assert len(paid(world)) == NODES
        process.send_signal(number)
        until(lambda: not paid(world))
    finally:
        process.kill()
        process.communicate()


def test_what_cannot_be_meant_is_told_before_anything_is_launched():
    with pytest.raises(SpecError, match="spark cannot be used from another host: one of dask, ray"):
        sky_prefect.cluster("spark")
    with pytest.raises(SpecError, match="run: a cluster has none"):
        sky_prefect.cluster("dask", run="true")
    with pytest.raises(SpecError, match="resources: give its fields themselves"):
        sky_prefect.cluster("dask", resources={"cpus": 4})
    with pytest.raises(SpecError, match="cpuz"):
        sky_prefect.cluster("dask", cpuz="4+")
