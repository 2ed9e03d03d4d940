"""Flow files for the command line: ``skyloom plan FLOW.py`` and ``skyloom run FLOW.py``."""

from __future__ import annotations

import logging
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner

from sky_core.engine_kit import Draft
from sky_core.errors import SpecError
from sky_prefect.task_runner import DryRun, SkyTaskRunner


class FlowFiles:
    """Keeps :class:`sky_core.engine_kit.Engine` for Prefect."""

    def claims(self, source: str) -> bool:
        """Whether the source imports this package or Prefect."""
        return "sky_prefect" in source or "from prefect" in source or "import prefect" in source

    def draft(self, path: Path) -> Draft:
        """Run the flow up to its first demand for a result, on a server of its own: what it has submitted by then.

        Raises:
            SpecError: if the file has no flow with a SkyTaskRunner, or it submits nothing.
        """
        from prefect.settings import PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
        from prefect.testing.utilities import prefect_test_harness

        flow = _flow_of(path)
        runner = flow.task_runner
        assert isinstance(runner, SkyTaskRunner)
        dry = runner.duplicate()
        dry.dry_run = True
        logging.disable(logging.CRITICAL)  # the engine would report the dry run's end as the flow's failure
        try:
            with (
                temporary_settings({PREFECT_SERVER_ANALYTICS_ENABLED: False}),
                prefect_test_harness(server_startup_timeout=120),
            ):
                try:
                    flow.with_options(task_runner=cast(TaskRunner[PrefectFuture[Any]], dry))()
                except DryRun as ended:  # before the harness sees it, which would leave its server running
                    return Draft(ended.pipeline, dry.objective)
        finally:
            logging.disable(logging.NOTSET)
        raise SpecError(f"{path}: the flow {flow.name!r} submits no task that asks for cloud resources")

    def run(self, path: Path) -> bool:
        """Run the flow as its own file would."""
        flow: Callable[..., State[Any]] = _flow_of(path)  # with return_state
        return flow(return_state=True).is_completed()


def _flow_of(path: Path) -> Flow[..., Any]:
    sys.path.insert(0, str(path.resolve().parent))  # as Python does for a script
    found = runpy.run_path(str(path.resolve()), run_name="__skyloom__")
    flows = [item for item in found.values() if isinstance(item, Flow) and isinstance(item.task_runner, SkyTaskRunner)]
    if not flows:
        raise SpecError(f"{path}: no flow with task_runner=SkyTaskRunner(...)")
    return flows[-1]


engine = FlowFiles()
