"""Jobs with what belongs to them: clusters, events and logs. A step of a job's life is written all or nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from sky_core.events import CancelRequested, Happening, Submitted
from sky_core.store.database.transactions import Part, insert_if_absent, reads, refuse_odd, upsert, writes
from sky_core.store.kept import hand_over
from sky_core.store.leases import LeaseLost, PlanChanged, held
from sky_core.store.reading import rows
from sky_core.store.records import (
    OPEN,
    TERMINAL,
    Cluster,
    Event,
    Job,
    JobState,
    Launch,
    Observation,
    Run,
    StoredPlan,
)
from sky_core.store.results import Result
from sky_core.store.tables import CLUSTERS, EVENTS, JOBS, LAUNCHES, LOGS, OBSERVATIONS, PLANS, RUNS


class Jobs(Part):
    """The jobs of a store.

    Events are written only after their job's row was written in the same transaction: that orders the writers of
    one job, so that an event never appears below an id that a reader has already passed.
    """

    id: str

    def job_id(self, key: str) -> str:
        """The id of the job of ``key``, there or not."""
        # With the store's id in it: tokens of launches are made from it, and two stores may share an account.
        return "job-" + hashlib.sha256(f"{self.id}/{key}".encode()).hexdigest()[:16]

    @writes
    def submit(
        self,
        db: sa.Connection,
        key: str,
        *,
        plan_key: str,
        task: str,
        spec: str,
        owner: str | None,
        needs: Mapping[str, Any] | None = None,
    ) -> Job:
        """Create the job of ``key``, or find it. The owner becomes the caller's in either case; ``needs`` stay.

        Args:
            needs: What it takes along; its ``profile`` and ``key_id`` say which drivers may have the job.

        Raises:
            SpecError: if one of the names has a NUL character in it.
        """
        refuse_odd(key=key, plan_key=plan_key, task=task, spec=spec, owner=owner)
        now, wake_at, job_id, needs = self._clock(), self._now(db), self.job_id(key), needs or {}
        created = insert_if_absent(
            db, JOBS, id=job_id, key=key, plan_key=plan_key, task=task, spec=spec, state="submitted", owner=owner,
            attempt=0, created_at=now, updated_at=now, wake_at=wake_at, memory="{}", result="{}", lease_until=0.0,
            needs=json.dumps(needs), profile=needs.get("profile"), key_id=needs.get("key_id"),
        )  # fmt: skip
        if created:
            self._add_event(db, job_id, Submitted(task=task, plan=plan_key))
        elif owner is not None:
            db.execute(sa.update(JOBS).where(JOBS.c.id == job_id).values(owner=owner))
        return _job(db, job_id)

    @reads
    def job(self, db: sa.Connection, job_id: str) -> Job:
        """The job of that id.

        Raises:
            KeyError: if there is none.
        """
        return _job(db, job_id)

    @reads
    def find_job(self, db: sa.Connection, key: str) -> Job | None:
        """The job of that key, or None."""
        row = db.execute(sa.select(JOBS).where(JOBS.c.key == key)).one_or_none()
        return None if row is None else rows.job(row)

    @reads
    def jobs(
        self,
        db: sa.Connection,
        *,
        plan_key: str | None = None,
        owner: str | None = None,
        live: bool = False,
        limit: int | None = None,
    ) -> list[Job]:
        """Jobs, newest first: all, those of one plan or one owner, or only those not over yet; at most ``limit``."""
        query = sa.select(JOBS).order_by(JOBS.c.created_at.desc(), JOBS.c.id).limit(limit)
        if plan_key is not None:
            query = query.where(JOBS.c.plan_key == plan_key)
        if owner is not None:
            query = query.where(JOBS.c.owner == owner)
        if live:
            query = query.where(JOBS.c.state.not_in(TERMINAL))
        return [rows.job(row) for row in db.execute(query)]

    @writes
    def request_cancel(self, db: sa.Connection, job_id: str, reason: str, owner: str | None = None) -> bool:
        """Ask for the job's end. With ``owner``, a try that asks, only if the job is still its. False if not asked."""
        condition = (JOBS.c.id == job_id) & JOBS.c.state.not_in(TERMINAL) & JOBS.c.cancel_reason.is_(None)
        if owner is not None:
            condition &= JOBS.c.owner == owner
        reason = reason.replace("\0", "\\0")
        values = {"cancel_reason": reason, "wake_at": self._now(db)}
        asked = bool(db.execute(sa.update(JOBS).where(condition).values(**values)).rowcount)
        if asked:
            self._add_event(db, job_id, CancelRequested(reason=reason, owner=owner))
        return asked

    @writes
    def save_job(
        self,
        db: sa.Connection,
        job: Job,
        holder: str,
        *,
        state: JobState | None = None,
        attempt: int | None = None,
        memory: Mapping[str, object] | None = None,
        result: Result | None = None,
        after_s: float | None = None,
        events: Sequence[Happening] = (),
        clusters: Sequence[Cluster] = (),
        log: tuple[int, bytes] | None = None,
        launches: Sequence[Launch] = (),
        observations: Sequence[Observation] = (),
        runs: Sequence[Run] = (),
        plan: StoredPlan | None = None,
        takes: Cluster | None = None,
    ) -> Job:
        """Write one step of a job's life, all or nothing: its new state, and all that is to be known with it.

        Args:
            job: As read when the step began; what was written to it since then by others than drivers stays.
            after_s: Seconds until the job wants to be advanced next. A cancel that came meanwhile cuts them short.
            launches: Requests for machines that are about to be made, and are owed from here on; or that are settled.
            plan: The next version of the plan that the job belongs to.
            takes: The kept cluster whose machines the job takes, as it has ended by that.

        Raises:
            LeaseLost: if ``holder`` does not hold the job's lease any more, or not without a break since ``job``
                was read; nothing is written then.
            PlanChanged: if somebody else has written that version of the plan; nothing is written then.
            KeptGone: if what it takes is not to be had any more; nothing is written then.
        """
        values: dict[str, Any] = {"updated_at": self._clock()}
        plain = {"state": state, "attempt": attempt}
        values |= {name: value for name, value in plain.items() if value is not None}
        documents: dict[str, Mapping[str, object] | None] = {"memory": memory, "result": result}
        values |= {name: json.dumps(value) for name, value in documents.items() if value is not None}
        if state in TERMINAL and job.needs.get("sealed"):
            values["needs"] = json.dumps({**job.needs, "sealed": ""})  # nobody needs its secrets any more
        if after_s is not None:
            now = self._now(db)
            unseen = JOBS.c.cancel_reason.is_not(None) if job.cancel_reason is None else sa.false()
            values["wake_at"] = sa.case((unseen, now), else_=now + after_s)
        if not db.execute(sa.update(JOBS).where(held(job.lease(holder))).values(**values)).rowcount:
            raise LeaseLost(job.id)
        if plan is not None and not insert_if_absent(
            db, PLANS, key=job.plan_key, version=plan.version, created_at=self._clock(), pipeline=plan.pipeline,
            plan=plan.plan,
        ):  # fmt: skip
            raise PlanChanged(job.plan_key)
        if takes is not None:
            hand_over(db, takes, self._now(db))
        for cluster in clusters:
            _put_cluster(db, cluster)
        for launch in launches:
            upsert(db, LAUNCHES, **asdict(launch))
        for observation in observations:
            db.execute(sa.insert(OBSERVATIONS).values(**asdict(observation)))
        for run in runs:
            db.execute(sa.insert(RUNS).values(**asdict(run)))
        for event in events:
            self._add_event(db, job.id, event)
        if log is not None and log[1]:
            insert_if_absent(db, LOGS, job_id=job.id, offset=log[0], data=log[1], at=self._clock())
        return _job(db, job.id)

    @writes
    def put_cluster(self, db: sa.Connection, cluster: Cluster) -> None:
        """Write a cluster outside a job's step (what a launch of unknown outcome has left)."""
        _put_cluster(db, cluster)

    @reads
    def clusters(
        self, db: sa.Connection, *, job_id: str | None = None, open_only: bool = False, since: float | None = None
    ) -> list[Cluster]:
        """Clusters in the order of their intents: all, one job's, those that may still have machines or had some
        after ``since``.
        """
        query = sa.select(CLUSTERS).order_by(CLUSTERS.c.intended_at, CLUSTERS.c.attempt, CLUSTERS.c.token)
        if job_id is not None:
            query = query.where(CLUSTERS.c.job_id == job_id)
        if open_only:
            query = query.where(CLUSTERS.c.state.in_(OPEN))
        if since is not None:
            query = query.where(CLUSTERS.c.ended_at.is_(None) | (CLUSTERS.c.ended_at >= since))
        return [rows.cluster(row) for row in db.execute(query)]

    def _add_event(self, db: sa.Connection, job_id: str, event: Happening) -> None:
        data = json.dumps(event.data())
        db.execute(sa.insert(EVENTS).values(job_id=job_id, at=self._clock(), kind=event.kind, data=data))

    @writes
    def tell_once(self, db: sa.Connection, job_id: str, event: Happening) -> bool:
        """Add an event outside a job's step unless it has the same one already; whether it was added."""
        db.execute(sa.update(JOBS).where(JOBS.c.id == job_id).values(updated_at=self._clock()))
        data = json.dumps(event.data())
        same = (EVENTS.c.job_id == job_id) & (EVENTS.c.kind == event.kind) & (EVENTS.c.data == data)
        if db.execute(sa.select(EVENTS.c.id).where(same).limit(1)).first() is not None:
            return False
        self._add_event(db, job_id, event)
        return True

    @reads
    def events(self, db: sa.Connection, job_id: str, after: int = 0) -> list[Event]:
        """A job's events with an id above ``after``, oldest first."""
        query = sa.select(EVENTS).where(EVENTS.c.job_id == job_id, EVENTS.c.id > after).order_by(EVENTS.c.id)
        return [rows.event(row) for row in db.execute(query)]

    @reads
    def log(self, db: sa.Connection, job_id: str, offset: int = 0) -> bytes:
        """A job's log from byte ``offset`` on, over all its attempts."""
        query = sa.select(LOGS).where(LOGS.c.job_id == job_id).order_by(LOGS.c.offset)
        parts = db.execute(query.where(LOGS.c.offset + sa.func.length(LOGS.c.data) > offset)).all()
        data = b"".join(part.data for part in parts)
        return data[offset - parts[0].offset :] if parts and offset > parts[0].offset else data

    @reads
    def log_offset(self, db: sa.Connection, job_id: str, since: float) -> int:
        """Where in a job's log what was read from ``since`` (seconds since the epoch) on begins."""
        length = sa.func.max(LOGS.c.offset + sa.func.length(LOGS.c.data))
        earlier = LOGS.c.at.is_(None) | (LOGS.c.at < since)
        return int(db.execute(sa.select(length).where(LOGS.c.job_id == job_id, earlier)).scalar_one() or 0)


def _job(db: sa.Connection, job_id: str) -> Job:
    row = db.execute(sa.select(JOBS).where(JOBS.c.id == job_id)).one_or_none()
    if row is None:
        raise KeyError(job_id)
    return rows.job(row)


def _put_cluster(db: sa.Connection, cluster: Cluster) -> None:
    values = asdict(cluster) | {"instance_ids": json.dumps(cluster.instance_ids)}
    upsert(db, CLUSTERS, **values)
