"""``@sky``: a flow that whoever calls it runs on a machine, without a deployment, a storage or a worker."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import FailedRun, MissingResult
from prefect.filesystems import LocalFileSystem
from prefect.flows import InfrastructureBoundFlow

from sky_core.errors import SpecError
from sky_prefect import sky
from sky_prefect.pool.adhoc import BUNDLE, bundled
from tests.prefect.pool.pools import SMALL
from tests.prefect.servers import FAST


@flow
def doubled(number: int):
    if number < 0:
        raise ValueError("mine")
    Path("note").write_text("written on the machine")
    return os.environ["SKY_JOB_ID"], os.environ["COLOUR"], 2 * number


def test_slips_are_told_when_the_file_is_loaded():
    with pytest.raises(SpecError, match="cpuz"):
        sky(work_pool="bound", cpuz=2)
    with pytest.raises(SpecError, match="deadline"):
        sky(work_pool="bound", deadline="soon")
    with pytest.raises(SpecError, match="num_nodes: a flow run is one process"):
        sky(work_pool="bound", num_nodes=2)


def test_a_flow_is_bundled_while_other_threads_parse(monkeypatch):
    """Python 3.11 tells whoever parses beside them of a mismatch (see test_parsing.py)."""
    parse, refused, run = ast.parse, [], FlowRun(flow_id=uuid4())

    def upset(*args, **kwargs):
        if not refused:
            refused.append(args)
            raise SystemError("AST constructor recursion depth mismatch (before=96, after=115)")
        return parse(*args, **kwargs)

    monkeypatch.setattr(ast, "parse", upset)
    with bundled(doubled, run) as folder:
        assert (folder / BUNDLE).is_file()
    assert refused


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_bound_flow_runs_on_a_machine(world, broker, tmp_path_factory):
    folder = FAST or tmp_path_factory.mktemp("results")
    LocalFileSystem(basepath=str(folder)).save("shared", overwrite=True, _sync=True)
    bound = sky(work_pool="bound", env={"COLOUR": "canary-blue"}, **SMALL)(
        doubled.with_options(persist_result=True, result_storage="local-file-system/shared")
    )
    assert isinstance(bound, InfrastructureBoundFlow)
    job_id, colour, value = bound(number=21)
    assert (colour, value) == ("canary-blue", 42)
    (job,) = broker.store.jobs()
    assert job.id == job_id
    assert len(world.launches(job.id)) == 1
    with pytest.raises(ValueError, match="mine"):
        bound(number=-1)
    unkept = sky(work_pool="bound", env={"COLOUR": "red"}, **SMALL)(doubled)
    with pytest.raises(FailedRun, match=r"ValueError: mine.*result_storage"):
        unkept(number=-1)
    with pytest.raises(MissingResult, match="result_storage"):
        unkept(number=1)
    ends = [job.state for job in broker.store.jobs()]
    assert len(ends) == 4
    assert "cancelled" not in ends, "each ended by itself"
    with get_client(sync_client=True) as client:
        assert client.read_work_pool("bound").type == "skyloom"
    assert b"canary-blue" not in Path(broker.settings.store_url.removeprefix("sqlite:///")).read_bytes()
    assert world.live() == []
