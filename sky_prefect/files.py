"""Flow files for the command line: ``skyloom plan FLOW.py`` and ``skyloom run FLOW.py``."""

from __future__ import annotations

import asyncio
import inspect
import logging
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.exceptions import ParameterTypeError
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner

from sky_core.engine_kit import Draft
from sky_core.errors import SpecError
from sky_prefect.task_runner import DryRun, SkyTaskRunner


class FlowFiles:
    """Keeps :class:`sky_core.engine_kit.Engine` and ``FromChoice`` for Prefect."""

    def claims(self, source: str) -> bool:
        """Whether the source imports this package or Prefect."""
        return "sky_prefect" in source or "from prefect" in source or "import prefect" in source

    def draft(self, path: Path) -> Draft:
        """As :meth:`draft_of`, of the file's only flow, without parameters."""
        return self.draft_of(path, None, {})

    def draft_of(self, path: Path, name: str | None, parameters: Mapping[str, Any]) -> Draft:
        """Run the flow up to its first demand for a result, on a server of its own: what it has submitted by then.

        What the flow's body does itself is done, and so are tasks that it calls directly; submitted tasks are not
        run, unless the flow needs the value of one here before it has submitted any for a cloud.

        Raises:
            SpecError: if the file has no such flow with a SkyTaskRunner, it submits nothing, or it fails before that.
        """
        flow = _flow_of(path, name)
        given = _accepted(path, flow, parameters)
        runner = flow.task_runner
        assert isinstance(runner, SkyTaskRunner)
        dry = runner.duplicate()
        dry.dry_run = True
        failed = _rehearse(flow.with_options(task_runner=cast(TaskRunner[PrefectFuture[Any]], dry)), given)
        if dry.drafted:
            return Draft(dry.drafted[0], dry.objective)
        if failed is not None:
            said = f"{type(failed).__name__}: {failed}"
            raise SpecError(f"{path}: the flow {flow.name!r} failed before it submitted anything: {said}") from failed
        raise SpecError(f"{path}: the flow {flow.name!r} submits no task that asks for cloud resources")

    def run(self, path: Path) -> bool:
        """As :meth:`run_of`, of the file's only flow, without parameters."""
        return self.run_of(path, None, {})

    def run_of(self, path: Path, name: str | None, parameters: Mapping[str, Any]) -> bool:
        """Run the flow as its own file would; True if it ended well."""
        flow = _flow_of(path, name)
        call: Callable[..., Any] = flow  # with return_state
        state = call(**_accepted(path, flow, parameters), return_state=True)
        ended: State[Any] = asyncio.run(state) if inspect.iscoroutine(state) else state
        return ended.is_completed()


def _rehearse(flow: Flow[..., Any], parameters: Mapping[str, Any]) -> Exception | None:
    """Run a flow with a runner that plans nothing, on a server of its own; the flow's own error, if it had one."""
    from prefect.settings import PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    logging.disable(logging.CRITICAL)  # the engine would report the dry run's end as the flow's failure
    try:
        with (
            temporary_settings({PREFECT_SERVER_ANALYTICS_ENABLED: False}),
            prefect_test_harness(server_startup_timeout=600),
        ):
            try:  # ended before the harness sees it, which would leave its server running
                value = flow(**parameters)
                if inspect.iscoroutine(value):
                    asyncio.run(value)
            except DryRun:
                pass
            except Exception as error:  # noqa: BLE001 - the user's flow may raise anything
                return error
    finally:
        logging.disable(logging.NOTSET)
    return None


def _flow_of(path: Path, name: str | None) -> Flow[..., Any]:
    """The flow with a SkyTaskRunner that goes by this name in the file, or by this name in Prefect.

    Raises:
        SpecError: if there is none, or no name is given and there are several.
    """
    sys.path.insert(0, str(path.resolve().parent))  # as Python does for a script
    found = runpy.run_path(str(path.resolve()), run_name="__skyloom__")
    flows = {
        variable: item
        for variable, item in found.items()
        if isinstance(item, Flow) and isinstance(item.task_runner, SkyTaskRunner)
    }
    if not flows:
        raise SpecError(f"{path}: no flow with task_runner=SkyTaskRunner(...)")
    meant = [flow for variable, flow in flows.items() if name in (None, variable, flow.name)]
    different = list({id(flow): flow for flow in meant}.values())
    if len(different) == 1:
        return different[0]
    ways = " or ".join(f"{path}:{variable}" for variable in flows)
    raise SpecError(f"{path}: {'several flows' if name is None else f'no flow {name!r}'}", cure=f"say {ways}")


def _accepted(path: Path, flow: Flow[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as the flow takes them.

    Raises:
        SpecError: naming all that are missing or unknown, or the first that the flow refuses.
    """
    known = inspect.signature(flow.fn).parameters
    fixed = {name: one for name, one in known.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
    missing = [name for name, one in fixed.items() if one.default is one.empty and name not in given]
    if missing:
        cure = " ".join(f"--param {name}=…" for name in missing)
        raise SpecError(f"{path}: the flow {flow.name!r} needs parameters", cure=cure)
    unknown = sorted(set(given) - set(fixed))
    if unknown and not any(one.kind is one.VAR_KEYWORD for one in known.values()):
        raise SpecError(f"{path}: the flow {flow.name!r} has no parameter {', '.join(unknown)}")
    try:
        return {**flow.validate_parameters({**given}), **{name: given[name] for name in unknown}}
    except ParameterTypeError as error:
        said = " ".join(str(error).split())
        raise SpecError(f"{path}: the flow {flow.name!r} cannot take these parameters: {said}") from None


engine = FlowFiles()
