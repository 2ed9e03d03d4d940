"""An engine for plain Python files that make a ``Pipeline`` and call it PIPELINE."""

from __future__ import annotations

import runpy
import time
from pathlib import Path

from sky_core import Broker, Pipeline
from sky_core.broker.runner import PipelineRun
from sky_core.engine_kit import Draft
from sky_core.errors import SpecError
from sky_core.job.narrate import describe


class PlainFiles:
    """Keeps :class:`sky_core.engine_kit.Engine`."""

    def claims(self, source: str) -> bool:
        """Whether the file makes a pipeline of that name."""
        return "\nPIPELINE = " in source

    def draft(self, path: Path) -> Draft:
        """The file's pipeline."""
        pipeline = runpy.run_path(str(path)).get("PIPELINE")
        if not isinstance(pipeline, Pipeline):
            raise SpecError(f"{path}: PIPELINE is no Pipeline")
        return Draft(pipeline, base=path.parent)

    def run(self, path: Path) -> bool:
        """Run it to its end; True if all of its jobs have succeeded."""
        pipeline = self.draft(path).pipeline
        following = PipelineRun(
            Broker.open(),
            f"plain/{path.stem}/{time.time_ns()}",
            pipeline,
            on_event=lambda task, event: print(task, describe(event)),
            on_log=lambda task, line: print(task, "|", line),
        )
        jobs = following.run(None)
        return len(jobs) == len(pipeline.tasks) and all(job.state == "succeeded" for job in jobs.values())


engine = PlainFiles()
