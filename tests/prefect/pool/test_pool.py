"""A work pool of ours: deployments' flow runs on machines of the sandbox, and a worker that is killed."""

from __future__ import annotations

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Cancelling

from sky_prefect.wanting import still_wanted
from tests.conftest import until
from tests.prefect.pool.pools import CANARY, FLOWS, Pool, begun, common_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def pool(world, server):
    with Pool(world, server).made() as made:
        made.deploy("pool", str(FLOWS))
        yield made


@pytest.fixture
def folder():
    with common_folder() as made:
        yield made


def test_a_deployments_run_is_made_on_a_machine(pool, folder):
    run = pool.begin("whole/pool", folder)
    until(lambda: begun(folder))
    (folder / "enough").touch()
    state = pool.ended(run)
    assert state.is_completed(), state.message
    (job,) = pool.jobs(run)
    assert job.state == "succeeded"
    assert len(pool.world.launches(job.id)) == 1
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(run.id).infrastructure_pid == job.id
    said = pool.logs(run)
    assert f"begun on {job.id}" in said
    assert "t3.small" in said
    for kept in pool.world.home.rglob("*"):
        assert not (kept.is_file() and CANARY.encode() in kept.read_bytes()), kept


def test_a_run_is_cancelled_while_it_runs(pool, folder):
    run = pool.begin("whole/pool", folder)
    until(lambda: begun(folder))
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelling())
    assert pool.ended(run).is_cancelled()


def test_a_run_is_cancelled_while_its_machine_boots(pool, folder):
    pool.world.control.fault("aws", "RunInstances", "slow", seconds=20.0)
    run = pool.begin("whole/pool", folder)
    until(lambda: any(e.kind == "launching" for job in pool.jobs(run) for e in pool.store.events(job.id)))
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelling())
    assert pool.ended(run).is_cancelled()
    pool.world.control.clear_faults()
    assert begun(folder) == 0


def test_a_run_goes_on_where_its_machine_is_taken_away(pool, folder):
    run = pool.begin("whole/pool", folder, use_spot=True)
    until(lambda: begun(folder))
    (machine,) = pool.world.live()
    pool.world.control.preempt(machine)
    until(lambda: begun(folder) == 2)
    (folder / "enough").touch()
    state = pool.ended(run)
    assert state.is_completed(), state.message
    (job,) = pool.jobs(run)
    assert len(pool.world.launches(job.id)) == 2


def test_a_killed_worker_loses_and_repeats_nothing(pool, folder):
    run = pool.begin("whole/pool", folder)
    until(lambda: pool.jobs(run))
    pool.worker.kill()
    pool.worker.wait()
    until(lambda: begun(folder))
    until(lambda: pool.state(run).is_running())
    (interest,) = pool.store.interest_of(pool.jobs(run)[0].id)
    assert still_wanted(interest.how), "whoever follows it"
    with pool.misconfigured(minimize=None):  # by now; the run goes on as it was submitted
        pool.start_worker()
        until(lambda: "takes the flow run over" in pool.logs(run))
        (folder / "enough").touch()
        assert pool.ended(run).is_completed()
    (job,) = pool.jobs(run)
    assert len(pool.world.launches(job.id)) == 1
    assert begun(folder) == 1


def test_what_the_pool_misconfigures_crashes_with_its_reason(pool, folder):
    with pool.misconfigured(minimize=None):
        run = pool.begin("whole/pool", folder)
        state = until(lambda: (now := pool.state(run)) and now.is_final() and now)
    assert state.is_crashed()
    assert pool.jobs(run) == []


def test_code_goes_along_as_the_working_folder(pool, folder):
    pool.deploy("along", ".")
    (folder / "enough").touch()
    state = pool.ended(pool.begin("whole/along", folder, workdir=str(FLOWS)))
    assert state.is_completed(), state.message


def test_what_crashed_on_its_machine_is_told(pool, folder):
    pool.deploy("absent", "/no/such/folder")
    run = pool.begin("whole/absent", folder)
    assert pool.ended(run).is_crashed()
    told = until(lambda: (said := pool.logs(run)) and "the last lines of job" in said and said)
    assert "/no/such/folder" in told.partition("the last lines of job")[2]


def test_what_cannot_be_planned_crashes_with_its_reason(pool, folder):
    state = pool.ended(pool.begin("whole/pool", folder, instance_type="no.such"))
    assert state.is_crashed()
    assert "no.such" in state.message
