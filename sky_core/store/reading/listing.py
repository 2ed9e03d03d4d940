"""Listings of jobs: a few columns of many rows, chosen and counted by the database.

In SQL that both databases understand, so that a listing needs no SQLAlchemy: it takes longer to import than all of
what a listing shows takes to read.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from sky_core.store.records import KEPT_MARGIN_S, TERMINAL, Cluster, Event, JobLine, JobName, RunLine

if TYPE_CHECKING:
    from sky_core.events import EventKind

MOVED: EventKind = "moved"
RESTORED: EventKind = "restored"
TRANSFERS = f"kind IN ('{MOVED}', '{RESTORED}')"
AT_ONCE = 500  # ids in one statement
LINE = ", ".join(JobLine._fields)
CLUSTER = ", ".join(f"clusters.{field.name}" for field in fields(Cluster))
IN_THEIR_ORDER = "ORDER BY clusters.intended_at, clusters.attempt, clusters.token"
NEWEST_FIRST = "ORDER BY created_at DESC, id"

Values = Mapping[str, object]
Condition = tuple[str, Values]
NONE: Values = {}


@dataclass(frozen=True)
class Choice:
    """Which jobs are meant; what is not said leaves none out.

    Attributes:
        states: Those they are in; empty for all.
        since: When they were submitted at the earliest, seconds since the epoch.
        name: Part of the name of their task or of their run, whatever its case.
        runs: The keys of their runs; empty for all. A few hundred at most.
    """

    states: tuple[str, ...] = ()
    since: float | None = None
    name: str = ""
    runs: tuple[str, ...] = ()

    def condition(self) -> Condition:
        """The same for the database: after WHERE, and the values in it."""
        wanted: list[Condition] = [("1 = 1", NONE)]
        if self.states:
            wanted.append(among("state", self.states))
        if self.since is not None:
            wanted.append(("created_at >= :since", {"since": self.since}))
        if self.name:
            alike = "lower({}) LIKE :name ESCAPE '/'".format
            wanted.append((f"({alike('task')} OR {alike('plan_key')})", {"name": f"%{_literal(self.name.lower())}%"}))
        if self.runs:
            wanted.append(among("plan_key", self.runs))
        return " AND ".join(text for text, _ in wanted), {
            name: at for _, values in wanted for name, at in values.items()
        }


ALL = Choice()


class Paid(NamedTuple):
    """A launch as bills need it: columns of its cluster.

    Attributes:
        idle_since: Since when its machines were kept for another job; None of those that never were.
        taken: Whether they were another job's before.
        gone_by: By when its machines have ended themselves; None of all that are not kept.
        reserved: Whether they were in a reservation.
        reserved_until, price_after: Until when, and what they cost from then on; see
            :class:`~sky_core.store.records.Cluster`.
    """

    job: str
    cloud: str
    region: str
    instance_type: str
    use_spot: bool
    num_nodes: int
    price: float
    open: bool
    began: float | None
    ended: float | None
    intended_at: float
    idle_since: float | None
    taken: bool
    gone_by: float | None
    reserved: bool
    reserved_until: float | None
    price_after: float | None


class Sent(NamedTuple):
    """Data that was paid for on its way: an input that was moved, or a checkpoint that was restored.

    Attributes:
        source: ``cloud/region`` that it left; of a checkpoint where the attempt before had its machines. None if that
            is not known.
    """

    job: str
    at: float
    usd: float
    source: str | None


class Listings:
    """What listings ask of a store."""

    @abstractmethod
    def _ask(self, sql: str, values: Values) -> Sequence[Sequence[Any]]:
        """The rows of a SELECT with values named like ``:this``."""

    @abstractmethod
    def _member(self, column: str, *path: str) -> str:
        """SQL for the number or text under those names, one within the other, in a column of JSON."""

    def job_lines(self, choice: Choice = ALL, *, limit: int | None = None, skip: int = 0) -> list[JobLine]:
        """The jobs meant, newest first, without what only drivers need."""
        condition, values = choice.condition()
        sql = f"SELECT {LINE} FROM jobs WHERE {condition} {NEWEST_FIRST}"
        if limit is not None:
            sql, values = f"{sql} LIMIT :limit OFFSET :skip", {**values, "limit": limit, "skip": skip}
        return [JobLine(*row) for row in self._ask(sql, values)]

    def count_jobs(self, choice: Choice = ALL) -> dict[str, int]:
        """How many of the jobs meant are in each state."""
        condition, values = choice.condition()
        return _dict(self._ask(f"SELECT state, count(*) FROM jobs WHERE {condition} GROUP BY state", values))

    def run_lines(self, choice: Choice = ALL, *, limit: int, skip: int = 0) -> list[RunLine]:
        """Runs that have a job which is meant, the one begun last first."""
        over = ", ".join(f"'{state}'" for state in sorted(TERMINAL))
        condition, values = choice.condition()
        sql = f"""SELECT plan_key, min(created_at) AS began, max(updated_at), count(*),
                    sum(CASE WHEN state IN ({over}) THEN 0 ELSE 1 END),
                    sum(CASE WHEN state IN ('failed', 'cancelled') THEN 1 ELSE 0 END)
                  FROM jobs WHERE {condition} GROUP BY plan_key
                  ORDER BY began DESC, plan_key LIMIT :limit OFFSET :skip"""
        return [RunLine(*row) for row in self._ask(sql, {**values, "limit": limit, "skip": skip})]

    def count_runs(self, choice: Choice = ALL) -> int:
        """How many runs have a job which is meant."""
        condition, values = choice.condition()
        ((count,),) = self._ask(f"SELECT count(DISTINCT plan_key) FROM jobs WHERE {condition}", values)
        return int(count)

    def count_events(self) -> dict[str, int]:
        """How many events of each kind there are."""
        return _dict(self._ask("SELECT kind, count(*) FROM events GROUP BY kind", NONE))

    def job_names(self) -> list[JobName]:
        """All jobs by name only, oldest first."""
        return [JobName(*row) for row in self._ask("SELECT id, plan_key, task FROM jobs ORDER BY created_at, id", NONE)]

    def job_owners(self) -> list[tuple[str, str | None, str | None]]:
        """All jobs with who submitted them, if that is known, and what their tasks put on machines, as JSON."""
        person, tags = self._member("needs", "person"), self._member("spec", "resources", "tags")
        return [(job, who, said) for job, who, said in self._ask(f"SELECT id, {person}, {tags} FROM jobs", NONE)]

    def pipeline_names(self) -> dict[str, str]:
        """The name of each plan's pipeline, by the plan's key."""
        name = self._member("pipeline", "name")
        return _dict(self._ask(f"SELECT key, {name} FROM plans WHERE version = 1", NONE))

    def called(self, text: str, limit: int) -> list[JobLine]:
        """Jobs that a user may mean by ``text``: by id; else by its beginning, task, ``run/task`` or key.

        Args:
            limit: How many at most, newest first.
        """
        found = self._ask(f"SELECT {LINE} FROM jobs WHERE id = :text", {"text": text})
        if not found:
            begins = {"begin": f"{_literal(text)}%", "begin_job": f"job-{_literal(text)}%"}
            sql = f"""SELECT {LINE} FROM jobs
                      WHERE id LIKE :begin ESCAPE '/' OR id LIKE :begin_job ESCAPE '/' OR task = :text OR key = :text
                        OR plan_key || '/' || task = :text
                      {NEWEST_FIRST} LIMIT :limit"""
            found = self._ask(sql, {"text": text, "limit": limit, **begins})
        return [JobLine(*row) for row in found]

    def clusters_of(self, jobs: Collection[str]) -> list[Cluster]:
        """The clusters of these jobs, each job's in the order of its attempts."""
        sql = f"SELECT {CLUSTER} FROM clusters WHERE {{}} {IN_THEIR_ORDER}"
        return [_cluster(row) for row in self._of(sql, "job_id", jobs)]

    def kept(self) -> list[Cluster]:
        """The machines that are kept for whoever takes them, those that stay longest last."""
        sql = f"SELECT {CLUSTER} FROM clusters WHERE state = 'kept' ORDER BY kept_until, token"
        return [_cluster(row) for row in self._ask(sql, NONE)]

    def events_of(
        self, kinds: Sequence[str], *, jobs: Collection[str] | None = None, since: float | None = None
    ) -> list[Event]:
        """The events of these kinds, each job's oldest first: of all jobs or of some, of all times or from one on."""
        condition, values = among("kind", kinds)
        if since is not None:
            condition, values = f"{condition} AND at >= :since", {**values, "since": since}
        sql = f"SELECT id, job_id, at, kind, data FROM events WHERE {condition} AND {{}} ORDER BY id"
        rows = self._ask(sql.format("1 = 1"), values) if jobs is None else self._of(sql, "job_id", jobs, values)
        return [Event(number, job, at, kind, json.loads(data)) for number, job, at, kind, data in rows]

    def egress_of(self, jobs: Collection[str], since: float = 0.0) -> dict[str, float]:
        """What the transfers of these jobs have cost since then, USD; those that had none are missing."""
        sql = f"SELECT job_id, sum({self._usd}) FROM events WHERE {TRANSFERS} AND at >= :since AND {{}} GROUP BY job_id"
        return {job: usd for job, usd in self._of(sql, "job_id", jobs, {"since": since}) if usd is not None}

    def paid(self, since: float | None = None) -> list[Paid]:
        """The launches of all jobs, or those that may have had machines after ``since``."""
        sql = f"""SELECT job_id, cloud, region, instance_type, use_spot, num_nodes, price,
                    state IN ('intended', 'launched', 'kept'), coalesce(started_at, launched_at),
                    coalesce(stopped_at, ended_at), intended_at, kept_at, launched_as IS NOT NULL,
                    CASE WHEN state = 'kept' THEN kept_until + {KEPT_MARGIN_S} END,
                    reservation IS NOT NULL, reserved_until, price_after
                  FROM clusters
                  WHERE {"1 = 1" if since is None else "(ended_at IS NULL OR ended_at >= :since)"}"""
        return list(map(Paid._make, self._ask(sql, NONE if since is None else {"since": since})))

    def sent(self, since: float | None = None) -> list[Sent]:
        """The transfers of all jobs, or those after ``since``."""
        attempt = self._member("data", "attempt")
        before = f"""(SELECT cloud || '/' || region FROM clusters
                      WHERE clusters.job_id = events.job_id AND launched_at IS NOT NULL
                        AND attempt < CAST({attempt} AS INTEGER)
                      ORDER BY attempt DESC, intended_at DESC LIMIT 1)"""
        sql = f"""SELECT job_id, at, {self._usd},
                    CASE WHEN kind = '{MOVED}' THEN {self._member("data", "from")} ELSE {before} END
                  FROM events
                  WHERE {TRANSFERS} {"" if since is None else "AND at >= :since"}
                  ORDER BY id"""
        rows = self._ask(sql, NONE if since is None else {"since": since})
        return [sent for sent in map(Sent._make, rows) if sent.usd is not None]

    @property
    def _usd(self) -> str:
        return f"CAST({self._member('data', 'usd')} AS DOUBLE PRECISION)"

    def _of(self, sql: str, column: str, ids: Iterable[str], values: Values = NONE) -> Iterator[Sequence[Any]]:
        """The rows of a SELECT, ``{}`` in which is to be a condition on these ids: however many they are."""
        wanted = list(ids)
        for at in range(0, len(wanted), AT_ONCE):
            condition, named = among(column, wanted[at : at + AT_ONCE])
            yield from self._ask(sql.format(condition), {**values, **named})


def among(column: str, values: Sequence[str]) -> Condition:
    """That a column has one of these values."""
    named = {f"{column}_{number}": value for number, value in enumerate(values)}
    return f"{column} IN ({', '.join(f':{name}' for name in named)})", named


def _dict(pairs: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs}  # noqa: C416  # rows are no pairs for those who check types


def _literal(text: str) -> str:
    """A pattern of LIKE that means just this."""
    return text.replace("/", "//").replace("%", "/%").replace("_", "/_")


USE_SPOT, INSTANCE_IDS = (list(Cluster.__dataclass_fields__).index(name) for name in ("use_spot", "instance_ids"))


def _cluster(row: Sequence[Any]) -> Cluster:
    values = list(row)
    values[USE_SPOT] = bool(values[USE_SPOT])  # SQLite has numbers
    values[INSTANCE_IDS] = tuple(json.loads(values[INSTANCE_IDS]))
    return Cluster(*values)
