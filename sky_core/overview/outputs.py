"""What jobs have published and is there still: which of it is kept, by age and number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sky_core.events import OutputRemoved
from sky_core.job.cost.charges import NOT_KNOWN
from sky_core.store import Store


@dataclass(frozen=True)
class Output:
    """One output of a job that has succeeded.

    Attributes:
        pipeline: The pipeline's name; ``?`` if its plan is not in this store.
        gb: 1e9 bytes.
        at: When its job was submitted, seconds since the epoch.
    """

    job: str
    pipeline: str
    plan_key: str
    task: str
    name: str
    uri: str
    gb: float
    at: float


def outputs(store: Store) -> list[Output]:
    """All outputs in the store that were not removed, the newest job's first."""
    told = ((event.job_id, event.what) for event in store.events_of((OutputRemoved.kind,)))
    removed = {(job_id, what.output) for job_id, what in told if isinstance(what, OutputRemoved)}
    pipelines = store.pipeline_names()
    return [
        Output(
            job.id, pipelines.get(job.plan_key, NOT_KNOWN), job.plan_key, job.task, name, about["uri"],
            about["size_gb"], job.created_at,
        )
        for job in store.jobs()
        for name, about in job.result.get("outputs", {}).items()
        if (job.id, name) not in removed
    ]  # fmt: skip


def outworn(found: Sequence[Output], older_than: float | None, keep: int | None) -> list[Output]:
    """Those of the outputs, newest first, that are not to be kept.

    Args:
        older_than: Those submitted after this moment are kept; None for none by their age.
        keep: So many of each output of a pipeline's task are kept, the newest; None for none by their number.
    """
    number: dict[tuple[str, str, str], int] = defaultdict(int)
    gone = []
    for one in found:
        kind = (one.pipeline, one.task, one.name)
        number[kind] += 1
        young = older_than is not None and one.at >= older_than
        if not young and not (keep is not None and number[kind] <= keep):
            gone.append(one)
    return gone
