"""The worker of a ``skyloom`` work pool: each flow run of a deployment becomes a job on the machine planned for it.

The flow run's process is on that machine and tells the API itself how it goes. The worker submits the job, tells in the
run's log what becomes of it, and says of a run what its process cannot: that it crashed, or was cancelled before it
began. A worker that is killed loses nothing: jobs go on, and whichever worker of the pool is there takes them over.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import anyio
import anyio.abc
import httpx
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import InfrastructureNotFound, ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.workers.base import BaseVariables, BaseWorker, BaseWorkerResult

from sky_core.broker import Broker
from sky_core.job.narrate import describe
from sky_core.store import Event, Job
from sky_prefect.pool import adhoc
from sky_prefect.pool.configuration import SkyJobConfiguration
from sky_prefect.pool.jobs import SILENT_S, RunJobs
from sky_prefect.pool.values import CalledFlowFuture, stored
from sky_prefect.reports import tell_event
from sky_prefect.wanting import CALLER_GONE

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.responses import WorkerFlowRunResponse
    from prefect.futures import PrefectFlowRunFuture

Answer = TypeVar("Answer")
Result = TypeVar("Result")

LOOK_S = 3.0  # between two looks at whether a flow run was cancelled
LEAVE_S = 15.0  # for a cancelled job to end before whoever called its flow has left
GRACE_S = 30.0  # for a flow run's own process to see to its cancellation
GOING = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


class SkyWorkerResult(BaseWorkerResult):
    """How a flow run's command ended; ``identifier`` is its job's."""


class SkyWorker(BaseWorker[SkyJobConfiguration, BaseVariables, SkyWorkerResult]):
    """Runs the flow runs of a work pool, each on a machine of the cloud where it is cheapest (or fastest).

    Which Skyloom it is, and what logs in to the clouds, says its environment.
    """

    type = "skyloom"
    job_configuration = SkyJobConfiguration
    _display_name = "Skyloom"
    _description = "Run each flow run on the cloud machine that Skyloom chooses for it, over AWS, GCP and Azure."

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._followed: set[UUID] = set()
        self._looked_at = 0.0  # for flow runs that nobody follows

    @cached_property
    def jobs(self) -> RunJobs:
        """The jobs of flow runs; opened on first use."""
        jobs = RunJobs(Broker.open(), PREFECT_API_URL.value() or "")
        host = urlsplit(jobs.api).hostname or ""
        if jobs.broker.settings.profile != "sandbox" and (host == "localhost" or host.startswith("127.")):
            self._logger.warning("No machine of a cloud can reach the API at %s: set PREFECT_API_URL", jobs.api)
        return jobs

    # Flow runs that are to begin.

    async def run(
        self,
        flow_run: FlowRun,
        configuration: SkyJobConfiguration,
        task_status: anyio.abc.TaskStatus[Any] | None = None,
    ) -> SkyWorkerResult:
        """Run a flow run to its end on a machine, or go on with the job that it has.

        Raises:
            SkyloomError: if no machine can be planned for it, or a folder or secret that it needs is missing.
        """
        return await self._run(flow_run, configuration, task_status or anyio.TASK_STATUS_IGNORED)

    async def _run(
        self,
        flow_run: FlowRun,
        configuration: SkyJobConfiguration,
        task_status: anyio.abc.TaskStatus[Any],
        workdir: Path | None = None,
    ) -> SkyWorkerResult:
        self._followed.add(flow_run.id)
        try:
            job = await self._job_of(flow_run, configuration, workdir)
            task_status.started(job.id)
            job = await self._followed_to_its_end(flow_run, job, called=workdir is not None)
            return await self._ended(flow_run, job)
        finally:
            self._followed.discard(flow_run.id)

    async def _job_of(self, flow_run: FlowRun, configuration: SkyJobConfiguration, workdir: Path | None) -> Job:
        """The job of a flow run that is to begin; of one that has begun, the one that it has."""
        state = await self._state(flow_run.id)
        if state is not None and (state.is_pending() or state.is_scheduled()):
            return await _apart(self.jobs.begin, flow_run.id, configuration, workdir)
        job = await _apart(self.jobs.last, flow_run.id)
        if job is None:
            raise InfrastructureNotFound(f"the flow run is {state.name if state else 'gone'} and has no job")
        return job

    async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
        # A run that is scheduled anew because its machine is taken away goes on in the job that it has.
        found = await super()._get_scheduled_flow_runs()
        return [one for one in found if one.flow_run.id not in self._followed]

    # Flow runs that are under way.

    async def _followed_to_its_end(self, flow_run: FlowRun, job: Job, called: bool = False) -> Job:
        logger, left, begun = self.get_flow_run_logger(flow_run), threading.Event(), threading.Event()

        def on_event(event: Event) -> None:
            logger.info(describe(event))
            tell_event(flow_run, event)
            if event.kind == "started":
                begun.set()
            elif event.kind == "recovering":
                begun.clear()

        async with anyio.create_task_group() as group:
            group.start_soon(self._heed_cancellation, flow_run.id, job.id, begun)
            try:
                job = await _apart(self.jobs.follow, flow_run.id, job, on_event, left.is_set, called)
            finally:
                left.set()  # this worker ends; the job goes on
            group.cancel_scope.cancel()
        return job

    async def _heed_cancellation(self, run: UUID, job_id: str, begun: threading.Event) -> None:
        """Cancel the job of a flow run that was cancelled or deleted, unless its own process is there to see to it."""
        since = None
        while True:
            await anyio.sleep(LOOK_S)
            try:
                state = await self._state(run)
            except httpx.HTTPError:  # the server is away: jobs go on
                continue
            if state is not None and not (state.is_cancelling() or state.is_cancelled()):
                since = None
                continue
            since = since or time.monotonic()
            if not begun.is_set() or time.monotonic() - since > GRACE_S:
                await _apart(self.jobs.broker.cancel, job_id, "Prefect: the flow run was cancelled")
                return

    async def _state(self, run: UUID) -> State[Any] | None:
        try:
            return (await self.client.read_flow_run(run)).state
        except ObjectNotFound:
            return None

    async def _ended(self, flow_run: FlowRun, job: Job) -> SkyWorkerResult:
        """Say of a flow run whose job is over what its own process could not say any more."""
        state, failure = await self._state(flow_run.id), await _apart(self.jobs.failure, job)
        if state is not None and not state.is_final():
            if job.state == "cancelled":
                await self._mark_flow_run_as_cancelled(flow_run, {"message": job.cancel_reason})
            elif failure or state.is_running():
                said = failure or "its process ended without saying how the flow run did"
                await self._propose_crashed_state(flow_run, said)
        if state is not None and state.is_crashed():  # its process could say little of why; its log has it
            logger, said = self.get_flow_run_logger(flow_run), await _apart(self.jobs.last_words, job)
            logger.error("the last lines of job %s's log:\n%s", job.id, said)
        code = 0 if job.state in ("succeeded", "cancelled") else job.result.get("exit_code") or 1
        return SkyWorkerResult(identifier=job.id, status_code=code)

    async def kill_infrastructure(
        self, infrastructure_pid: str, configuration: SkyJobConfiguration, grace_seconds: int = 30
    ) -> None:
        """Cancel a flow run's job; its machine is gone once that is over.

        Raises:
            InfrastructureNotFound: if there is no such job.
        """
        try:
            await _apart(self.jobs.broker.cancel, infrastructure_pid, "Prefect: the flow run was cancelled")
        except KeyError:
            raise InfrastructureNotFound(f"no job {infrastructure_pid} in this worker's store") from None

    # Flow runs that nobody follows.

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Submit what is scheduled, and take over what another worker, or an earlier one, has left."""
        if time.monotonic() - self._looked_at > SILENT_S / 4:
            self._looked_at = time.monotonic()
            await self._take_over()
        return await super().get_and_submit_flow_runs()

    async def _take_over(self) -> None:
        found = await self.client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(
                state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=GOING))
            ),
            work_pool_filter=filters.WorkPoolFilter(name=filters.WorkPoolFilterName(any_=[self._work_pool_name])),
        )
        for run in found:
            free = run.id not in self._followed | self._submitting_flow_run_ids
            if free and await self._is_forsaken(run) and self._runs_task_group is not None:
                self.get_flow_run_logger(run).info("Worker %r takes the flow run over", self.name)
                self._followed.add(run.id)
                self._runs_task_group.start_soon(self._take, run)

    async def _take(self, run: FlowRun) -> None:
        try:
            job = await _apart(self.jobs.last, run.id)
            if job is None or (job.over and run.state is not None and run.state.is_pending()):
                await self._submit_run_and_capture_errors(run)
            else:  # as it was submitted, whatever the pool says by now
                await self._ended(run, await self._followed_to_its_end(run, job))
        except Exception:  # noqa: BLE001 - another look takes it over
            self.get_flow_run_logger(run).exception("The flow run could not be taken over")
        finally:
            self._followed.discard(run.id)

    async def _is_forsaken(self, run: FlowRun) -> bool:
        """Whether nobody follows a flow run's job, or nobody has submitted one since it became pending."""
        if await _apart(self.jobs.last, run.id) is not None:
            return await _apart(self.jobs.forsaken, run.id) is not None
        if run.state is None or not run.state.is_pending() or run.deployment_id is None:
            return False
        return (datetime.now(UTC) - run.state.timestamp).total_seconds() > SILENT_S

    # Flows that are bound to the pool by a decorator, and run by the process that calls them.

    async def submit(
        self,
        flow: Flow[..., Result],
        parameters: dict[str, Any] | None = None,
        job_variables: dict[str, Any] | None = None,
        flow_run: FlowRun | None = None,
    ) -> PrefectFlowRunFuture[Result]:
        """Run a flow that this process holds; what cannot come back of it is told before its launch."""
        future = await super().submit(flow, parameters, job_variables, flow_run)
        return CalledFlowFuture(future.flow_run_id)

    async def _submit_adhoc_run(
        self,
        flow: Flow[..., Any],
        parameters: dict[str, Any] | None = None,
        job_variables: dict[str, Any] | None = None,
        task_status: anyio.abc.TaskStatus[FlowRun] | None = None,
        flow_run: FlowRun | None = None,
    ) -> None:
        flow = await stored(flow, self.work_pool, self._logger)
        run = await adhoc.flow_run_of(self.client, self.work_pool.name, flow, parameters or {}, job_variables, flow_run)
        (task_status or anyio.TASK_STATUS_IGNORED).started(run)

        def at_exit() -> None:  # Ctrl-C may end this process before its threads have heard of it
            adhoc.end(self.jobs, run.id)

        atexit.register(at_exit)
        try:
            configuration: SkyJobConfiguration = await SkyJobConfiguration.from_template_and_values(
                base_job_template=self.work_pool.base_job_template, values=job_variables or {}, client=self.client
            )
            configuration.command = configuration.command or adhoc.COMMAND
            configuration.prepare_for_flow_run(
                flow_run=run, flow=adhoc.api_flow(flow, run), work_pool=self.work_pool, worker_name=self.name
            )
            with adhoc.bundled(flow, run) as folder:
                await self._run(run, configuration, anyio.TASK_STATUS_IGNORED, folder)
        except Exception as error:  # noqa: BLE001 - its state tells the caller
            self.get_flow_run_logger(run).exception("The flow run could not be submitted")
            await self._propose_crashed_state(run, f"{type(error).__name__}: {error}")
        except BaseException:  # whoever called the flow does not wait for it any more
            with anyio.CancelScope(shield=True):
                await self._left(run)
            raise
        finally:
            atexit.unregister(at_exit)

    async def _left(self, run: FlowRun) -> None:
        """End what is left of a flow run that nobody waits for any more; one that is over ends by itself."""
        job = await _apart(self.jobs.last, run.id)
        if job is not None and not (await self._is_final(run) and await self._ends_within(GRACE_S, job)):
            await _apart(self.jobs.broker.cancel, job.id, CALLER_GONE)
            await self._cancelled(run)  # at once, and again after a process that was still there to say otherwise
            await self._ends_within(LEAVE_S, job)
        await self._cancelled(run)

    async def _cancelled(self, run: FlowRun) -> None:
        if not await self._is_final(run):
            with suppress(httpx.HTTPError):
                await self._mark_flow_run_as_cancelled(run, {"message": CALLER_GONE})

    async def _is_final(self, run: FlowRun) -> bool:
        with suppress(httpx.HTTPError):
            state = await self._state(run.id)
            return state is not None and state.is_final()
        return False

    async def _ends_within(self, patience_s: float, job: Job) -> bool:
        with anyio.move_on_after(patience_s):
            while not (await _apart(self.jobs.broker.job, job.id)).over:
                await anyio.sleep(0.5)
            return True
        return False


async def _apart(function: Callable[..., Answer], *args: Any) -> Answer:
    """Call what blocks in a thread of its own, so that any number of flow runs is followed at the same time."""
    return await anyio.to_thread.run_sync(
        partial(function, *args), abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
    )
