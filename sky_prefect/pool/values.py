"""What comes back of a flow that was called: its value or its error, where they were kept within reach of both."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, TypeVar

from prefect import Flow
from prefect.client.schemas.objects import State, WorkPool
from prefect.exceptions import MissingResult
from prefect.filesystems import LocalFileSystem
from prefect.futures import PrefectFlowRunFuture
from prefect.results import aget_default_result_storage, aresolve_result_storage

R = TypeVar("R")

CURE = "@flow(persist_result=True, result_storage=...), a storage that both reach, lets values and errors come back"


async def stored(flow: Flow[..., Any], work_pool: WorkPool, logger: logging.Logger | Any) -> Flow[..., Any]:
    """The flow with the result storage of its pool, if it has none; a warning before any money is spent if none has."""
    pools = work_pool.storage_configuration.default_result_storage_block_id
    if flow.persist_result is not False:
        if flow.result_storage is not None:
            return flow
        if pools is not None:
            return flow.with_options(result_storage=await aresolve_result_storage(pools), persist_result=True)
        default = await aget_default_result_storage()
        if not isinstance(default, LocalFileSystem) or default._block_document_id is not None:
            return flow
    logger.warning("Only the state of %r will come back, neither a value nor its error itself: %s", flow.name, CURE)
    return flow


class CalledFlowFuture(PrefectFlowRunFuture[R]):
    """The future of a flow run whose results may have stayed on its machine."""

    async def wait_async(self, timeout: float | None = None) -> None:
        await super().wait_async(timeout)
        if self._final_state is not None:
            self._final_state = readable(self._final_state)

    async def aresult(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        try:
            return await super().aresult(timeout, raise_on_failure)
        except MissingResult:
            raise MissingResult(f"the flow has completed, but its value was not kept: {CURE}") from None


def readable(state: State[Any]) -> State[Any]:
    """The state without what nobody here can read: a result in the machine's own folder, which is gone with it."""
    data, message = state.data, state.message
    if data is not None and getattr(data, "storage_block_id", data) is None:  # a record in a folder, not in a block
        data = data if data.storage_key and Path(data.storage_key).exists() else None
    if data is None and state.is_failed() and CURE not in (message or ""):
        message = f"{message or 'The flow failed.'} ({CURE})"
    return state.model_copy(update={"data": data, "message": message})
