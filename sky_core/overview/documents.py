"""For other programs: ``skyloom jobs --json``, ``top --json``, ``clusters --json``, ``artifacts ls --json``.

They may gain fields; else ``version`` changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from sky_core.overview.glance import Glance
from sky_core.overview.jobs import JobRow
from sky_core.overview.outputs import Output
from sky_core.overview.warm import KeptRow
from sky_core.store import JobState


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class JobEntry(_Part):
    """A job: one task of one run."""

    id: str
    run: str
    """The key of its plan."""
    task: str
    state: JobState
    attempt: int
    """Counted from 1; 0 before the first launch."""
    submitted_at: datetime
    changed_at: datetime
    cloud: str | None
    """Of the newest launch; null before the first, as all that follows."""
    region: str | None
    zone: str | None
    instance_type: str | None
    market: Literal["spot", "on-demand"] | None
    num_nodes: int | None
    compute_usd: float
    egress_usd: float
    usd: float
    usd_per_hour: float
    """What its machines cost now; 0 once they are gone."""

    @classmethod
    def of(cls, row: JobRow) -> JobEntry:
        """From a row."""
        job, at, spent = row.job, row.cluster, row.spent
        return cls(
            id=job.id,
            run=job.plan_key,
            task=job.task,
            state=job.state,
            attempt=job.attempt,
            submitted_at=datetime.fromtimestamp(job.created_at, UTC),
            changed_at=datetime.fromtimestamp(job.updated_at, UTC),
            cloud=at.cloud if at else None,
            region=at.region if at else None,
            zone=at.zone if at else None,
            instance_type=at.instance_type if at else None,
            market=at.market if at else None,
            num_nodes=at.num_nodes if at else None,
            compute_usd=spent.compute_usd,
            egress_usd=spent.egress_usd,
            usd=spent.usd,
            usd_per_hour=row.usd_per_hour,
        )


class JobsDocument(_Part):
    """Jobs, the newest first."""

    version: Literal[1] = 1
    matching: int
    """How many jobs are as asked for; ``jobs`` has one page of them."""
    jobs: tuple[JobEntry, ...]

    @classmethod
    def of(cls, rows: Iterable[JobRow], matching: int) -> JobsDocument:
        """From the rows of a page."""
        return cls(matching=matching, jobs=tuple(JobEntry.of(row) for row in rows))


class TopDocument(_Part):
    """All of a store at one moment."""

    version: Literal[1] = 1
    at: datetime
    states: Mapping[JobState, int]
    """How many jobs are in each state; those with none are missing."""
    usd_today: float
    """Spent since midnight UTC, on machines and egress."""
    usd_per_hour: float
    """What all machines cost now."""
    jobs: tuple[JobEntry, ...]
    """The live ones, the dearest first."""

    @classmethod
    def of(cls, glance: Glance) -> TopDocument:
        """From a glance."""
        return cls(
            at=datetime.fromtimestamp(glance.at, UTC),
            states=glance.states,
            usd_today=glance.usd_today,
            usd_per_hour=glance.usd_per_hour,
            jobs=tuple(JobEntry.of(row) for row in glance.live),
        )


class ClusterEntry(_Part):
    """Machines that are kept for the next job."""

    name: str
    job: str
    """Whose they were, and on whose bill they are."""
    task: str
    cloud: str
    region: str
    zone: str | None
    instance_type: str
    market: Literal["spot", "on-demand"]
    num_nodes: int
    usd_per_hour: float
    """For all of them."""
    idle_since: datetime
    idle_usd: float
    """What they have cost since then."""
    ends_at: datetime
    """When they are ended, if no job has taken them by then."""
    ending: bool
    """Whether they are being ended."""

    @classmethod
    def of(cls, row: KeptRow) -> ClusterEntry:
        """From a row."""
        at = row.cluster
        return cls(
            name=at.kept_as or "",
            job=at.job_id,
            task=row.task,
            cloud=at.cloud,
            region=at.region,
            zone=at.zone,
            instance_type=at.instance_type,
            market=at.market,
            num_nodes=at.num_nodes,
            usd_per_hour=row.usd_per_hour,
            idle_since=datetime.fromtimestamp(at.kept_at or 0.0, UTC),
            idle_usd=row.idle_usd,
            ends_at=datetime.fromtimestamp(at.kept_until or 0.0, UTC),
            ending=row.ending,
        )


class ClustersDocument(_Part):
    """What is kept, that which ends first first."""

    version: Literal[1] = 1
    clusters: tuple[ClusterEntry, ...]

    @classmethod
    def of(cls, rows: Iterable[KeptRow]) -> ClustersDocument:
        """From rows."""
        return cls(clusters=tuple(map(ClusterEntry.of, rows)))


class ArtifactEntry(_Part):
    """An output of a job that has succeeded."""

    job: str
    pipeline: str
    run: str
    """The key of its plan."""
    task: str
    output: str
    uri: str
    gb: float
    """1e9 bytes."""
    submitted_at: datetime
    """When its job was."""

    @classmethod
    def of(cls, one: Output) -> ArtifactEntry:
        """From an output."""
        at = datetime.fromtimestamp(one.at, UTC)
        return cls(job=one.job, pipeline=one.pipeline, run=one.plan_key, task=one.task, output=one.name, uri=one.uri,
                   gb=one.gb, submitted_at=at)  # fmt: skip


class ArtifactsDocument(_Part):
    """What jobs have published, the newest job's first."""

    version: Literal[1] = 1
    artifacts: tuple[ArtifactEntry, ...]

    @classmethod
    def of(cls, found: Iterable[Output]) -> ArtifactsDocument:
        """From outputs."""
        return cls(artifacts=tuple(map(ArtifactEntry.of, found)))
