"""Flows that are called or submitted by a process of the user's, bound to a pool by a decorator: sent as they are."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import Flow, Task
from prefect.bundles import create_bundle_for_flow_run
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import Flow as APIFlow
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext, TagsContext
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Pending

from sky_core.broker.calls.parsing import parsing_again
from sky_prefect.pool.jobs import RunJobs
from sky_prefect.wanting import CALLER_GONE

BUNDLE = "bundle.json"
COMMAND = f"python3 -m prefect.bundles.execute --key {BUNDLE}"


def api_flow(flow: Flow[..., Any], run: FlowRun) -> APIFlow:
    """The flow as the API knows it."""
    return APIFlow(id=run.flow_id, name=flow.name, labels={})


async def flow_run_of(
    client: PrefectClient,
    work_pool: str,
    flow: Flow[..., Any],
    parameters: dict[str, Any],
    job_variables: dict[str, Any] | None,
    again: FlowRun | None,
) -> FlowRun:
    """A new flow run in the pool, below the one that calls the flow; or ``again``, which is to be run once more."""
    if again is not None:
        await client.set_flow_run_state(again.id, Pending(message="Run again"), force=True)
        return await client.read_flow_run(again.id)
    caller, parent = FlowRunContext.get(), None
    if caller is not None:
        task: Task[..., Any] = Task(name=flow.name, fn=flow.fn, version=flow.version)
        parent = await task.create_run(flow_run_context=caller, parameters=parameters)
    return await client.create_flow_run(
        flow,
        parameters=flow.serialize_parameters(parameters),
        state=Pending(),
        job_variables=job_variables,
        work_pool_name=work_pool,
        tags=TagsContext.get().current_tags,
        parent_task_run_id=parent.id if parent else None,
    )


@contextmanager
def bundled(flow: Flow[..., Any], run: FlowRun) -> Iterator[Path]:
    """A folder with the flow and its run in it, to be a job's working folder; the files that it includes beside them.

    Nothing of this process's settings, the API's key among them, is in it, and no variables: they go sealed.
    """
    plain = run.model_copy(update={"job_variables": None})
    context = {"tags_context": TagsContext.get().serialize()}
    made = parsing_again(create_bundle_for_flow_run)(_unbound(flow), plain, context=context)
    content = {**made["bundle"], "dependencies": "", "files_key": None}  # its packages are those of its environment
    with tempfile.TemporaryDirectory(prefix="skyloom-flow-") as name:
        folder = Path(name)
        (folder / BUNDLE).write_text(json.dumps(content))
        if made["zip_path"] is not None:
            shutil.unpack_archive(made["zip_path"], folder)
            made["zip_path"].unlink()
        yield folder


def end(jobs: RunJobs, run: UUID) -> None:
    """Cancel a flow run whose caller ends, and its job; one that is over ends by itself."""
    with get_client(sync_client=True) as client:
        with suppress(httpx.HTTPError, ObjectNotFound):
            state = client.read_flow_run(run).state
            if state is not None and state.is_final():
                return
        job = jobs.last(run)
        if job is not None:
            jobs.broker.cancel(job.id, CALLER_GONE)
        with suppress(httpx.HTTPError, ObjectNotFound):
            client.set_flow_run_state(run, Cancelled(message=CALLER_GONE), force=True)


def _unbound(flow: Flow[..., Any]) -> Flow[..., Any]:
    """The flow without its pool, worker and job variables, which mean nothing where it runs."""
    plain = copy.copy(flow)
    plain.__class__ = Flow
    for name in ("work_pool", "worker_cls", "job_variables"):
        vars(plain).pop(name, None)
    return plain
