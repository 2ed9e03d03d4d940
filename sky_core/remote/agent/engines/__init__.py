"""The engines that make one computer of a gang's machines, each started by its own launcher.

What a task may say of them is in ``sky_core.spec.engine``. Nothing here schedules work inside a cluster. An agent whose
job has no engine imports none.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..job import Job, Place


def serves(job: Job) -> bool:
    """Whether this rank has no command of its own."""
    if not job.engine:
        return False
    from . import running

    return running.serves(job)


def in_engine(
    job: Job, place: Place, program: str, command: list[str], env: Mapping[str, str]
) -> tuple[list[str], Mapping[str, str]]:
    """What to run so that ``command`` is run in the job's engine, if it has one, and with what environment."""
    if not job.engine:
        return command, env
    from . import running

    return running.in_engine(job, place, program, command, env)
