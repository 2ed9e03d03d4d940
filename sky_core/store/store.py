"""The store: plans, jobs, clusters, events, logs and what was observed, durable and shared by all processes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa

from sky_core.store.database import insert_if_absent, open_engine, store_id
from sky_core.store.records import TERMINAL, Cluster, Event, Job, JobState, Observation, Run
from sky_core.store.tables import CLUSTERS, EVENTS, JOBS, LOGS, OBSERVATIONS, PAYLOADS, PLANS, RUNS

NewEvent = tuple[str, Mapping[str, Any]]  # kind, data


class LeaseLost(RuntimeError):
    """Another driver has taken the job over; what this one wanted to write was not written."""


class Store:
    """Durable state. Safe to share between threads; every process opens its own.

    Args:
        url: An SQLAlchemy URL, ``sqlite:///path`` or ``postgresql+psycopg://…``.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._engine = open_engine(url)
        self._reader = self._engine.execution_options(sky_reads_only=True)
        self._clock = clock
        self.id = store_id(self._engine)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    # Payloads: pickled calls, by content.

    def put_payload(self, data: bytes) -> str:
        """Keep ``data``; returns its SHA-256."""
        sha = hashlib.sha256(data).hexdigest()
        with self._engine.begin() as db:
            db.execute(insert_if_absent(self._engine, PAYLOADS, sha256=sha, data=data))
        return sha

    def payload(self, sha: str) -> bytes:
        """The data kept under that SHA-256."""
        with self._reader.begin() as db:
            data: bytes = db.execute(sa.select(PAYLOADS.c.data).where(PAYLOADS.c.sha256 == sha)).scalar_one()
        return data

    # Plans: one per key, with versions as the rest of the DAG is planned anew.

    def create_plan(self, key: str, pipeline: str, plan: str) -> tuple[str, str]:
        """Keep the first plan of ``key``; whoever comes second gets the first one's. Returns (pipeline, plan)."""
        with self._engine.begin() as db:
            values = {"key": key, "version": 1, "created_at": self._clock(), "pipeline": pipeline, "plan": plan}
            db.execute(insert_if_absent(self._engine, PLANS, **values))
        found = self.plan(key)
        assert found is not None
        return found[1], found[2]

    def plan(self, key: str) -> tuple[int, str, str] | None:
        """The newest (version, pipeline, plan) of that key, or None."""
        query = sa.select(PLANS).where(PLANS.c.key == key).order_by(PLANS.c.version.desc()).limit(1)
        with self._reader.begin() as db:
            row = db.execute(query).one_or_none()
        return None if row is None else (row.version, row.pipeline, row.plan)

    def plan_keys(self) -> list[str]:
        """The keys of all plans, in the order in which they were first made."""
        query = sa.select(PLANS.c.key).where(PLANS.c.version == 1).order_by(PLANS.c.created_at)
        with self._reader.begin() as db:
            return list(db.execute(query).scalars())

    def plan_versions(self, key: str) -> list[str]:
        """All plans of that key, oldest first."""
        query = sa.select(PLANS.c.plan).where(PLANS.c.key == key).order_by(PLANS.c.version)
        with self._reader.begin() as db:
            return list(db.execute(query).scalars())

    def replace_plan(self, key: str, version: int, pipeline: str, plan: str) -> bool:
        """Add ``version + 1``; False if somebody else has added it meanwhile (read theirs and think again)."""
        values = {"key": key, "version": version + 1, "created_at": self._clock(), "pipeline": pipeline, "plan": plan}
        with self._engine.begin() as db:
            return bool(db.execute(insert_if_absent(self._engine, PLANS, **values)).rowcount)

    # Jobs.

    def submit(self, key: str, *, plan_key: str, task: str, spec: str, owner: str | None) -> Job:
        """Create the job of ``key``, or find it. The owner becomes the caller's in either case."""
        now = self._clock()
        # With the store's id in it: tokens of launches are made from it, and two stores may share an account.
        job_id = "job-" + hashlib.sha256(f"{self.id}/{key}".encode()).hexdigest()[:16]
        values: dict[str, Any] = {
            "id": job_id, "key": key, "plan_key": plan_key, "task": task, "spec": spec, "state": "submitted",
            "owner": owner, "attempt": 0, "created_at": now, "updated_at": now, "wake_at": now,
            "memory": "{}", "result": "{}", "lease_until": 0.0,
        }  # fmt: skip
        with self._engine.begin() as db:
            created = db.execute(insert_if_absent(self._engine, JOBS, **values)).rowcount
            if created:
                self._add_event(db, job_id, "submitted", {"task": task, "plan": plan_key})
            elif owner is not None:
                db.execute(sa.update(JOBS).where(JOBS.c.id == job_id).values(owner=owner))
        return self.job(job_id)

    def job(self, job_id: str) -> Job:
        """The job of that id.

        Raises:
            KeyError: if there is none.
        """
        with self._reader.begin() as db:
            row = db.execute(sa.select(JOBS).where(JOBS.c.id == job_id)).one_or_none()
        if row is None:
            raise KeyError(job_id)
        return _job(row)

    def find_job(self, key: str) -> Job | None:
        """The job of that key, or None."""
        with self._reader.begin() as db:
            row = db.execute(sa.select(JOBS).where(JOBS.c.key == key)).one_or_none()
        return None if row is None else _job(row)

    def jobs(self, *, plan_key: str | None = None, live: bool = False, limit: int = 1000) -> list[Job]:
        """Jobs, newest first: all, those of one plan, or only those that are not over."""
        query = sa.select(JOBS).order_by(JOBS.c.created_at.desc(), JOBS.c.id).limit(limit)
        if plan_key is not None:
            query = query.where(JOBS.c.plan_key == plan_key)
        if live:
            query = query.where(JOBS.c.state.not_in(TERMINAL))
        with self._reader.begin() as db:
            return [_job(row) for row in db.execute(query)]

    def request_cancel(self, job_id: str, reason: str, owner: str | None = None) -> bool:
        """Ask for the job's end. With ``owner``, only if the job is still that try's. False if not asked."""
        condition = (JOBS.c.id == job_id) & JOBS.c.state.not_in(TERMINAL) & JOBS.c.cancel_reason.is_(None)
        if owner is not None:
            condition &= JOBS.c.owner == owner
        with self._engine.begin() as db:
            asked = db.execute(
                sa.update(JOBS).where(condition).values(cancel_reason=reason, wake_at=self._clock())
            ).rowcount
            if asked:
                self._add_event(db, job_id, "cancel requested", {"reason": reason})
        return bool(asked)

    # Leases: one driver advances a job at a time.

    def lease_due(self, holder: str, seconds: float, limit: int) -> list[Job]:
        """Take up to ``limit`` jobs that want to be advanced now and that nobody else holds."""
        now = self._clock()
        free = (JOBS.c.lease_until < now) | (JOBS.c.lease_holder == holder)
        due = sa.select(JOBS.c.id).where(JOBS.c.state.not_in(TERMINAL), JOBS.c.wake_at <= now, free)
        with self._engine.begin() as db:
            if db.dialect.name == "postgresql":
                due = due.with_for_update(skip_locked=True)
            ids = list(db.execute(due.order_by(JOBS.c.wake_at).limit(limit)).scalars())
            if not ids:
                return []
            db.execute(sa.update(JOBS).where(JOBS.c.id.in_(ids)).values(lease_holder=holder, lease_until=now + seconds))
            rows = db.execute(sa.select(JOBS).where(JOBS.c.id.in_(ids))).all()
        return [_job(row) for row in rows]

    def renew_lease(self, job_id: str, holder: str, seconds: float) -> bool:
        """Hold on to a job during a long step; False if somebody else has it."""
        mine = (JOBS.c.id == job_id) & (JOBS.c.lease_holder == holder)
        with self._engine.begin() as db:
            renewed = db.execute(sa.update(JOBS).where(mine).values(lease_until=self._clock() + seconds)).rowcount
        return bool(renewed)

    def release_lease(self, job_id: str, holder: str) -> None:
        """Let go of a job, so that any driver may take it at once."""
        mine = (JOBS.c.id == job_id) & (JOBS.c.lease_holder == holder)
        with self._engine.begin() as db:
            db.execute(sa.update(JOBS).where(mine).values(lease_holder=None, lease_until=0.0))

    def save_job(
        self,
        job: Job,
        holder: str,
        *,
        state: JobState | None = None,
        attempt: int | None = None,
        memory: Mapping[str, Any] | None = None,
        result: Mapping[str, Any] | None = None,
        wake_at: float | None = None,
        events: Iterable[NewEvent] = (),
        clusters: Iterable[Cluster] = (),
        log: tuple[int, bytes] | None = None,
    ) -> Job:
        """Write one step of a job's life, all or nothing: its new state, its events, clusters and log.

        Raises:
            LeaseLost: if ``holder`` does not hold the job's lease any more.
        """
        values: dict[str, Any] = {"updated_at": self._clock()}
        plain = {"state": state, "attempt": attempt, "wake_at": wake_at}
        values |= {name: value for name, value in plain.items() if value is not None}
        documents = {"memory": memory, "result": result}
        values |= {name: json.dumps(value) for name, value in documents.items() if value is not None}
        mine = (JOBS.c.id == job.id) & (JOBS.c.lease_holder == holder)
        with self._engine.begin() as db:
            if not db.execute(sa.update(JOBS).where(mine).values(**values)).rowcount:
                raise LeaseLost(job.id)
            for cluster in clusters:
                self._put_cluster(db, cluster)
            for kind, data in events:
                self._add_event(db, job.id, kind, data)
            if log is not None and log[1]:
                db.execute(insert_if_absent(self._engine, LOGS, job_id=job.id, offset=log[0], data=log[1]))
            row = db.execute(sa.select(JOBS).where(JOBS.c.id == job.id)).one()
        return _job(row)

    # Clusters.

    def _put_cluster(self, db: sa.Connection, cluster: Cluster) -> None:
        values = asdict(cluster) | {"instance_ids": json.dumps(cluster.instance_ids)}
        if not db.execute(insert_if_absent(self._engine, CLUSTERS, **values)).rowcount:
            db.execute(sa.update(CLUSTERS).where(CLUSTERS.c.token == cluster.token).values(**values))

    def put_cluster(self, cluster: Cluster) -> None:
        """Write a cluster outside a job's step (the collector's clean-up)."""
        with self._engine.begin() as db:
            self._put_cluster(db, cluster)

    def clusters(self, *, job_id: str | None = None, open_only: bool = False) -> list[Cluster]:
        """Clusters in the order of their intents: all, one job's, or only those that may still have machines."""
        query = sa.select(CLUSTERS).order_by(CLUSTERS.c.intended_at, CLUSTERS.c.attempt)
        if job_id is not None:
            query = query.where(CLUSTERS.c.job_id == job_id)
        if open_only:
            query = query.where(CLUSTERS.c.state.in_(("intended", "launched")))
        with self._reader.begin() as db:
            return [_cluster(row) for row in db.execute(query)]

    # Events and logs.

    def _add_event(self, db: sa.Connection, job_id: str, kind: str, data: Mapping[str, Any]) -> None:
        db.execute(sa.insert(EVENTS).values(job_id=job_id, at=self._clock(), kind=kind, data=json.dumps(data)))

    def events(self, job_id: str, after: int = 0) -> list[Event]:
        """A job's events with an id above ``after``, oldest first."""
        query = sa.select(EVENTS).where(EVENTS.c.job_id == job_id, EVENTS.c.id > after).order_by(EVENTS.c.id)
        with self._reader.begin() as db:
            return [Event(row.id, row.job_id, row.at, row.kind, json.loads(row.data)) for row in db.execute(query)]

    def log(self, job_id: str, offset: int = 0) -> bytes:
        """A job's log from byte ``offset`` on, over all its attempts."""
        query = sa.select(LOGS).where(LOGS.c.job_id == job_id).order_by(LOGS.c.offset)
        with self._reader.begin() as db:
            rows = db.execute(query.where(LOGS.c.offset + sa.func.length(LOGS.c.data) > offset)).all()
        data = b"".join(row.data for row in rows)
        return data[offset - rows[0].offset :] if rows and offset > rows[0].offset else data

    # What was observed.

    def observe(self, observation: Observation) -> None:
        """Keep an observation of what a cloud let us have."""
        with self._engine.begin() as db:
            db.execute(sa.insert(OBSERVATIONS).values(**asdict(observation)))

    def observations(self, since: float = 0.0) -> list[Observation]:
        """Observations made at or after ``since``, oldest first."""
        query = sa.select(OBSERVATIONS).where(OBSERVATIONS.c.at >= since).order_by(OBSERVATIONS.c.at)
        with self._reader.begin() as db:
            return [_record(Observation, row) for row in db.execute(query)]

    def add_run(self, run: Run) -> None:
        """Keep what a finished task took."""
        with self._engine.begin() as db:
            db.execute(sa.insert(RUNS).values(**asdict(run)))

    def runs(self, pipeline: str, task: str | None = None) -> list[Run]:
        """What the tasks of a pipeline took, oldest first."""
        query = sa.select(RUNS).where(RUNS.c.pipeline == pipeline).order_by(RUNS.c.at)
        if task is not None:
            query = query.where(RUNS.c.task == task)
        with self._reader.begin() as db:
            return [_record(Run, row) for row in db.execute(query)]


def _record(kind: type[Any], row: sa.Row[Any]) -> Any:
    return kind(**{field.name: getattr(row, field.name) for field in fields(kind)})


def _job(row: sa.Row[Any]) -> Job:
    values = {field.name: getattr(row, field.name) for field in fields(Job)}
    return Job(**values | {"memory": json.loads(row.memory), "result": json.loads(row.result)})


def _cluster(row: sa.Row[Any]) -> Cluster:
    values = {field.name: getattr(row, field.name) for field in fields(Cluster)}
    return Cluster(**values | {"instance_ids": tuple(json.loads(row.instance_ids))})
